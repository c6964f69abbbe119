"""Networks whose inner activations judge images, behind one interface."""

from vim_tf.evaluation.feature_networks.base import Activations, FeatureNetwork
from vim_tf.evaluation.feature_networks.classifier import ClassifierNetwork, trained_classifier
from vim_tf.evaluation.feature_networks.efficientnet import EfficientNetLite0Network
from vim_tf.evaluation.feature_networks.inception import TFGAN_HANDLE, KerasInceptionNetwork, SavedModelNetwork
from vim_tf.evaluation.feature_networks.squeezenet import SqueezeNetNetwork

__all__ = [
    "Activations",
    "ClassifierNetwork",
    "FeatureNetwork",
    "build_feature_network",
    "load_feature_network",
    "trained_classifier",
]


def build_feature_network(section, train, folder, strategy):
    """The feature network that an EvaluationConfig asks for.

    Args:
        section: EvaluationConfig.
        train: ImageSource of the training split, on which the small classifier is trained.
        folder: str where that classifier is stored.
        strategy: tf.distribute.Strategy whose replicas share batches.

    Returns:
        FeatureNetwork, or None if no classifier can be trained on these images.

    Raises:
        InputError: the network can't be loaded; the message says how to get it.
    """
    if section.feature_network == "classifier" and not section.feature_network_path:
        network = trained_classifier(train, section.feature_steps, section.seed, folder)
        if network is None or strategy.num_replicas_in_sync == 1:
            return network
        # Trained on one device, so that the network is the same on every machine, then loaded on all devices.
        with strategy.scope():
            return ClassifierNetwork.load(folder)
    with strategy.scope():
        return load_feature_network(section.feature_network, section.feature_network_path)


def load_feature_network(kind, path):
    """A feature network that needs no training.

    Args:
        kind, path: as `feature_network` and `feature_network_path` of an EvaluationConfig; a classifier needs a path.

    Raises:
        InputError: it can't be loaded; the message says how to get it.
    """
    if kind == "classifier":
        return ClassifierNetwork.load(path)
    if kind == "keras_inception":
        return KerasInceptionNetwork(path)
    if kind == "squeezenet":
        return SqueezeNetNetwork(path)
    if kind == "efficientnet_lite0":
        return EfficientNetLite0Network(path)
    return SavedModelNetwork(path or TFGAN_HANDLE, is_inception=kind == "inception")
