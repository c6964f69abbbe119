"""Every hyperparameter of every command: its default, unit, meaning and check.

The dataclasses here are the only place where defaults live. `flags.py` turns each field into a dotted flag
(`model.quantizer.codebook_size`), and a trained stage stores its resolved config as `config.json`. The defaults of the
two training configs are the paper's ImageNet settings (arXiv 2110.04627, section 3.3, 5 and table 2) except where a
field's help says otherwise; the files in `configs/` hold what differs.
"""

import dataclasses
import json
import typing
from typing import Literal

from vim_tf.errors import InputError

SPLITS = ("train", "validation")
EVALUATION_KINDS = ("reconstruction", "generation")


def setting(default, help, *, resumable=False, flag=True):
    """A config field with its help.

    Args:
        default: the value, or a dataclass type for a section.
        help: one sentence, with the unit where there is one.
        resumable: whether a resumed run may change it.
        flag: whether it is a flag; False for facts that a command finds out itself.
    """
    metadata = {"help": help, "resumable": resumable, "flag": flag}
    if dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _check(condition, message):
    if not condition:
        raise InputError(message)


def _check_positive(section, *names):
    for name in names:
        _check(getattr(section, name) > 0, f"{name} must be above 0, not {getattr(section, name)}")


def _check_not_negative(section, *names):
    for name in names:
        _check(getattr(section, name) >= 0, f"{name} must not be negative, but is {getattr(section, name)}")


def _check_fraction(section, *names):
    for name in names:
        _check(0 <= getattr(section, name) <= 1, f"{name} must lie in [0, 1], not {getattr(section, name)}")


def _check_choices(section):
    """Checks the fields that have a set of values; flags are checked anyway, but not what comes from Python or JSON."""
    for field in dataclasses.fields(section):
        choices = typing.get_args(field.type) if typing.get_origin(field.type) is Literal else ()
        value = getattr(section, field.name)
        _check(not choices or value in choices, f"{field.name} must be one of {', '.join(choices)}, not {value!r}")


def _check_seed(section):
    # Seeds become int32 tensors.
    _check(0 <= section.seed < 2**31, f"seed must lie in [0, 2147483648), not {section.seed}")


def _check_given(section, *names):
    for name in names:
        _check(getattr(section, name), f"--{name} is needed; --help says what it is")


# ------------------------------------------------------------------------------------------------------------- data


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where images come from."""

    source: str = setting(
        "digits",
        "image source: digits, photos, tfds:<name>, folder:<path> (a sub-folder is a class) or tfrecord:<glob>; a "
        "{split} in a path or glob is replaced by train or validation",
    )
    name: str = setting("", "what reports and metrics call the images; empty = the source itself")
    validation_fraction: float = setting(
        0.1, "share of a source without splits of its own that becomes the validation split, by a hash of the key"
    )
    max_unreadable_fraction: float = setting(0.01, "share of files that may fail to decode before the run stops")
    shuffle_buffer: int = setting(
        10_000, "examples held in memory to shuffle a source that can only be read in order (tfds, tfrecord)"
    )

    def __post_init__(self):
        _check_fraction(self, "validation_fraction", "max_unreadable_fraction")
        _check_positive(self, "shuffle_buffer")


# ----------------------------------------------------------------------------------------------------------- models


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Size of a stack of Transformer blocks."""

    num_layers: int = setting(8, "Transformer blocks")
    num_heads: int = setting(8, "attention heads")
    hidden_dim: int = setting(512, "width of the residual stream")
    mlp_dim: int = setting(2048, "width inside the feed-forward part")

    def __post_init__(self):
        _check_positive(self, "num_layers", "num_heads", "hidden_dim", "mlp_dim")
        _check(
            self.hidden_dim % self.num_heads == 0,
            f"hidden_dim {self.hidden_dim} can't be divided into num_heads {self.num_heads}",
        )


@dataclasses.dataclass(frozen=True)
class QuantizerConfig:
    """The codebook."""

    codebook_size: int = setting(8192, "number of codes")
    codebook_dim: int = setting(32, "dimensions of a code; latents are projected down to it")
    l2_normalize: bool = setting(True, "look up by cosine: latents and codes are scaled to length 1")
    restart_unused_steps: int = setting(
        0, "a code that no latent chose for so many steps is set to one of the current latents; 0 = never (the paper)"
    )

    def __post_init__(self):
        _check(self.codebook_size >= 2, f"codebook_size must be at least 2, not {self.codebook_size}")
        _check_positive(self, "codebook_dim")
        _check_not_negative(self, "restart_unused_steps")


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """The StyleGAN2 discriminator."""

    channel_multiplier: float = setting(1.0, "channels at resolution r are min(16384 * this / r, max_channels)")
    max_channels: int = setting(512, "upper limit of channels at any resolution")
    minibatch_stddev_group: int = setting(4, "neighbouring images that share one standard deviation; 1 = off")

    def __post_init__(self):
        _check_positive(self, "channel_multiplier", "max_channels", "minibatch_stddev_group")


@dataclasses.dataclass(frozen=True)
class TokenizerModelConfig:
    """ViT-VQGAN; the default is Small-Small."""

    height: int = setting(256, "image height in pixels")
    width: int = setting(256, "image width in pixels")
    patch_size: int = setting(8, "side of the square of pixels that one token stands for")
    encoder: TransformerConfig = setting(TransformerConfig(), "images to latents")
    decoder: TransformerConfig = setting(TransformerConfig(), "quantized latents to images")
    quantizer: QuantizerConfig = setting(QuantizerConfig(), "latents to tokens")
    discriminator: DiscriminatorConfig = setting(DiscriminatorConfig(), "judge of the adversarial loss")

    def __post_init__(self):
        _check_positive(self, "height", "width", "patch_size")
        for name in ("height", "width"):
            size = getattr(self, name)
            _check(
                size % self.patch_size == 0,
                f"model.{name} {size} is no multiple of model.patch_size {self.patch_size}",
            )


@dataclasses.dataclass(frozen=True)
class TokenFacts:
    """What a language model must know of the tokens it was trained on; read from their manifest."""

    tokenizer_checksum: str = setting("", "sha256 of the tokenizer", flag=False)
    grid_height: int = setting(0, "tokens from top to bottom", flag=False)
    grid_width: int = setting(0, "tokens from left to right", flag=False)
    depth: int = setting(1, "tokens at one place of the grid", flag=False)
    codebook_size: int = setting(0, "number of codes", flag=False)
    num_classes: int = setting(0, "labels are in [0, num_classes); 0 = unlabelled", flag=False)


@dataclasses.dataclass(frozen=True)
class LanguageModelConfig(TransformerConfig):
    """VIM, a decoder-only Transformer; the default is VIM-Base."""

    num_layers: int = setting(24, "Transformer blocks")
    num_heads: int = setting(16, "attention heads")
    hidden_dim: int = setting(1536, "width of the residual stream")
    mlp_dim: int = setting(6144, "width inside the feed-forward part")
    dropout: float = setting(
        0.1, "share dropped of embeddings, attention outputs, activations and feed-forward outputs"
    )
    class_conditional: bool = setting(True, "put the label's embedding in front; off: one learned start embedding")
    label_dropout: float = setting(
        0.0, "share of training examples whose label is hidden; above 0 makes guidance possible"
    )
    features_block: int = setting(
        -1, "block, counted from 0, whose mean output is the image's feature; -1 = 5/12 of the depth (paper: 15 of 36)"
    )
    tokens: TokenFacts = setting(TokenFacts(), "facts of the tokens, from their manifest", flag=False)

    def __post_init__(self):
        super().__post_init__()
        _check(0 <= self.dropout < 1, f"model.dropout must lie in [0, 1), not {self.dropout}")
        _check_fraction(self, "label_dropout")
        _check(
            -1 <= self.features_block < self.num_layers,
            f"model.features_block {self.features_block} is none of the {self.num_layers} blocks",
        )


# --------------------------------------------------------------------------------------------------------- training


@dataclasses.dataclass(frozen=True)
class TokenizerLossConfig:
    """Weights of the tokenizer's loss terms; each term is a mean over its elements."""

    codebook_weight: float = setting(1.0, "weight of the codebook loss, which moves codes to latents")
    commitment_weight: float = setting(0.25, "weight of the commitment loss, which moves latents to codes")
    l2_weight: float = setting(1.0, "weight of the squared pixel error")
    logit_laplace_weight: float = setting(0.1, "weight of the logit-Laplace likelihood")
    logit_laplace_min_log_scale: float = setting(
        -2.0, "floor of the predicted log scale; without one, flat regions make the likelihood unbounded"
    )
    logit_laplace_margin: float = setting(1e-3, "pixels are kept in [margin, 1 - margin] before the logit")
    adversarial_weight: float = setting(0.1, "weight of the generator's adversarial loss")
    adversarial_start_step: int = setting(0, "step at which the generator begins to see the discriminator")
    r1_gamma: float = setting(10.0, "weight of the R1 penalty gamma/2 E|grad D|^2 on real images; 0 = off")
    r1_interval_steps: int = setting(16, "steps between two R1 penalties, each scaled by this number")

    def __post_init__(self):
        _check_not_negative(self, *(f.name for f in dataclasses.fields(self) if f.name.endswith("_weight")))
        _check_not_negative(self, "adversarial_start_step", "r1_gamma")
        _check_positive(self, "r1_interval_steps")
        _check(
            0 < self.logit_laplace_margin < 0.5,
            f"losses.logit_laplace_margin must lie in (0, 0.5), not {self.logit_laplace_margin}",
        )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its learning rate over time."""

    learning_rate: float = setting(1e-4, "learning rate after the warm-up")
    warmup_steps: int = setting(50_000, "steps of the linear rise from 0")
    schedule: Literal["constant", "cosine", "exponential"] = setting("cosine", "form of the decay")
    decay_start_step: int = setting(0, "step at which the decay begins; never before the warm-up ends")
    final_learning_rate: float = setting(5e-5, "learning rate at training.total_steps")
    beta1: float = setting(0.9, "decay of the first moment")
    beta2: float = setting(0.99, "decay of the second moment")
    epsilon: float = setting(1e-8, "added to the root of the second moment")
    weight_decay: float = setting(1e-4, "decoupled weight decay")

    def __post_init__(self):
        _check_choices(self)
        _check_positive(self, "learning_rate", "final_learning_rate", "epsilon")
        _check_not_negative(self, "warmup_steps", "decay_start_step", "weight_decay")
        for name in ("beta1", "beta2"):
            _check(0 <= getattr(self, name) < 1, f"optimizer.{name} must lie in [0, 1), not {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """The training loop."""

    total_steps: int = setting(500_000, "training steps", resumable=True)
    batch_size: int = setting(256, "examples a step, over all replicas")
    seed: int = setting(0, "origin of all randomness and of the data order")
    deterministic: bool = setting(True, "run TensorFlow's deterministic kernels, for bitwise repeatable training")
    jit_compile: bool = setting(True, "compile the Transformers' forward and backward pass with XLA")
    log_every_steps: int = setting(100, "steps between two lines of metrics.jsonl", resumable=True)
    validate_every_steps: int = setting(5000, "steps between two validations; 0 = never", resumable=True)
    checkpoint_every_steps: int = setting(5000, "steps between two checkpoints", resumable=True)
    keep_checkpoints: int = setting(3, "checkpoints kept", resumable=True)

    def __post_init__(self):
        _check_positive(
            self, "total_steps", "batch_size", "log_every_steps", "checkpoint_every_steps", "keep_checkpoints"
        )
        _check_not_negative(self, "validate_every_steps")
        _check_seed(self)


@dataclasses.dataclass(frozen=True)
class TokenizerTrainConfig:
    """`vim_tf.train --task=tokenizer`: images in, a trained tokenizer out."""

    task: Literal["tokenizer"] = setting("tokenizer", "stage to train")
    workdir: str = setting("", "folder of the trained stage; training goes on from it", resumable=True)
    strategy: Literal["auto", "one", "mirrored", "tpu"] = setting(
        "auto", "devices: auto takes every GPU that TensorFlow sees, else the CPU", resumable=True
    )
    tpu: str = setting("", "name or address of the TPU for strategy tpu", resumable=True)
    data: DataConfig = setting(DataConfig(), "images")
    model: TokenizerModelConfig = setting(TokenizerModelConfig(), "ViT-VQGAN")
    losses: TokenizerLossConfig = setting(TokenizerLossConfig(), "loss terms")
    optimizer: OptimizerConfig = setting(OptimizerConfig(), "of the tokenizer and, likewise, the discriminator")
    training: TrainingConfig = setting(TrainingConfig(), "training loop")

    def __post_init__(self):
        _check_choices(self)
        _check_given(self, "workdir")
        group = self.model.discriminator.minibatch_stddev_group
        _check(
            not self.losses.adversarial_weight or self.training.batch_size % group == 0,
            f"training.batch_size {self.training.batch_size} is no multiple of "
            f"model.discriminator.minibatch_stddev_group {group}, whose groups would mix real and generated images",
        )


@dataclasses.dataclass(frozen=True)
class LanguageModelTrainConfig:
    """`vim_tf.train --task=language_model`: tokens in, a trained language model out."""

    task: Literal["language_model"] = setting("language_model", "stage to train")
    workdir: str = setting("", "folder of the trained stage; training goes on from it", resumable=True)
    tokens: str = setting("", "folder that vim_tf.encode_dataset wrote", resumable=True)
    strategy: Literal["auto", "one", "mirrored", "tpu"] = setting(
        "auto", "devices: auto takes every GPU that TensorFlow sees, else the CPU", resumable=True
    )
    tpu: str = setting("", "name or address of the TPU for strategy tpu", resumable=True)
    model: LanguageModelConfig = setting(LanguageModelConfig(), "VIM")
    optimizer: OptimizerConfig = setting(
        OptimizerConfig(
            learning_rate=4.5e-4,
            warmup_steps=5000,
            schedule="exponential",
            decay_start_step=80_000,
            final_learning_rate=1e-5,
            beta2=0.96,
        ),
        "of the language model",
    )
    training: TrainingConfig = setting(TrainingConfig(total_steps=450_000, batch_size=1024), "training loop")

    def __post_init__(self):
        _check_choices(self)
        _check_given(self, "workdir", "tokens")


# ---------------------------------------------------------------------------------------------------- other commands


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How tokens are drawn; the default is the paper's: the model's own distribution."""

    temperature: float = setting(1.0, "divides the logits")
    top_k: int = setting(0, "draw from the k likeliest tokens only; 0 = all")
    top_p: float = setting(1.0, "draw from the likeliest tokens that together reach this probability; 1 = all")
    guidance_scale: float = setting(
        1.0, "classifier-free guidance; 1 = off; other values need a model trained with label_dropout"
    )
    batch_size: int = setting(64, "samples drawn at once; the same label and seed give the same tokens for one value")

    def __post_init__(self):
        _check_positive(self, "temperature", "batch_size")
        _check_not_negative(self, "top_k", "guidance_scale")
        _check(0 < self.top_p <= 1, f"sampling.top_p must lie in (0, 1], not {self.top_p}")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What is measured, and how."""

    kind: tuple[str, ...] = setting(EVALUATION_KINDS, "what to measure, separated by commas")
    samples_per_label: int = setting(50, "samples drawn for each label (for an unconditional model: in all x 10)")
    batch_size: int = setting(64, "images a step")
    seed: int = setting(0, "seed of the first sample and of the feature network")
    feature_steps: int = setting(600, "steps that train the feature network on the real training split")

    def __post_init__(self):
        for kind in self.kind:
            _check(
                kind in EVALUATION_KINDS,
                f"--evaluation.kind={kind} is unknown; the kinds are {', '.join(EVALUATION_KINDS)}",
            )
        _check(self.kind, f"--evaluation.kind is needed; the kinds are {', '.join(EVALUATION_KINDS)}")
        _check_positive(self, "samples_per_label", "batch_size", "feature_steps")
        _check_seed(self)


@dataclasses.dataclass(frozen=True)
class EncodeConfig:
    """`vim_tf.encode_dataset`: images to token records."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    data: DataConfig = setting(DataConfig(), "images")
    split: tuple[str, ...] = setting(("train", "validation"), "splits to encode, separated by commas")
    output: str = setting("", "folder for the token records and their manifest")
    batch_size: int = setting(64, "images a step")
    num_shards: int = setting(1, "files per split")

    def __post_init__(self):
        _check_given(self, "tokenizer", "split", "output")
        _check_positive(self, "batch_size", "num_shards")
        for split in self.split:
            _check(split in SPLITS, f"--split={split} is unknown; the splits are {', '.join(SPLITS)}")


@dataclasses.dataclass(frozen=True)
class ReconstructConfig:
    """`vim_tf.reconstruct`: images beside what the tokenizer keeps of them."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    images: tuple[str, ...] = setting((), "image files, separated by commas")
    output: str = setting("", "folder for the PNG files")

    def __post_init__(self):
        _check_given(self, "tokenizer", "images", "output")


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """`vim_tf.sample`: labels to new images."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    language_model: str = setting("", "trained language model: workdir or exported model")
    labels: tuple[int, ...] = setting((), "labels to draw, separated by commas; none = every label once")
    num_per_label: int = setting(8, "images per label")
    seed: int = setting(0, "seed of the first image; each further image takes the next one")
    sampling: SamplingConfig = setting(SamplingConfig(), "how tokens are drawn")
    output: str = setting("", "folder for the PNG files, grid.png and samples.npz")

    def __post_init__(self):
        _check_given(self, "tokenizer", "language_model", "output")
        _check_positive(self, "num_per_label")
        _check_seed(self)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """`vim_tf.evaluate`: trained stages to metrics and a report."""

    evaluation: EvaluationConfig = setting(EvaluationConfig(), "what is measured")
    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    language_model: str = setting("", "trained language model, for generation: workdir or exported model")
    data: DataConfig = setting(DataConfig(), "real images")
    split: Literal["train", "validation"] = setting("validation", "split that is compared with")
    sampling: SamplingConfig = setting(SamplingConfig(), "how tokens are drawn")
    output: str = setting("", "folder for metrics.json and report.html")

    def __post_init__(self):
        _check_choices(self)
        _check_given(self, "tokenizer", "output")
        _check(
            self.language_model or "generation" not in self.evaluation.kind,
            "--language_model is needed to measure generation; --evaluation.kind=reconstruction measures the tokenizer",
        )


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """`vim_tf.export`: trained stages to one SavedModel and a TF Hub archive."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    language_model: str = setting("", "trained language model; none = the tokenizer alone")
    sampling_batch_size: int = setting(16, "samples that the served sampler draws at once")
    output: str = setting("", "folder that gets <version>/ and hub.tar.gz")

    def __post_init__(self):
        _check_given(self, "tokenizer", "output")
        _check_positive(self, "sampling_batch_size")


@dataclasses.dataclass(frozen=True)
class GateConfig:
    """What a model must reach to be pushed; a limit of 0 is off."""

    min_reconstruction_psnr: float = setting(0.0, "reconstruction/psnr, dB")
    min_codebook_usage: float = setting(0.0, "codebook/usage, in [0, 1]")
    min_label_accuracy: float = setting(0.0, "generation/label_accuracy, in [0, 1]")
    max_generation_frechet_distance: float = setting(0.0, "generation/frechet_distance")

    def __post_init__(self):
        _check_not_negative(self, *(f.name for f in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """`pipelines.local_runner`: the whole chain as one TFX pipeline."""

    name: str = setting("digits", "pipeline name, under which the metadata store keeps its runs")
    output: str = setting("", "folder for the artifacts, the metadata store and what the last run pushed")
    data: DataConfig = setting(DataConfig(), "images")
    tokenizer_flagfile: str = setting("", "flags of vim_tf.train --task=tokenizer")
    language_model_flagfile: str = setting("", "flags of vim_tf.train --task=language_model")
    evaluation: EvaluationConfig = setting(EvaluationConfig(), "what is measured")
    sampling: SamplingConfig = setting(SamplingConfig(), "how tokens are drawn for the evaluation")
    gates: GateConfig = setting(GateConfig(), "what a model must reach to be pushed")
    export_sampling_batch_size: int = setting(16, "samples that the served sampler draws at once")
    num_shards: int = setting(2, "files per split of examples and tokens")

    def __post_init__(self):
        _check_given(self, "name", "output", "tokenizer_flagfile", "language_model_flagfile")
        _check_positive(self, "export_sampling_batch_size", "num_shards")


TRAIN_CONFIGS = {"tokenizer": TokenizerTrainConfig, "language_model": LanguageModelTrainConfig}


# ------------------------------------------------------------------------------------------------- to and from JSON


def to_dict(config):
    """Nested dict of JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(config_class, values):
    """The config that `to_dict` described.

    Raises:
        InputError: a key is unknown.
    """
    fields = {field.name: field.type for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise InputError(f"{config_class.__name__} has no field {', '.join(unknown)}: written by another version?")
    arguments = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(fields[name]):
            value = from_dict(fields[name], value)
        elif typing.get_origin(fields[name]) is tuple:
            value = tuple(value)
        arguments[name] = value
    return config_class(**arguments)


def leaves(config_class, prefix=""):
    """Yields (dotted name, dataclasses.Field) of every field that holds a value, sections opened up."""
    for field in dataclasses.fields(config_class):
        if dataclasses.is_dataclass(field.type):
            yield from leaves(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field


def get(config, dotted_name):
    """Value at a dotted name."""
    for name in dotted_name.split("."):
        config = getattr(config, name)
    return config
