"""Image tokenizers: an encoder and a decoder around a codebook."""

import dataclasses
from typing import Any, NamedTuple

import keras
from keras import ops

from vim_tf.models.cnn import CNNDecoder, CNNEncoder
from vim_tf.models.quantizers import QUANTIZERS, Quantized, make_quantizer
from vim_tf.models.vit import ViTDecoder, ViTEncoder


class TokenizerOutputs(NamedTuple):
    """The outputs of one pass that training needs.

    Attributes:
        images: float32 [batch, height, width, 3], the reconstructions, not clipped to [0, 1].
        location: float32, same shape, unbounded; mean of the logit-Laplace distribution. None where the decoder
            predicts pixels.
        log_scale: float32, same shape; log of the scale of that distribution, or None.
        quantized: Quantized.
        latents: float32 [batch, length, codebook_dim], before quantization.
    """

    images: Any
    location: Any
    log_scale: Any
    quantized: Quantized
    latents: Any


def pixels_of_location(location, epsilon):
    """Pixels at the mean of a logit-Laplace distribution.

    Args:
        location: float32 [...], unbounded.
        epsilon: float in [0, 0.5); images had been mapped to [epsilon, 1 - epsilon].

    Returns:
        float32 [...] in (0, 1), or a little outside where epsilon is above 0.

    References:
        Ramesh et al., 2021, https://arxiv.org/abs/2102.12092, section A.3.
    """
    return (ops.sigmoid(location) - epsilon) / (1 - 2 * epsilon)


def _json_values(settings):
    """The dict as it is read back from a JSON file: lists instead of tuples."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


class ImageTokenizer(keras.Model):
    """Base of the tokenizers; a subclass creates `encoder` and `decoder`.

    Args:
        height, width: image size in pixels.
        patch_size: side of the square of pixels that one token represents.
        quantizer: dict of `kind` and the arguments of that kind, for `make_quantizer`.
        pixels: what the decoder predicts: logit_laplace (mean and log scale of each pixel's logit) or rgb.
        pixel_epsilon: logit_laplace first maps images to [pixel_epsilon, 1 - pixel_epsilon].

    Call arguments:
        images: float32 [batch, height, width, 3] in [0, 1].
        seed: int32 [2] for quantizers that draw, or None.
        temperature: float32 [] for quantizers that draw, or None.

    Returns:
        TokenizerOutputs.
    """

    def __init__(self, height, width, patch_size, quantizer, pixels="logit_laplace", pixel_epsilon=0.0, **kwargs):
        super().__init__(**kwargs)
        self.height = height
        self.width = width
        self.patch_size = patch_size
        self.pixels = pixels
        self.pixel_epsilon = pixel_epsilon
        self.grid_height = height // patch_size
        self.grid_width = width // patch_size
        self.quantizer = make_quantizer(**quantizer, name="quantizer")
        self.codebook_size = self.quantizer.codebook_size
        self.depth = self.quantizer.depth
        # Three maps for R, G and B, and three more for the log scale if there is a distribution.
        self.output_channels = 6 if pixels == "logit_laplace" else 3
        self._quantizer_settings = _json_values(quantizer)

    def build(self, input_shape=None):
        for part in (self.encoder, self.quantizer, self.decoder):
            part.build()
        self.built = True

    def call(self, images, seed=None, temperature=None):
        latents = self.encoder(images)
        quantized = self.quantizer(latents, seed=seed, temperature=temperature)
        maps = self.decoder(quantized.quantized)
        if self.pixels == "rgb":
            return TokenizerOutputs(maps, None, None, quantized, latents)
        location, log_scale = maps[..., :3], maps[..., 3:]
        return TokenizerOutputs(
            pixels_of_location(location, self.pixel_epsilon), location, log_scale, quantized, latents
        )

    def encode(self, images):
        """Tokens of images.

        Args:
            images: float32 [batch, height, width, 3] in [0, 1].

        Returns:
            int32 [batch, grid_height * grid_width * depth] in [0, codebook_size), raster order, depth fastest.
        """
        return self.quantizer.tokens(self.encoder(images))

    def decode(self, tokens):
        """Images of tokens.

        Args:
            tokens: int32 [batch, grid_height * grid_width * depth] in [0, codebook_size).

        Returns:
            float32 [batch, height, width, 3] in [0, 1].
        """
        maps = self.decoder(self.lookup(tokens))
        images = maps if self.pixels == "rgb" else pixels_of_location(maps[..., :3], self.pixel_epsilon)
        return ops.clip(images, 0.0, 1.0)

    def lookup(self, tokens):
        """Codes of tokens: float32 [batch, grid_height * grid_width, codebook_dim]; arguments as in `decode`."""
        return self.quantizer.lookup(tokens)

    def quantized_latents(self, images):
        """Codes of the images' tokens: float32 [batch, grid_height * grid_width, codebook_dim]."""
        return self.lookup(self.encode(images))

    def get_config(self):
        return {
            **super().get_config(),
            "height": self.height,
            "width": self.width,
            "patch_size": self.patch_size,
            "quantizer": self._quantizer_settings,
            "pixels": self.pixels,
            "pixel_epsilon": self.pixel_epsilon,
        }


@keras.saving.register_keras_serializable(package="vim_tf")
class ViTVQGAN(ImageTokenizer):
    """Image tokenizer with a Vision Transformer on both sides of the codebook.

    Args:
        encoder, decoder: dicts of num_layers, num_heads, hidden_dim, mlp_dim.
        vit: dict of the settings that both share: positions, mlp_activation, head, qkv_bias, head_dim,
            layer_norm_epsilon; the other arguments are those of `ImageTokenizer`.
        rematerialize: recompute the blocks' activations in the backward pass. It affects how training computes, not the
            model itself, so it isn't part of the model's config.

    References:
        Yu et al., 2022, https://arxiv.org/abs/2110.04627, section 3.
    """

    def __init__(self, height, width, patch_size, encoder, decoder, quantizer, vit=None, rematerialize=False, **kwargs):
        super().__init__(height, width, patch_size, quantizer, **kwargs)
        self._sections = {"encoder": dict(encoder), "decoder": dict(decoder), "vit": dict(vit or {})}
        shared = {
            "grid_height": self.grid_height,
            "grid_width": self.grid_width,
            "patch_size": patch_size,
            "rematerialize": rematerialize,
            "dtype": self.dtype_policy,
            **self._sections["vit"],
        }
        code_dim = self.quantizer.codebook_dim
        self.encoder = ViTEncoder(**shared, **encoder, output_dim=code_dim, name="encoder")
        self.decoder = ViTDecoder(
            **shared, **decoder, input_dim=code_dim, output_channels=self.output_channels, name="decoder"
        )

    def get_config(self):
        return {**super().get_config(), **self._sections}


@keras.saving.register_keras_serializable(package="vim_tf")
class VQGAN(ImageTokenizer):
    """Image tokenizer with convolutional networks on both sides of the codebook.

    Args:
        cnn: dict of channels, channel_multipliers, blocks_per_level, latent_channels; the other arguments are those of
            `ImageTokenizer`.
        rematerialize: as for `ViTVQGAN`.

    References:
        Esser et al., 2021, https://arxiv.org/abs/2012.09841, section 3.1 and table 7.
    """

    def __init__(self, height, width, patch_size, cnn, quantizer, rematerialize=False, **kwargs):
        super().__init__(height, width, patch_size, quantizer, **kwargs)
        self._cnn = _json_values(cnn)
        shared = {
            "height": height,
            "width": width,
            "rematerialize": rematerialize,
            "dtype": self.dtype_policy,
            **self._cnn,
        }
        code_dim = self.quantizer.codebook_dim
        self.encoder = CNNEncoder(**shared, output_dim=code_dim, name="encoder")
        self.decoder = CNNDecoder(**shared, input_dim=code_dim, output_channels=self.output_channels, name="decoder")

    def get_config(self):
        return {**super().get_config(), "cnn": self._cnn}


def build_tokenizer(section, rematerialize=False):
    """The built model that a `TokenizerModelConfig` describes; arguments as in `describe_tokenizer`."""
    tokenizer = describe_tokenizer(section, rematerialize)
    tokenizer.build()
    return tokenizer


def describe_tokenizer(section, rematerialize=False):
    """The model that a `TokenizerModelConfig` describes, not built: it has its config, but no weights yet.

    Args:
        section: TokenizerModelConfig.
        rematerialize: bool, recompute the blocks' activations in the backward pass.
    """
    kind = section.quantizer.kind
    quantizer = {name: getattr(section.quantizer, name) for name in QUANTIZERS[kind].config_fields}
    shared = {
        "height": section.height,
        "width": section.width,
        "patch_size": section.patch_size,
        "quantizer": {"kind": kind, **quantizer},
        "pixels": section.pixels,
        "pixel_epsilon": section.pixel_epsilon,
        "rematerialize": rematerialize,
        "name": "tokenizer",
    }
    if section.architecture == "cnn":
        return VQGAN(cnn=dataclasses.asdict(section.cnn), **shared)
    parts = {name: dataclasses.asdict(getattr(section, name)) for name in ("encoder", "decoder", "vit")}
    return ViTVQGAN(**parts, **shared)
