"""EfficientNet-Lite0 with its classifier for ImageNet, to judge images; normalisations are part of convolutions."""

from typing import NamedTuple

import keras
from keras import ops

NUM_FEATURES = 1280
NUM_CLASSES = 1000
SIDE = 224

_STEM_CHANNELS = 32
# Of each run of blocks: their number, side of the depthwise kernel, first stride, expansion, channels.
_RUNS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class Block(NamedTuple):
    """An inverted residual block.

    Attributes:
        kernel: int, side of the depthwise kernel.
        stride: int, of the depthwise convolution.
        inputs, hidden, outputs: int, channels; without an expansion `hidden` is `inputs`.
    """

    kernel: int
    stride: int
    inputs: int
    hidden: int
    outputs: int


def blocks():
    """The 16 blocks in order: list of Block."""
    found, inputs = [], _STEM_CHANNELS
    for count, kernel, first_stride, expansion, outputs in _RUNS:
        for number in range(count):
            found.append(Block(kernel, 1 if number else first_stride, inputs, expansion * inputs, outputs))
            inputs = outputs
    return found


def efficientnet_shapes():
    """Shapes of all weights.

    Returns:
        dict from `<layer>/kernel` or `/bias` to tuple of int, in order. The layers are `stem`, `block<0 to 15>_expand`
        (none in block 0), `_depthwise` and `_project`, `head` and `classifier`.
    """
    kernels = {"stem": (3, 3, 3, _STEM_CHANNELS)}
    for number, block in enumerate(blocks()):
        if block.hidden != block.inputs:
            kernels[f"block{number}_expand"] = (1, 1, block.inputs, block.hidden)
        kernels[f"block{number}_depthwise"] = (block.kernel, block.kernel, block.hidden, 1)
        kernels[f"block{number}_project"] = (1, 1, block.hidden, block.outputs)
    kernels |= {"head": (1, 1, block.outputs, NUM_FEATURES), "classifier": (NUM_FEATURES, NUM_CLASSES)}
    shapes = {}
    for name, shape in kernels.items():
        channels = shape[2] if name.endswith("depthwise") else shape[-1]
        shapes |= {f"{name}/kernel": shape, f"{name}/bias": (channels,)}
    return shapes


class EfficientNetLite0(keras.Model):
    """EfficientNet-Lite0, frozen; computes in float32 under any policy.

    Call arguments:
        pixels: float32 [batch, 224, 224, 3], (x - 127) / 128 of red, green and blue in 0..255.

    Returns:
        float32 [batch, 1280], the means of the last activations over the pixels, and float32 [batch, 1000], the logits
        of ImageNet's classes.

    References:
        Tan and Le, 2019, https://arxiv.org/abs/1905.11946; the Lite variant has no squeeze-and-excitation and ReLU6:
        https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
    """

    def __init__(self, **kwargs):
        super().__init__(**({"dtype": "float32", "trainable": False} | kwargs))
        self.blocks = blocks()
        strides = {f"block{number}_depthwise": block.stride for number, block in enumerate(self.blocks)} | {"stem": 2}
        # Named by their weights, all 0 at first.
        self.parts = {}
        for name, shape in efficientnet_shapes().items():
            part, _, kind = name.partition("/")
            if kind == "kernel":
                self.parts[part] = self._layer(part, shape, strides.get(part, 1))

    def _layer(self, name, shape, stride):
        common = {"trainable": False, "dtype": self.dtype_policy, "name": name}
        if len(shape) == 2:
            layer = keras.layers.Dense(shape[-1], kernel_initializer="zeros", **common)
            layer.build((None, shape[0]))
        elif name.endswith("depthwise"):
            layer = keras.layers.DepthwiseConv2D(
                shape[0], stride, padding="same", depthwise_initializer="zeros", **common
            )
            layer.build((None, None, None, shape[2]))
        else:
            layer = keras.layers.Conv2D(
                shape[-1], shape[0], stride, padding="same", kernel_initializer="zeros", **common
            )
            layer.build((None, None, None, shape[2]))
        return layer

    def build(self, input_shape=None):
        self.built = True

    def call(self, pixels):
        hidden = ops.relu6(self.parts["stem"](pixels))
        for number, block in enumerate(self.blocks):
            before = hidden
            if block.hidden != block.inputs:
                hidden = ops.relu6(self.parts[f"block{number}_expand"](hidden))
            hidden = ops.relu6(self.parts[f"block{number}_depthwise"](hidden))
            hidden = self.parts[f"block{number}_project"](hidden)
            if block.stride == 1 and block.inputs == block.outputs:
                hidden = hidden + before
        features = ops.mean(ops.relu6(self.parts["head"](hidden)), axis=(1, 2))
        return features, self.parts["classifier"](features)

    def assign(self, arrays):
        """Gives the layers their weights, by the names of `efficientnet_shapes`."""
        for name, layer in self.parts.items():
            layer.kernel.assign(arrays[f"{name}/kernel"])
            layer.bias.assign(arrays[f"{name}/bias"])
