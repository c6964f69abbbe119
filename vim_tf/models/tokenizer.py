"""ViT-VQGAN: the image tokenizer."""

from typing import Any, NamedTuple

import keras
from keras import ops

from vim_tf.models.quantizers import Quantized, VectorQuantizer
from vim_tf.models.vit import ViTDecoder, ViTEncoder

# Three maps for the mean of the logit-Laplace distribution of R, G, B and three for its log scale.
OUTPUT_CHANNELS = 6


class TokenizerOutputs(NamedTuple):
    """What training needs of one pass.

    Attributes:
        images: float32 [batch, height, width, 3] in (0, 1), the reconstructions.
        location: float32, same shape, unbounded; logit of `images`.
        log_scale: float32, same shape; log of the scale of the logit-Laplace distribution.
        quantized: Quantized.
        latents: float32 [batch, length, codebook_dim], before quantization.
    """

    images: Any
    location: Any
    log_scale: Any
    quantized: Quantized
    latents: Any


@keras.saving.register_keras_serializable(package="vim_tf")
class ViTVQGAN(keras.Model):
    """Image tokenizer with a Vision Transformer on both sides of a codebook.

    Args:
        height, width: image size in pixels.
        patch_size: side of the square of pixels that one token stands for.
        encoder, decoder: dicts of num_layers, num_heads, hidden_dim, mlp_dim.
        quantizer: dict of codebook_size, codebook_dim, l2_normalize.

    Call arguments:
        images: float32 [batch, height, width, 3] in [0, 1].

    Returns:
        TokenizerOutputs.

    References:
        Yu et al., 2022, https://arxiv.org/abs/2110.04627, section 3.
    """

    depth = 1

    def __init__(self, height, width, patch_size, encoder, decoder, quantizer, **kwargs):
        super().__init__(**kwargs)
        self.height = height
        self.width = width
        self.patch_size = patch_size
        self.grid_height = height // patch_size
        self.grid_width = width // patch_size
        self.codebook_size = quantizer["codebook_size"]
        grid = {"grid_height": self.grid_height, "grid_width": self.grid_width, "patch_size": patch_size}
        self.quantizer = VectorQuantizer(**quantizer, name="quantizer")
        code_dim = self.quantizer.codebook_dim
        self.encoder = ViTEncoder(**grid, **encoder, output_dim=code_dim, name="encoder")
        self.decoder = ViTDecoder(
            **grid, **decoder, input_dim=code_dim, output_channels=OUTPUT_CHANNELS, name="decoder"
        )
        self._sections = {"encoder": dict(encoder), "decoder": dict(decoder), "quantizer": dict(quantizer)}

    def build(self, input_shape=None):
        for part in (self.encoder, self.quantizer, self.decoder):
            part.build()
        self.built = True

    def call(self, images):
        latents = self.encoder(images)
        quantized = self.quantizer(latents)
        location, log_scale = self._pixels(quantized.quantized)
        return TokenizerOutputs(ops.sigmoid(location), location, log_scale, quantized, latents)

    def encode(self, images):
        """Tokens of images.

        Args:
            images: float32 [batch, height, width, 3] in [0, 1].

        Returns:
            int32 [batch, grid_height * grid_width] in [0, codebook_size), raster order.
        """
        return self.quantizer.tokens(self.encoder(images))

    def decode(self, tokens):
        """Images of tokens.

        Args:
            tokens: int32 [batch, grid_height * grid_width] in [0, codebook_size).

        Returns:
            float32 [batch, height, width, 3] in (0, 1).
        """
        location, _ = self._pixels(self.quantizer.lookup(tokens))
        return ops.sigmoid(location)

    def quantized_latents(self, images):
        """Codes of the images' tokens: float32 [batch, grid_height * grid_width, codebook_dim]."""
        return self.quantizer.lookup(self.encode(images))

    def _pixels(self, quantized):
        maps = self.decoder(quantized)
        return maps[..., :3], maps[..., 3:]

    def get_config(self):
        return {
            **super().get_config(),
            "height": self.height,
            "width": self.width,
            "patch_size": self.patch_size,
            **self._sections,
        }


def build_tokenizer(section):
    """The built model that a `TokenizerModelConfig` describes."""
    sizes = {
        side: {
            name: getattr(getattr(section, side), name) for name in ("num_layers", "num_heads", "hidden_dim", "mlp_dim")
        }
        for side in ("encoder", "decoder")
    }
    quantizer = {
        "codebook_size": section.quantizer.codebook_size,
        "codebook_dim": section.quantizer.codebook_dim,
        "l2_normalize": section.quantizer.l2_normalize,
    }
    tokenizer = ViTVQGAN(
        section.height, section.width, section.patch_size, **sizes, quantizer=quantizer, name="tokenizer"
    )
    tokenizer.build()
    return tokenizer
