"""Sizes and architectures of the models."""

import dataclasses
import math
from typing import ClassVar, Literal

from vim_tf.config.fields import check, check_choices, check_fraction, check_not_negative, check_positive, setting


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Size of a stack of Transformer blocks."""

    # Sizes of the paper's encoders and decoders (table 2), as in --model.encoder.size=base.
    SIZES: ClassVar = {
        "small": {"num_layers": 8, "num_heads": 8, "hidden_dim": 512, "mlp_dim": 2048},
        "base": {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072},
        "large": {"num_layers": 32, "num_heads": 16, "hidden_dim": 1280, "mlp_dim": 5120},
    }
    num_layers: int = setting(8, "Transformer blocks")
    num_heads: int = setting(8, "attention heads")
    hidden_dim: int = setting(512, "width of the residual stream")
    mlp_dim: int = setting(2048, "width inside the feed-forward layers")

    def __post_init__(self):
        check_positive(self, "num_layers", "num_heads", "hidden_dim", "mlp_dim")
        check(
            self.hidden_dim % self.num_heads == 0,
            f"hidden_dim {self.hidden_dim} can't be divided into num_heads {self.num_heads}",
        )


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """What the paper leaves open about its two Vision Transformers, which share these settings."""

    positions: Literal["sincos", "learned"] = setting("sincos", "fixed 2-D sine and cosine, or one learned vector each")
    mlp_activation: Literal["gelu", "relu", "tanh"] = setting("gelu", "activation inside the blocks")
    head: Literal["tanh", "linear"] = setting(
        "tanh", "what follows the last block: two layers with tanh in between (as the paper says), or one layer"
    )
    qkv_bias: bool = setting(True, "whether queries, keys and values have a bias")
    head_dim: int = setting(0, "width of an attention head; 0 = hidden_dim / num_heads")
    layer_norm_epsilon: float = setting(1e-6, "added to the variance in LayerNorm")

    def __post_init__(self):
        check_choices(self)
        check_not_negative(self, "head_dim")
        check_positive(self, "layer_norm_epsilon")


@dataclasses.dataclass(frozen=True)
class CNNConfig:
    """The convolutional encoder and decoder of the vanilla VQGAN (Esser et al., 2021)."""

    channels: int = setting(128, "channels at full resolution, before the multipliers")
    channel_multipliers: tuple[int, ...] = setting(
        (1, 1, 2, 4), "one per resolution, from the finest; the resolution halves after each but the last"
    )
    blocks_per_level: int = setting(2, "residual blocks at each resolution; the decoder has one more")
    latent_channels: int = setting(256, "channels before the projection to the code's dimensions")

    def __post_init__(self):
        check_positive(self, "channels", "blocks_per_level", "latent_channels")
        check(
            self.channel_multipliers and min(self.channel_multipliers) > 0,
            f"model.cnn.channel_multipliers must be positive numbers, not {self.channel_multipliers}",
        )


@dataclasses.dataclass(frozen=True)
class QuantizerConfig:
    """The codebook."""

    kind: Literal["vq", "ema", "gumbel", "residual", "fsq", "lfq"] = setting(
        "vq",
        "vq: codes learned by gradient (the paper); ema: codes that are moving averages; gumbel: a categorical "
        "distribution; residual: several codes per position; fsq, lfq: fixed grids without a learned codebook",
    )
    codebook_size: int = setting(8192, "number of codes")
    codebook_dim: int = setting(32, "dimensions of a code; latents are projected down to it")
    l2_normalize: bool = setting(True, "vq, ema: look codes up by cosine: latents and codes are scaled to length 1")
    straight_through: Literal["latents", "normalized"] = setting(
        "latents",
        "vq, ema: pass the gradient of the codes to the latents as they are, or to those scaled to length 1",
    )
    depth: int = setting(1, "residual: codes per position, each for the residual that the previous ones leave")
    ema_decay: float = setting(0.99, "ema: decay of the codes' moving averages")
    gumbel_temperature: float = setting(1.0, "gumbel: temperature at the first step")
    gumbel_final_temperature: float = setting(0.0625, "gumbel: temperature after the annealing")
    gumbel_anneal_steps: int = setting(150_000, "gumbel: steps of the annealing, which follows half a cosine")
    fsq_levels: tuple[int, ...] = setting((), "fsq: values of each dimension; their product is the codebook size")
    entropy_temperature: float = setting(0.01, "lfq: temperature of the distribution in the entropy loss")
    restart_unused_steps: int = setting(
        0, "reset a code to one of the current latents after this many steps without use; 0 = never (the paper)"
    )

    def __post_init__(self):
        check_choices(self)
        check(self.codebook_size >= 2, f"codebook_size must be at least 2, not {self.codebook_size}")
        check_positive(
            self,
            "codebook_dim",
            "depth",
            "gumbel_temperature",
            "gumbel_final_temperature",
            "gumbel_anneal_steps",
            "entropy_temperature",
        )
        check_not_negative(self, "restart_unused_steps")
        check(0 <= self.ema_decay < 1, f"quantizer.ema_decay must be in [0, 1), not {self.ema_decay}")
        self._check_kind()

    def _check_kind(self):
        """Checks settings that apply to one kind of quantizer only, and the codebook's shape."""
        check(self.kind == "residual" or self.depth == 1, "quantizer.depth above 1 needs quantizer.kind=residual")
        check(
            self.kind != "residual" or not self.l2_normalize,
            "quantizer.kind=residual adds codes of any length: give --nomodel.quantizer.l2_normalize",
        )
        check(
            self.kind not in ("gumbel", "fsq", "lfq") or not self.restart_unused_steps,
            f"quantizer.kind={self.kind} has no codes that can be set to latents: "
            "quantizer.restart_unused_steps must be 0",
        )
        check(
            self.kind != "lfq" or self.codebook_size == 2**self.codebook_dim,
            f"quantizer.kind=lfq with codebook_dim {self.codebook_dim} has 2^{self.codebook_dim} codes, not "
            f"codebook_size {self.codebook_size}",
        )
        if self.kind == "fsq":
            check(min(self.fsq_levels, default=0) >= 2, "quantizer.kind=fsq needs fsq_levels, each at least 2")
            size, dims = math.prod(self.fsq_levels), len(self.fsq_levels)
            check(
                (self.codebook_size, self.codebook_dim) == (size, dims),
                f"quantizer.fsq_levels {','.join(map(str, self.fsq_levels))} make codebook_size {size} and "
                f"codebook_dim {dims}, not {self.codebook_size} and {self.codebook_dim}",
            )
        else:
            check(not self.fsq_levels, "quantizer.fsq_levels needs quantizer.kind=fsq")


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator of the adversarial loss."""

    kind: Literal["stylegan2", "patchgan"] = setting(
        "stylegan2", "one logit per image (the paper), or one per patch (VQGAN)"
    )
    channel_multiplier: float = setting(
        2.0, "stylegan2: channels at resolution r are min(16384 * this / r, max_channels)"
    )
    max_channels: int = setting(512, "stylegan2: upper limit of channels at any resolution")
    minibatch_stddev_group: int = setting(
        4, "stylegan2: neighbouring images that share one standard deviation; 1 = off"
    )
    patch_channels: int = setting(64, "patchgan: channels of the first layer")
    patch_layers: int = setting(3, "patchgan: layers that halve the resolution")

    def __post_init__(self):
        check_choices(self)
        check_positive(
            self, "channel_multiplier", "max_channels", "minibatch_stddev_group", "patch_channels", "patch_layers"
        )


@dataclasses.dataclass(frozen=True)
class TokenizerModelConfig:
    """ViT-VQGAN or VQGAN; the default is ViT-VQGAN Small-Small."""

    architecture: Literal["vit", "cnn"] = setting("vit", "Vision Transformers (the paper), or the vanilla VQGAN")
    height: int = setting(256, "image height in pixels")
    width: int = setting(256, "image width in pixels")
    patch_size: int = setting(8, "side in pixels of the square that one token represents")
    pixels: Literal["logit_laplace", "rgb"] = setting(
        "logit_laplace", "what the decoder predicts: mean and scale of a distribution of each pixel, or the pixel"
    )
    pixel_epsilon: float = setting(0.0, "logit_laplace: map images to [this, 1 - this] first; DALL-E uses 0.1; 0 = off")
    encoder: TransformerConfig = setting(TransformerConfig(), "vit: images to latents")
    decoder: TransformerConfig = setting(TransformerConfig(), "vit: quantized latents to images")
    vit: ViTConfig = setting(ViTConfig(), "vit: architecture of encoder and decoder")
    cnn: CNNConfig = setting(CNNConfig(), "cnn: size of encoder and decoder")
    quantizer: QuantizerConfig = setting(QuantizerConfig(), "latents to tokens")
    discriminator: DiscriminatorConfig = setting(DiscriminatorConfig(), "discriminator of the adversarial loss")

    def __post_init__(self):
        check_choices(self)
        check_positive(self, "height", "width", "patch_size")
        check(0 <= self.pixel_epsilon < 0.5, f"model.pixel_epsilon must be in [0, 0.5), not {self.pixel_epsilon}")
        for name in ("height", "width"):
            size = getattr(self, name)
            check(
                size % self.patch_size == 0,
                f"model.{name} {size} isn't a multiple of model.patch_size {self.patch_size}",
            )
        if self.architecture == "cnn":
            halvings = len(self.cnn.channel_multipliers) - 1
            check(
                self.patch_size == 2**halvings,
                f"model.cnn.channel_multipliers {','.join(map(str, self.cnn.channel_multipliers))} halve {halvings} "
                f"times, which makes model.patch_size {2**halvings}, not {self.patch_size}",
            )


@dataclasses.dataclass(frozen=True)
class TokenFacts:
    """What a language model must know about the tokens that it was trained on; read from their manifest."""

    tokenizer_checksum: str = setting("", "sha256 of the tokenizer", flag=False)
    grid_height: int = setting(0, "tokens from top to bottom", flag=False)
    grid_width: int = setting(0, "tokens from left to right", flag=False)
    depth: int = setting(1, "tokens per position of the grid", flag=False)
    codebook_size: int = setting(0, "number of codes", flag=False)
    num_classes: int = setting(0, "labels are in [0, num_classes); 0 = unlabelled", flag=False)
    # Workdirs of earlier versions don't have them; a resume adds them.
    class_names: tuple[str, ...] = setting((), "name of each label; empty = not known", flag=False, resumable=True)


@dataclasses.dataclass(frozen=True)
class LanguageModelConfig(TransformerConfig):
    """VIM, a decoder-only Transformer; the default is VIM-Base."""

    # Sizes of the paper's language models (table 2), as in --model.size=large.
    SIZES: ClassVar = {
        "base": {"num_layers": 24, "num_heads": 16, "hidden_dim": 1536, "mlp_dim": 6144},
        "large": {"num_layers": 36, "num_heads": 32, "hidden_dim": 2048, "mlp_dim": 8192},
    }
    num_layers: int = setting(24, "Transformer blocks")
    num_heads: int = setting(16, "attention heads")
    hidden_dim: int = setting(1536, "width of the residual stream")
    mlp_dim: int = setting(6144, "width inside the feed-forward layers")
    dropout: float = setting(0.1, "dropout rate of embeddings, attention outputs, activations and feed-forward outputs")
    class_conditional: bool = setting(
        True, "start the sequence with the label's embedding; off: with one learned embedding"
    )
    label_dropout: float = setting(
        0.0, "share of training examples whose label is hidden; guidance needs a value above 0"
    )
    features_block: int = setting(
        -1, "block, counted from 0, whose mean output is the image's feature; -1 = 5/12 of the depth (paper: 15 of 36)"
    )
    tokens: TokenFacts = setting(TokenFacts(), "facts of the tokens, from their manifest", flag=False)

    def __post_init__(self):
        super().__post_init__()
        check(0 <= self.dropout < 1, f"model.dropout must be in [0, 1), not {self.dropout}")
        check_fraction(self, "label_dropout")
        check(
            -1 <= self.features_block < self.num_layers,
            f"model.features_block {self.features_block} isn't one of the {self.num_layers} blocks, counted from 0",
        )
