"""Discriminators: StyleGAN2's, which gives one logit per image, and PatchGAN, which gives one per patch."""

from vim_tf.models.discriminators.patchgan import PatchGANDiscriminator
from vim_tf.models.discriminators.stylegan2 import (
    DownsamplingBlock,
    EqualizedConv,
    EqualizedDense,
    StyleGAN2Discriminator,
    blur,
    minibatch_stddev,
)

__all__ = [
    "DownsamplingBlock",
    "EqualizedConv",
    "EqualizedDense",
    "PatchGANDiscriminator",
    "StyleGAN2Discriminator",
    "blur",
    "build_discriminator",
    "minibatch_stddev",
]


def build_discriminator(section):
    """The built discriminator that a `TokenizerModelConfig` describes.

    Raises:
        InputError: the images are too small for it.
    """
    settings = section.discriminator
    if settings.kind == "patchgan":
        discriminator = PatchGANDiscriminator(
            section.height,
            section.width,
            channels=settings.patch_channels,
            num_layers=settings.patch_layers,
            name="discriminator",
        )
    else:
        discriminator = StyleGAN2Discriminator(
            section.height,
            section.width,
            channel_multiplier=settings.channel_multiplier,
            max_channels=settings.max_channels,
            minibatch_stddev_group=settings.minibatch_stddev_group,
            name="discriminator",
        )
    discriminator.build()
    return discriminator
