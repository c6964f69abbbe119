"""StyleGAN2's discriminator: one logit for an image."""

import math

import keras
import numpy as np
from keras import ops

BLUR_FILTER = (1, 3, 3, 1)


def _leaky_relu(inputs):
    return ops.leaky_relu(inputs, negative_slope=0.2) * math.sqrt(2)


class EqualizedConv(keras.layers.Layer):
    """Convolution whose weights are N(0, 1) and scaled at run time, so that all layers learn at the same rate.

    Args:
        filters: output channels.
        kernel_size: side of the kernel.
        strides: step of the kernel.
        padding: same or valid.
        use_bias: whether to add a bias.

    References:
        Karras et al., 2018, https://arxiv.org/abs/1710.10196, section 4.1.
    """

    def __init__(self, filters, kernel_size, strides=1, padding="same", use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.padding = padding
        self.use_bias = use_bias

    def build(self, input_shape):
        channels = input_shape[-1]
        self.scale = 1 / math.sqrt(channels * self.kernel_size**2)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, channels, self.filters),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        self.built = True

    def call(self, inputs):
        outputs = ops.conv(inputs, self.kernel * self.scale, strides=self.strides, padding=self.padding)
        return outputs + self.bias if self.use_bias else outputs


class EqualizedDense(keras.layers.Layer):
    """Dense layer whose weights are N(0, 1) and scaled at run time.

    Args:
        units: output width.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.scale = 1 / math.sqrt(input_shape[-1])
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.built = True

    def call(self, inputs):
        return ops.matmul(inputs, self.kernel * self.scale) + self.bias


def blur(images, padding="same", strides=1):
    """Low-pass filter [1, 3, 3, 1] along both axes, so that the stride after it doesn't alias.

    Args:
        images: float [batch, height, width, channels].
        padding: same (edges see zeros, and the output is shifted by half a pixel) or valid (three pixels fewer).
        strides: int, step of the filter; 2 gives only every second pixel of what 1 gives.

    Returns:
        float [batch, height, width, channels].
    """
    taps = np.asarray(BLUR_FILTER, "float32") / sum(BLUR_FILTER)
    kernel = np.tile(np.outer(taps, taps)[:, :, None, None], (1, 1, images.shape[-1], 1))
    return ops.depthwise_conv(images, ops.cast(kernel, images.dtype), strides=strides, padding=padding)


class DownsamplingBlock(keras.layers.Layer):
    """Residual block that halves both sides, odd ones rounded up: (two convolutions + skip) / sqrt(2).

    Output pixel j of both branches is centred on input pixel 2j + 0.5.

    Args:
        filters: output channels.
    """

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        channels = input_shape[-1]
        policy = self.dtype_policy
        self.conv = EqualizedConv(channels, 3, dtype=policy, name="conv")
        self.conv_down = EqualizedConv(self.filters, 3, strides=2, padding="valid", dtype=policy, name="conv_down")
        self.skip = EqualizedConv(self.filters, 1, use_bias=False, dtype=policy, name="skip")
        for layer in (self.conv, self.conv_down, self.skip):
            layer.build(input_shape)
        self.built = True

    def call(self, inputs):
        main = _leaky_relu(self.conv(inputs))
        # Padding "same" in two strided layers in a row would shift this branch by a pixel relative to the other one.
        main = ops.pad(main, [(0, 0), *((2, 2 + size % 2) for size in inputs.shape[1:3]), (0, 0)])
        main = _leaky_relu(self.conv_down(blur(main, padding="valid")))
        return (main + self.skip(blur(inputs, strides=2))) / math.sqrt(2)


def minibatch_stddev(features, group):
    """Appends the standard deviation over neighbouring images, which reveals a lack of variety.

    Args:
        features: float [batch, height, width, channels]; batch must be a multiple of `group`, and images of one group
            are neighbours, so that replicas and microbatches give what the whole batch gives.
        group: int, images that share one value.

    Returns:
        float [batch, height, width, channels + 1], dtype of the features; the deviation is computed in float32.

    References:
        Karras et al., 2018, https://arxiv.org/abs/1710.10196, section 3.
    """
    _, height, width, channels = features.shape
    grouped = ops.cast(ops.reshape(features, (-1, group, height, width, channels)), "float32")
    deviation = ops.sqrt(ops.var(grouped, axis=1) + 1e-8)  # [groups, height, width, channels]
    mean = ops.mean(deviation, axis=(1, 2, 3), keepdims=True)
    per_image = ops.cast(ops.repeat(mean, group, axis=0), features.dtype)
    return ops.concatenate([features, ops.broadcast_to(per_image, ops.shape(features[..., :1]))], axis=-1)


@keras.saving.register_keras_serializable(package="vim_tf")
class StyleGAN2Discriminator(keras.Model):
    """Residual convolutional discriminator that halves the image down to about 4x4.

    The minibatch deviation and the last layer are computed in float32 under any policy.

    Args:
        height, width: image size in pixels.
        channel_multiplier: channels at resolution r are min(16384 * channel_multiplier / r, max_channels).
        max_channels: upper limit of channels.
        minibatch_stddev_group: neighbouring images that share one standard deviation; 1 = off.

    Call arguments:
        images: float32 [batch, height, width, 3] in [0, 1].

    Returns:
        float32 [batch] logits, above 0 for real.

    References:
        Karras et al., 2020, https://arxiv.org/abs/1912.04958, section 4 and figure 7.
    """

    def __init__(self, height, width, channel_multiplier, max_channels, minibatch_stddev_group, **kwargs):
        super().__init__(**kwargs)
        self.height = height
        self.width = width
        self.channel_multiplier = channel_multiplier
        self.max_channels = max_channels
        self.minibatch_stddev_group = minibatch_stddev_group

    def _channels(self, resolution):
        return max(1, min(int(16384 * self.channel_multiplier / resolution), self.max_channels))

    def build(self, input_shape=None):
        shape = (None, self.height, self.width, 3)
        policy = self.dtype_policy
        self.from_rgb = EqualizedConv(self._channels(max(self.height, self.width)), 1, dtype=policy, name="from_rgb")
        self.from_rgb.build(shape)
        height, width = self.height, self.width
        channels = self.from_rgb.filters
        self.blocks = []
        while min(height, width) > 4:
            filters, name = self._channels(max(height, width) // 2), f"block_{height}x{width}"
            block = DownsamplingBlock(filters, dtype=policy, name=name)
            block.build((None, height, width, channels))
            self.blocks.append(block)
            height, width, channels = -(-height // 2), -(-width // 2), block.filters
        self.last_conv = EqualizedConv(channels, 3, dtype=policy, name="last_conv")
        self.last_conv.build((None, height, width, channels + (self.minibatch_stddev_group > 1)))
        self.hidden = EqualizedDense(channels, dtype=policy, name="hidden")
        self.hidden.build((None, height * width * channels))
        self.logit = EqualizedDense(1, dtype="float32", name="logit")
        self.logit.build((None, channels))
        self.built = True

    def call(self, images):
        features = _leaky_relu(self.from_rgb(images * 2 - 1))
        for block in self.blocks:
            features = block(features)
        if self.minibatch_stddev_group > 1:
            features = minibatch_stddev(features, self.minibatch_stddev_group)
        features = _leaky_relu(self.last_conv(features))
        _, height, width, channels = features.shape
        features = _leaky_relu(self.hidden(ops.reshape(features, (-1, height * width * channels))))
        return self.logit(features)[:, 0]

    def get_config(self):
        names = ("height", "width", "channel_multiplier", "max_channels", "minibatch_stddev_group")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
