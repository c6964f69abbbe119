"""The two convolutional networks of the vanilla VQGAN: images to latents, and quantized latents to images."""

import math

import keras
from keras import ops

from vim_tf.models.layers import SelfAttention, in_sequence

NORM_GROUPS = 32
NORM_EPSILON = 1e-6
# PyTorch's default initialization, with which VQGAN was trained: uniform with variance 1 / (3 inputs).
_INITIALIZER = {"scale": 1 / 3, "mode": "fan_in", "distribution": "uniform"}


def _conv(filters, side, policy, name, strides=1):
    initializer = keras.initializers.VarianceScaling(**_INITIALIZER)
    return keras.layers.Conv2D(
        filters, side, strides, padding="same", kernel_initializer=initializer, dtype=policy, name=name
    )


def _group_norm(channels, policy, name):
    groups = math.gcd(NORM_GROUPS, channels)
    return keras.layers.GroupNormalization(groups, epsilon=NORM_EPSILON, dtype=policy, name=name)


class ResidualBlock(keras.layers.Layer):
    """Two 3 x 3 convolutions with GroupNorm and swish before each, added to the inputs.

    Args:
        filters: output channels; where they differ from the inputs', the skip is a 1 x 1 convolution.

    Call arguments:
        inputs: float [batch, height, width, channels].
    """

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        *leading, channels = input_shape
        policy = self.dtype_policy
        self.norm_in = _group_norm(channels, policy, "norm_in")
        self.conv_in = _conv(self.filters, 3, policy, "conv_in")
        self.norm_out = _group_norm(self.filters, policy, "norm_out")
        self.conv_out = _conv(self.filters, 3, policy, "conv_out")
        self.skip = None if channels == self.filters else _conv(self.filters, 1, policy, "skip")
        for layer in (self.norm_in, self.conv_in, *([self.skip] if self.skip else [])):
            layer.build(input_shape)
        for layer in (self.norm_out, self.conv_out):
            layer.build((*leading, self.filters))
        self.built = True

    def call(self, inputs):
        hidden = self.conv_in(ops.silu(self.norm_in(inputs)))
        hidden = self.conv_out(ops.silu(self.norm_out(hidden)))
        return (self.skip(inputs) if self.skip else inputs) + hidden

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)


class AttentionBlock(keras.layers.Layer):
    """Self-attention with one head over all positions, GroupNorm before it, added to the inputs.

    Call arguments:
        inputs: float [batch, height, width, channels].
    """

    def build(self, input_shape):
        _, height, width, channels = input_shape
        self.norm = _group_norm(channels, self.dtype_policy, "norm")
        self.norm.build(input_shape)
        self.attention = SelfAttention(num_heads=1, dtype=self.dtype_policy, name="attention")
        self.attention.build((None, height * width, channels))
        self.built = True

    def call(self, inputs):
        _, height, width, channels = inputs.shape
        positions = ops.reshape(self.norm(inputs), (-1, height * width, channels))
        return inputs + ops.reshape(self.attention(positions), (-1, height, width, channels))

    def compute_output_shape(self, input_shape):
        return input_shape


class Upsampling(keras.layers.Layer):
    """Repeats each pixel twice in both directions, then applies a 3 x 3 convolution that keeps the channels.

    Call arguments:
        inputs: float [batch, height, width, channels].
    """

    def build(self, input_shape):
        _, height, width, channels = input_shape
        self.conv = _conv(channels, 3, self.dtype_policy, "conv")
        self.conv.build((None, 2 * height, 2 * width, channels))
        self.built = True

    def call(self, inputs):
        _, height, width, channels = inputs.shape
        pixels = ops.reshape(inputs, (-1, height, 1, width, 1, channels))
        pixels = ops.tile(pixels, (1, 1, 2, 1, 2, 1))  # [B, height, 2, width, 2, channels]
        return self.conv(ops.reshape(pixels, (-1, 2 * height, 2 * width, channels)))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, 2 * height, 2 * width, channels)


class _ConvolutionalNetwork(keras.layers.Layer):
    """Base of encoder and decoder: a chain of blocks between a first and a last convolution.

    At the lowest resolution, attention follows each residual block of the level; the middle is two residual blocks with
    attention between them. GroupNorm has gcd(32, channels) groups. The last layer computes in float32 under any policy.

    Args:
        height, width: image size in pixels; multiples of 2^halvings.
        channels: int, channels at full resolution, before multiplying.
        channel_multipliers: one int for each resolution, from the finest; each but the last is followed by a halving.
        blocks_per_level: int, residual blocks at each resolution; the decoder has one more.
        latent_channels: int, channels before the projection to the code's dimensions.
        rematerialize: whether the backward pass recomputes the blocks' activations, to save memory.
    """

    def __init__(
        self,
        height,
        width,
        channels,
        channel_multipliers,
        blocks_per_level,
        latent_channels,
        rematerialize=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.height = height
        self.width = width
        self.channels = channels
        self.channel_multipliers = tuple(channel_multipliers)
        self.blocks_per_level = blocks_per_level
        self.latent_channels = latent_channels
        self.rematerialize = rematerialize
        self.num_levels = len(self.channel_multipliers)
        self.grid_height = height // 2 ** (self.num_levels - 1)
        self.grid_width = width // 2 ** (self.num_levels - 1)

    def _conv(self, filters, side, name, strides=1):
        return _conv(filters, side, self.dtype_policy, name, strides)

    def _filters(self, level):
        return self.channels * self.channel_multipliers[level]

    def _level(self, level, num_blocks):
        """Residual blocks of one resolution, with attention at the lowest one."""
        layers = []
        for index in range(num_blocks):
            name = f"level_{level}_block_{index}"
            layers.append(ResidualBlock(self._filters(level), dtype=self.dtype_policy, name=name))
            if level == self.num_levels - 1:
                layers.append(AttentionBlock(dtype=self.dtype_policy, name=f"level_{level}_attention_{index}"))
        return layers

    def _middle(self):
        filters, policy = self._filters(-1), self.dtype_policy
        return [
            ResidualBlock(filters, dtype=policy, name="middle_block_0"),
            AttentionBlock(dtype=policy, name="middle_attention"),
            ResidualBlock(filters, dtype=policy, name="middle_block_1"),
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "height": self.height,
            "width": self.width,
            "channels": self.channels,
            "channel_multipliers": self.channel_multipliers,
            "blocks_per_level": self.blocks_per_level,
            "latent_channels": self.latent_channels,
            "rematerialize": self.rematerialize,
        }


def _build_chain(layers, shape):
    for layer in layers:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)


@keras.saving.register_keras_serializable(package="vim_tf")
class CNNEncoder(_ConvolutionalNetwork):
    """Images to latents, one for each square of 2^halvings pixels.

    Args:
        output_dim: width of a latent; the other arguments are the shared ones.

    Call arguments:
        images: float32 [batch, height, width, 3] in [0, 1].

    Returns:
        float32 [batch, grid_height * grid_width, output_dim], unbounded; raster order.

    References:
        Esser et al., 2021, https://arxiv.org/abs/2012.09841, table 7.
    """

    def __init__(self, output_dim, **kwargs):
        super().__init__(**kwargs)
        self.output_dim = output_dim
        self.conv_in = self._conv(self.channels, 3, "conv_in")
        self.chain = []
        for level in range(self.num_levels):
            self.chain += self._level(level, self.blocks_per_level)
            if level < self.num_levels - 1:
                # Both sides are even, so "same" pads only below and to the right, as VQGAN does.
                self.chain.append(self._conv(self._filters(level), 3, f"level_{level}_halving", strides=2))
        self.chain += self._middle()
        self.norm_out = _group_norm(self._filters(-1), self.dtype_policy, "norm_out")
        self.conv_out = self._conv(self.latent_channels, 3, "conv_out")
        self.code_projection = _conv(output_dim, 1, "float32", "code_projection")

    def build(self, input_shape=None):
        layers = (self.conv_in, *self.chain, self.norm_out, self.conv_out, self.code_projection)
        _build_chain(layers, (None, self.height, self.width, 3))
        self.built = True

    def call(self, images):
        hidden = in_sequence(self.chain, self.conv_in(images * 2 - 1), self.rematerialize)
        latents = self.code_projection(self.conv_out(ops.silu(self.norm_out(hidden))))
        return ops.reshape(latents, (-1, self.grid_height * self.grid_width, self.output_dim))

    def get_config(self):
        return {**super().get_config(), "output_dim": self.output_dim}


@keras.saving.register_keras_serializable(package="vim_tf")
class CNNDecoder(_ConvolutionalNetwork):
    """Quantized latents to pixels.

    Args:
        input_dim: width of a quantized latent.
        output_channels: maps to predict for each pixel; the other arguments are the shared ones.

    Call arguments:
        quantized: float32 [batch, grid_height * grid_width, input_dim].

    Returns:
        float32 [batch, height, width, output_channels], unbounded.

    References:
        Esser et al., 2021, https://arxiv.org/abs/2012.09841, table 7.
    """

    def __init__(self, input_dim, output_channels, **kwargs):
        super().__init__(**kwargs)
        self.input_dim = input_dim
        self.output_channels = output_channels
        self.code_projection = self._conv(self.latent_channels, 1, "code_projection")
        self.conv_in = self._conv(self._filters(-1), 3, "conv_in")
        self.chain = self._middle()
        for level in reversed(range(self.num_levels)):
            self.chain += self._level(level, self.blocks_per_level + 1)
            if level:
                self.chain.append(Upsampling(dtype=self.dtype_policy, name=f"level_{level}_doubling"))
        self.norm_out = _group_norm(self._filters(0), self.dtype_policy, "norm_out")
        self.conv_out = _conv(output_channels, 3, "float32", "conv_out")

    @property
    def last_kernel(self):
        """The last layer's weight, at which the adaptive adversarial weight compares gradients."""
        return self.conv_out.kernel

    def build(self, input_shape=None):
        layers = (self.code_projection, self.conv_in, *self.chain, self.norm_out, self.conv_out)
        _build_chain(layers, (None, self.grid_height, self.grid_width, self.input_dim))
        self.built = True

    def call(self, quantized):
        grid = ops.reshape(quantized, (-1, self.grid_height, self.grid_width, self.input_dim))
        hidden = in_sequence(self.chain, self.conv_in(self.code_projection(grid)), self.rematerialize)
        return self.conv_out(ops.silu(self.norm_out(hidden)))

    def get_config(self):
        return {**super().get_config(), "input_dim": self.input_dim, "output_channels": self.output_channels}
