"""PatchGAN: one logit for each patch of the image."""

import math

import keras
from keras import ops

from vim_tf.errors import InputError

NORM_GROUPS = 32
NORM_EPSILON = 1e-6
_KERNEL = 4
_LIMIT = 8  # channels grow up to this many times the first layer's


@keras.saving.register_keras_serializable(package="vim_tf")
class PatchGANDiscriminator(keras.Model):
    """Convolutional discriminator whose logits each see one patch of the image, 70 px wide with three halvings.

    A chain of 4 x 4 convolutions: num_layers with stride 2, one with stride 1, each with leaky ReLU, then one with
    stride 1 to the logits; channels double with each layer, up to eight times the first one's. All pad one zero on
    each side, so a stride of 2 halves a side (rounded down) and a stride of 1 removes one pixel. All but the first
    and the last are normalised before the activation. That is GroupNorm, where VQGAN has batch norm: microbatches and
    replicas then give what the whole batch gives, and no image's logits depend on the others. The last layer computes
    in float32 under any policy.

    Args:
        height, width: image size in pixels.
        channels: int, of the first layer.
        num_layers: int, halvings.

    Call arguments:
        images: float32 [batch, height, width, 3] in [0, 1].

    Returns:
        float32 [batch, height // 2^num_layers - 2, width // 2^num_layers - 2] logits, above 0 for real.

    Raises:
        InputError: the images are so small that no logit is left.

    References:
        Isola et al., 2017, https://arxiv.org/abs/1611.07004, appendix 6.1.2; as configured by Esser et al., 2021,
        https://github.com/CompVis/taming-transformers, NLayerDiscriminator.
    """

    def __init__(self, height, width, channels=64, num_layers=3, **kwargs):
        super().__init__(**kwargs)
        smallest = 3 * 2**num_layers
        if min(height, width) < smallest:
            raise InputError(
                f"a PatchGAN discriminator with {num_layers} halvings needs images of at least {smallest} x {smallest} "
                f"px, not {height} x {width}: choose larger images or a smaller --model.discriminator.patch_layers"
            )
        self.height = height
        self.width = width
        self.channels = channels
        self.num_layers = num_layers
        filters = [channels * min(2**index, _LIMIT) for index in range(num_layers + 1)]
        self.convs = [
            self._conv(count, 2 if index < num_layers else 1, f"conv_{index}", use_bias=index == 0)
            for index, count in enumerate(filters)
        ]
        self.norms = [
            keras.layers.GroupNormalization(
                math.gcd(NORM_GROUPS, count),
                epsilon=NORM_EPSILON,
                gamma_initializer=keras.initializers.RandomNormal(mean=1.0, stddev=0.02),
                dtype=self.dtype_policy,
                name=f"norm_{index}",
            )
            for index, count in enumerate(filters[1:], start=1)
        ]
        self.logit = self._conv(1, 1, "logit", dtype="float32")

    def _conv(self, filters, strides, name, use_bias=True, dtype=None):
        return keras.layers.Conv2D(
            filters,
            _KERNEL,
            strides,
            padding="valid",
            use_bias=use_bias,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype=dtype or self.dtype_policy,
            name=name,
        )

    def build(self, input_shape=None):
        shape = (None, self.height, self.width, 3)
        for conv, norm in zip(self.convs, [None, *self.norms], strict=True):
            conv.build(_padded(shape))
            shape = conv.compute_output_shape(_padded(shape))
            if norm:
                norm.build(shape)
        self.logit.build(_padded(shape))
        self.built = True

    def call(self, images):
        hidden = images * 2 - 1
        for conv, norm in zip(self.convs, [None, *self.norms], strict=True):
            hidden = conv(_pad(hidden))
            hidden = ops.leaky_relu(norm(hidden) if norm else hidden, negative_slope=0.2)
        return self.logit(_pad(hidden))[..., 0]

    def get_config(self):
        names = ("height", "width", "channels", "num_layers")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _pad(inputs):
    """One zero on each side. Keras' "same" would put all of an odd side's padding at its end."""
    return ops.pad(inputs, [(0, 0), (1, 1), (1, 1), (0, 0)])


def _padded(shape):
    batch, height, width, channels = shape
    return (batch, height + 2, width + 2, channels)
