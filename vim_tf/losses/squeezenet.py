"""SqueezeNet 1.1 with its classifier for ImageNet: small enough to judge images on a CPU."""

import keras
from keras import ops

from vim_tf.errors import InputError
from vim_tf.losses import frozen

NUM_FEATURES = 512
NUM_CLASSES = 1000
# Smaller images leave no pixel after the third pooling.
MIN_SIDE = 31
IMPORT = "python -m vim_tf.import_weights --format=squeezenet"

_CONV1_CHANNELS = 64
# Of the modules fire2 to fire9: channels of the squeeze layer, and of each of the two expand layers.
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
# A pooling comes before each of these.
_POOLED = ("fire2", "fire4", "fire6")


def squeezenet_shapes():
    """Shapes of all weights.

    Returns:
        dict from `<convolution>/kernel` or `/bias` to tuple of int, in order. The convolutions are `conv1`,
        `fire<2 to 9>_squeeze`, `_expand1` and `_expand3`, and `conv10`.
    """
    sizes, inputs = {"conv1": (3, 3, _CONV1_CHANNELS)}, _CONV1_CHANNELS
    for number, (squeeze, expand) in enumerate(_FIRES, start=2):
        sizes[f"fire{number}_squeeze"] = (1, inputs, squeeze)
        sizes[f"fire{number}_expand1"] = (1, squeeze, expand)
        sizes[f"fire{number}_expand3"] = (3, squeeze, expand)
        inputs = 2 * expand
    sizes["conv10"] = (1, inputs, NUM_CLASSES)
    shapes = {}
    for name, (side, channels, filters) in sizes.items():
        shapes |= {f"{name}/kernel": (side, side, channels, filters), f"{name}/bias": (filters,)}
    return shapes


class SqueezeNet(keras.Model):
    """SqueezeNet 1.1, frozen; computes in float32 under any policy. It has 1,235,496 parameters.

    Call arguments:
        pixels: float32 [batch, height, width, 3], as `frozen.caffe_pixels` gives them; static sides of at least 31.

    Returns:
        dict from `conv1` and `fire2` to `fire9` to float32 [batch, rows, columns, channels], the activations, at
        least 0. 227 pixels a side give 113, then 56 (fire2), 27 (fire4) and 13 (fire6).

    References:
        Iandola et al., 2016, https://arxiv.org/abs/1602.07360; version 1.1, poolings without padding and names from
        https://github.com/rcmalli/keras-squeezenet.
    """

    def __init__(self, **kwargs):
        super().__init__(**({"dtype": "float32", "trainable": False} | kwargs))
        # Zeros, because weights that are drawn only to be replaced take seconds.
        self.convs = {
            name.removesuffix("/kernel"): keras.layers.Conv2D(
                shape[-1],
                shape[0],
                strides=2 if name == "conv1/kernel" else 1,
                padding="valid" if name == "conv1/kernel" else "same",
                activation="relu",
                kernel_initializer="zeros",
                trainable=False,
                dtype=self.dtype_policy,
                name=name.removesuffix("/kernel"),
            )
            for name, shape in squeezenet_shapes().items()
            if name.endswith("/kernel")
        }

    def build(self, input_shape=None):
        for name, shape in squeezenet_shapes().items():
            if name.endswith("/kernel"):
                self.convs[name.removesuffix("/kernel")].build((None, None, None, shape[2]))
        self.built = True

    def call(self, pixels):
        hidden = self.convs["conv1"](pixels)
        maps = {"conv1": hidden}
        for number in range(2, 2 + len(_FIRES)):
            name = f"fire{number}"
            if name in _POOLED:
                hidden = frozen.max_pool(hidden, 3)
            squeezed = self.convs[f"{name}_squeeze"](hidden)
            expanded = [self.convs[f"{name}_{layer}"](squeezed) for layer in ("expand1", "expand3")]
            maps[name] = hidden = ops.concatenate(expanded, axis=-1)
        return maps

    def logits(self, fire9):
        """Logits of ImageNet's classes, float32 [batch, 1000], at least 0, of the activations `fire9`."""
        return ops.mean(self.convs["conv10"](fire9), axis=(1, 2))

    def assign(self, arrays):
        """Gives the convolutions their weights, by the names of `squeezenet_shapes`."""
        for name, conv in self.convs.items():
            conv.kernel.assign(arrays[f"{name}/kernel"])
            conv.bias.assign(arrays[f"{name}/bias"])


def read_squeezenet(path, flag):
    """The weights that `vim_tf.import_weights` wrote.

    Args:
        path: str, the .npz file; empty is refused.
        flag: str, the flag that names the file, for messages.

    Returns:
        dict from the names of `squeezenet_shapes` to numpy float32.

    Raises:
        InputError: no path, or a file that is missing, damaged or of another network.
    """
    if not path:
        raise InputError(f"SqueezeNet needs its weights: make them with {IMPORT} and give the file as {flag}")
    return frozen.read_weights(path, squeezenet_shapes(), f"{flag}={path}", IMPORT)
