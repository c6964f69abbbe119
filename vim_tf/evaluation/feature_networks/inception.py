"""Inception as a feature network: TF-GAN's graph, any SavedModel with the same outputs, or Keras Applications'."""

import itertools
import math
import os

import keras
import tensorflow as tf

from vim_tf.devices import strategies
from vim_tf.errors import InputError, one_line
from vim_tf.evaluation.feature_networks.base import FeatureNetwork
from vim_tf.storage.digests import array_parts, digest_of_parts, file_parts

# TF-GAN's own constant is in a module that loads estimators: tensorflow_gan.python.eval.inception_metrics.
TFGAN_HANDLE = "https://tfhub.dev/tensorflow/tfgan/eval/inception/1"
_SIDE = 299
# Characters shown of the reason why a network can't be loaded.
_REASON_LENGTH = 200
_NUM_FEATURES = 2048
_NUM_TFGAN_CLASSES = 1008
_INPUT = f"resized to {_SIDE} x {_SIDE} px, bilinear without antialiasing"


class SavedModelNetwork(FeatureNetwork):
    """A SavedModel or TF Hub module of images to {"pool_3": features, "logits": logits}, as TF-GAN's Inception graph.

    It takes float32 [batch, 299, 299, 3] in [-1, 1), when called directly or as the only input of `serving_default`.

    Args:
        path: folder, or handle of a TF Hub module.
        is_inception: whether it must be TF-GAN's Inception graph (2048 features, 1008 classes), whose distances may be
            called FID.

    Raises:
        InputError: it can't be loaded, or has other inputs or outputs.

    References:
        Heusel et al., 2017, https://arxiv.org/abs/1706.08500; TF-GAN's `eval.inception_metrics`.
    """

    def __init__(self, path, is_inception):
        folder, self._module = _load(path)
        self._function = self._module if callable(self._module) else _signature(self._module, path)
        # A SavedModel loaded in a strategy's scope can only be called in its replicas.
        try_out = strategies.replicated(tf.distribute.get_strategy(), lambda images: self._outputs(images, path))
        outputs = try_out(tf.zeros([1, _SIDE, _SIDE, 3]))
        features, logits = (value.shape[1] for value in outputs)
        if is_inception and (features, logits) != (_NUM_FEATURES, _NUM_TFGAN_CLASSES):
            raise InputError(
                f"the feature network {path} has {features} features and {logits} classes; TF-GAN's Inception graph "
                f"has {_NUM_FEATURES} and {_NUM_TFGAN_CLASSES}. --evaluation.feature_network=saved_model accepts any"
            )
        description = {
            "kind": "TF-GAN's Inception graph" if is_inception else "SavedModel",
            "place": path,
            "num_features": int(features),
            "num_classes": int(logits),
            "input": f"{_INPUT}, (x - 128) / 128",
        }
        super().__init__(int(features), int(logits), description, _checksum_of_files(folder))
        self.is_inception = is_inception

    @tf.function(reduce_retracing=True)
    def forward(self, images):
        return self._outputs((_resized(images) - 128.0) / 128.0, self.description["place"])

    def _outputs(self, images, path):
        outputs = self._function(images)
        if not isinstance(outputs, dict) or not {"pool_3", "logits"} <= set(outputs):
            found = ", ".join(sorted(outputs)) if isinstance(outputs, dict) else "one without a name"
            raise InputError(f"the feature network {path} must have the outputs pool_3 and logits; it has {found}")
        rows = tf.shape(images)[0]
        return tuple(
            tf.reshape(tf.cast(outputs[name], tf.float32), [rows, math.prod(outputs[name].shape[1:])])
            for name in ("pool_3", "logits")
        )


class KerasInceptionNetwork(FeatureNetwork):
    """Keras Applications' InceptionV3: its average pool as features.

    Its weights, and so its values, differ from those that define FID: the metrics are not called FID.

    Args:
        weights: path of Keras' weights file with the classification head (.h5 or .weights.h5); if empty, Keras
            downloads them.

    Raises:
        InputError: the weights can't be loaded.

    References:
        Szegedy et al., 2016, https://arxiv.org/abs/1512.00567.
    """

    def __init__(self, weights=""):
        try:
            model = keras.applications.InceptionV3(weights=weights or "imagenet", classifier_activation=None)
        except Exception as error:  # Keras and its downloads raise bare exceptions
            raise InputError(
                f"the weights of Keras' InceptionV3 can't be loaded ({one_line(error, _REASON_LENGTH)}); on a machine "
                "with internet access, keras.applications.InceptionV3() stores "
                "inception_v3_weights_tf_dim_ordering_tf_kernels.h5 in ~/.keras/models: copy it here and give "
                "--evaluation.feature_network_path=<file>"
            ) from error
        self._model = keras.Model(model.input, [model.get_layer("avg_pool").output, model.output])
        num_features, num_classes = (output.shape[1] for output in self._model.outputs)
        description = {
            "kind": "Keras Applications' InceptionV3",
            "num_features": num_features,
            "num_classes": num_classes,
            "input": f"{_INPUT}, x / 127.5 - 1",
        }
        parts = itertools.chain.from_iterable(map(array_parts, model.get_weights()))
        super().__init__(num_features, num_classes, description, digest_of_parts(parts))

    @tf.function(reduce_retracing=True)
    def forward(self, images):
        features, logits = self._model(_resized(images) / 127.5 - 1.0, training=False)
        return features, logits


def _resized(images):
    """float32 [batch, 299, 299, 3] in [0, 255]."""
    return tf.image.resize(images, [_SIDE, _SIDE])


def _load(path):
    """(folder of the SavedModel, the loaded model)."""
    folder = path
    if path.startswith(("http://", "https://")):
        # TensorFlow Hub imports a deprecated part of setuptools; only handles need it.
        import tensorflow_hub

        try:
            folder = tensorflow_hub.resolve(path)
        except (OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
            raise InputError(
                f"the feature network {path} can't be downloaded ({one_line(error, _REASON_LENGTH)}); on a "
                f"machine with internet access, unpack {path}?tf-hub-format=compressed (a .tar.gz) into a folder, "
                "bring it here and give --evaluation.feature_network_path=<folder>"
            ) from error
    try:
        return folder, tf.saved_model.load(folder)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise InputError(f"{path} can't be loaded as a SavedModel: {one_line(error, _REASON_LENGTH)}") from error


def _signature(module, path):
    """`serving_default` as a function of its only input."""
    signature = module.signatures.get("serving_default")
    if signature is None:
        raise InputError(f"the SavedModel {path} can't be called and has no signature serving_default")
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise InputError(f"serving_default of {path} takes {', '.join(inputs)}, but needs one input, the images")
    (name,) = inputs
    return lambda images: signature(**{name: images})


def _checksum_of_files(folder):
    """sha256 over the graph and the variables of a SavedModel, in the order of their names."""
    return digest_of_parts(_parts_of_files(folder))


def _parts_of_files(folder):
    for parent, _, names in sorted(tf.io.gfile.walk(folder)):
        for name in sorted(names):
            # The fingerprint file has a new id in every export.
            if name.startswith(("saved_model", "variables")):
                path = os.path.join(parent, name)
                yield f"{os.path.relpath(path, folder)}\n".encode()
                yield from file_parts(path)
