"""EfficientNet-Lite0 with ImageNet's weights as a feature network."""

import tensorflow as tf

from vim_tf.evaluation.feature_networks.base import ImportedNetwork
from vim_tf.losses import frozen
from vim_tf.models.efficientnet import NUM_CLASSES, NUM_FEATURES, SIDE, EfficientNetLite0, efficientnet_shapes


class EfficientNetLite0Network(ImportedNetwork):
    """EfficientNet-Lite0: the mean of its last activations over the pixels as features.

    Args:
        path: str, the .npz file that `vim_tf.import_weights --format=efficientnet_lite0` wrote.

    Raises:
        InputError: a file that is missing, damaged or of another network.

    References:
        Tan and Le, 2019, https://arxiv.org/abs/1905.11946.
    """

    metric_prefix = "efficientnet_lite0_"

    def __init__(self, path):
        name = f"--evaluation.feature_network_path={path}"
        command = "python -m vim_tf.import_weights --format=efficientnet_lite0"
        arrays = frozen.read_weights(path, efficientnet_shapes(), name, command)
        model = EfficientNetLite0(name="efficientnet_lite0")
        entry = f"resized to {SIDE} x {SIDE} px, bilinear, antialiased; (x - 127) / 128"
        super().__init__(model, arrays, NUM_FEATURES, NUM_CLASSES, "EfficientNet-Lite0", entry)

    @tf.function(reduce_retracing=True)
    def forward(self, images):
        resized = tf.image.resize(images, [SIDE, SIDE], antialias=True)
        return self._model((resized - 127.0) / 128.0)
