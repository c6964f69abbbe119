"""SqueezeNet with ImageNet's weights as a feature network, for where Inception's can't be had."""

import tensorflow as tf

from vim_tf.evaluation.feature_networks.base import ImportedNetwork
from vim_tf.losses import frozen
from vim_tf.losses.squeezenet import NUM_CLASSES, NUM_FEATURES, SqueezeNet, read_squeezenet

_SIDE = 227


class SqueezeNetNetwork(ImportedNetwork):
    """SqueezeNet 1.1: the mean of its last fire module over the pixels as features.

    Args:
        path: str, the .npz file that `vim_tf.import_weights --format=squeezenet` wrote.

    Raises:
        InputError: no path, or a file that is missing, damaged or of another network.

    References:
        Iandola et al., 2016, https://arxiv.org/abs/1602.07360.
    """

    metric_prefix = "squeezenet_"

    def __init__(self, path):
        arrays = read_squeezenet(path, "--evaluation.feature_network_path")
        entry = f"resized to {_SIDE} x {_SIDE} px, bilinear, antialiased; BGR less ImageNet's mean"
        super().__init__(SqueezeNet(name="squeezenet"), arrays, NUM_FEATURES, NUM_CLASSES, "SqueezeNet 1.1", entry)

    @tf.function(reduce_retracing=True)
    def forward(self, images):
        resized = tf.image.resize(images, [_SIDE, _SIDE], antialias=True)
        fire9 = self._model(frozen.caffe_pixels(resized))["fire9"]
        return tf.reduce_mean(fire9, axis=[1, 2]), self._model.logits(fire9)
