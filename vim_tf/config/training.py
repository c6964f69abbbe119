"""Settings for training a stage: losses, optimizer, loop, alarms."""

import dataclasses
from typing import Literal

from vim_tf.config.data import AugmentationConfig, DataConfig
from vim_tf.config.fields import (
    Switch,
    accept_boolean,
    check,
    check_choices,
    check_finite,
    check_given,
    check_not_negative,
    check_positive,
    check_seed,
    setting,
)
from vim_tf.config.models import LanguageModelConfig, TokenizerModelConfig


@dataclasses.dataclass(frozen=True)
class TokenizerLossConfig:
    """Weights of the tokenizer's loss terms; each term is a mean over its elements."""

    codebook_weight: float = setting(1.0, "weight of the codebook loss, which moves codes towards latents")
    commitment_weight: float = setting(0.25, "weight of the commitment loss, which moves latents towards codes")
    entropy_weight: float = setting(0.1, "quantizer lfq: weight of the entropy loss")
    prior_weight: float = setting(
        5e-4, "quantizer gumbel: weight of the divergence from a uniform distribution of codes"
    )
    l1_weight: float = setting(0.0, "weight of the absolute pixel error")
    l2_weight: float = setting(1.0, "weight of the squared pixel error")
    logit_laplace_weight: float = setting(0.1, "weight of the logit-Laplace likelihood")
    logit_laplace_min_log_scale: float = setting(
        -2.0, "lower limit of the predicted log scale; without one, flat regions make the likelihood unbounded"
    )
    logit_laplace_margin: float = setting(1e-4, "pixels are clipped to [margin, 1 - margin] before the logit")
    perceptual: Literal["lpips", "vgg16_features", "squeezenet"] = setting(
        "lpips",
        "perceptual distance: LPIPS, or plain feature distance with Keras Applications' VGG16 or with SqueezeNet",
    )
    perceptual_weight: float = setting(0.1, "weight of the perceptual distance")
    perceptual_weights_file: str = setting(
        "",
        "lpips, squeezenet: the file that vim_tf.import_weights --format=lpips or squeezenet wrote; vgg16_features: "
        "Keras Applications' VGG16 weights without the top (.h5), empty = Keras downloads them",
    )
    adversarial_loss: Literal["non_saturating", "hinge", "least_squares"] = setting(
        "non_saturating", "form of the adversarial loss of tokenizer and discriminator"
    )
    adversarial_weight: float = setting(0.1, "weight of the generator's adversarial loss")
    adversarial_start_step: int = setting(
        0, "step from which the tokenizer trains against the discriminator, which itself learns from the first step"
    )
    adversarial_warmup_steps: int = setting(0, "steps over which the adversarial weight rises from 0 after that")
    adaptive_weight: bool = setting(
        False,
        "multiply the adversarial weight by the ratio of reconstruction to adversarial gradient at the last layer "
        "(VQGAN)",
    )
    adaptive_weight_max: float = setting(1e4, "upper limit of that ratio")
    r1_gamma: float = setting(10.0, "weight of the R1 penalty gamma/2 E|grad D|^2 on real images; 0 = off")
    r1_interval_steps: int = setting(16, "steps between R1 penalties, each scaled by this number")
    lecam_weight: float = setting(0.0, "weight of the LeCAM penalty on the discriminator; 0 = off")
    lecam_decay: float = setting(0.999, "decay of the logits' moving averages in the LeCAM penalty")

    def __post_init__(self):
        check_choices(self)
        check_not_negative(self, *(f.name for f in dataclasses.fields(self) if f.name.endswith("_weight")))
        check_not_negative(self, "adversarial_start_step", "adversarial_warmup_steps", "r1_gamma")
        check_positive(self, "r1_interval_steps", "adaptive_weight_max")
        check_finite(self, "logit_laplace_min_log_scale")
        check(0 <= self.lecam_decay < 1, f"losses.lecam_decay must be in [0, 1), not {self.lecam_decay}")
        check(
            0 < self.logit_laplace_margin < 0.5,
            f"losses.logit_laplace_margin must be in (0, 0.5), not {self.logit_laplace_margin}",
        )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer and its learning rate over time."""

    name: Literal["adamw", "factored_adam"] = setting(
        "adamw",
        "adamw, or factored_adam, which keeps about 1 byte per weight instead of 8: a factored second and an 8-bit "
        "first moment",
    )
    learning_rate: float = setting(1e-4, "learning rate after the warm-up")
    warmup_steps: int = setting(50_000, "steps of the linear rise from 0")
    schedule: Literal["constant", "cosine", "exponential"] = setting("cosine", "shape of the decay")
    decay_start_step: int = setting(0, "step at which the decay begins; never before the warm-up ends")
    final_learning_rate: float = setting(5e-5, "learning rate at training.total_steps")
    beta1: float = setting(0.9, "decay of the first moment")
    beta2: float = setting(0.99, "decay of the second moment")
    epsilon: float = setting(
        1e-8, "adamw: added to the root of the second moment; factored_adam: its square is added to squared gradients"
    )
    weight_decay: float = setting(1e-4, "decoupled weight decay")
    clip_norm: float = setting(0.0, "maximum norm of the gradient of all weights together; 0 = no limit")

    def __post_init__(self):
        check_choices(self)
        check_positive(self, "learning_rate", "final_learning_rate", "epsilon")
        check_not_negative(self, "warmup_steps", "decay_start_step", "weight_decay", "clip_norm")
        for name in ("beta1", "beta2"):
            check(0 <= getattr(self, name) < 1, f"optimizer.{name} must be in [0, 1), not {getattr(self, name)}")
        check(
            self.name != "factored_adam" or self.epsilon >= 1e-18,
            f"optimizer.epsilon must be at least 1e-18 for factored_adam, which squares it, not {self.epsilon}",
        )


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """The training loop."""

    total_steps: int = setting(500_000, "training steps", resumable=True)
    batch_size: int = setting(256, "examples per step, over all replicas and microbatches")
    gradient_accumulation_steps: int = setting(1, "microbatches that a replica's share of the batch is split into")
    seed: int = setting(0, "seed of all randomness and of the data order")
    deterministic: bool = setting(True, "use TensorFlow's deterministic kernels, for bitwise reproducible training")
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = setting(
        "float32", "dtype of the activations; weights, distances, softmax and losses are always float32"
    )
    rematerialize: bool = setting(False, "recompute the blocks' activations in the backward pass, to save memory")
    jit_compile: Switch = setting(
        "auto",
        "compile the Transformers' forward and backward pass, and the update, with XLA, which rounds differently; auto "
        "decides by the device and training.precision at the first step, and a resume keeps that choice",
    )
    steps_per_execution: int = setting(
        1,
        "steps per call of the compiled training function, which saves fast accelerators the round trip to Python; "
        "total_steps and the steps between logs, validations and checkpoints must be multiples of it",
        resumable=True,
    )
    keep_freed_memory: bool = setting(
        True, "keep the memory that a step frees for the next one, which is faster on CPUs", resumable=True
    )
    ema_decay: float = setting(
        0.0, "decay of the weights' moving average, which evaluation and export use; 0 = use the weights themselves"
    )
    log_every_steps: int = setting(100, "steps between lines of metrics.jsonl", resumable=True)
    validate_every_steps: int = setting(5000, "steps between validations; 0 = never", resumable=True)
    checkpoint_every_steps: int = setting(5000, "steps between checkpoints", resumable=True)
    keep_checkpoints: int = setting(3, "number of recent checkpoints to keep", resumable=True)
    keep_best_metric: str = setting(
        "", "validation metric, such as reconstruction/psnr, by which the best checkpoint is also kept", resumable=True
    )

    def __post_init__(self):
        accept_boolean(self, "jit_compile")
        check_choices(self)
        check_positive(
            self,
            "total_steps",
            "batch_size",
            "gradient_accumulation_steps",
            "steps_per_execution",
            "log_every_steps",
            "checkpoint_every_steps",
            "keep_checkpoints",
        )
        check_not_negative(self, "validate_every_steps")
        for name in ("total_steps", "log_every_steps", "validate_every_steps", "checkpoint_every_steps"):
            check(
                getattr(self, name) % self.steps_per_execution == 0,
                f"training.{name} {getattr(self, name)} isn't a multiple of training.steps_per_execution "
                f"{self.steps_per_execution}: nothing can happen between the steps of an execution",
            )
        check(0 <= self.ema_decay < 1, f"training.ema_decay must be in [0, 1), not {self.ema_decay}")
        check(
            not self.keep_best_metric or self.validate_every_steps,
            "training.keep_best_metric needs training.validate_every_steps above 0; --training.keep_best_metric= keeps "
            "only the last model",
        )
        check_seed(self)


@dataclasses.dataclass(frozen=True)
class AlarmConfig:
    """When a running training is reported as going wrong; a limit of 0 is off."""

    codebook_window_steps: int = setting(
        100, "steps over which codebook usage and perplexity are measured", resumable=True
    )
    min_codebook_usage: float = setting(
        0.05, "minimum share of the codes that are used in that window, in [0, 1]", resumable=True
    )
    min_discriminator_loss: float = setting(
        0.05, "discriminator loss below which it has won, so that the tokenizer learns nothing from it", resumable=True
    )
    discriminator_steps: int = setting(
        1000, "steps in a row that the discriminator loss must be that low", resumable=True
    )

    def __post_init__(self):
        check_positive(self, "codebook_window_steps", "discriminator_steps")
        check_not_negative(self, "min_discriminator_loss")
        check(
            0 <= self.min_codebook_usage <= 1,
            f"alarms.min_codebook_usage must be in [0, 1], not {self.min_codebook_usage}",
        )


@dataclasses.dataclass(frozen=True)
class LanguageModelAlarmConfig:
    """When the running training of a language model is reported as going wrong; a limit of 0 is off."""

    max_generalization_gap: float = setting(
        0.5,
        "bits per token by which validation may be worse than training before it counts as overfitting",
        resumable=True,
    )

    def __post_init__(self):
        check_not_negative(self, "max_generalization_gap")


@dataclasses.dataclass(frozen=True)
class LanguageModelValidationConfig:
    """What a validation of the language model shows besides its metrics."""

    samples_per_label: int = setting(
        2,
        "samples of each label, at most ten labels, shown in TensorBoard; needs --tokenizer; 0 = none",
        resumable=True,
    )

    def __post_init__(self):
        check_not_negative(self, "samples_per_label")


STRATEGIES = Literal["auto", "one", "mirrored", "multi_worker", "tpu"]
STRATEGY_HELP = (
    "devices: auto uses every GPU that TensorFlow sees, else the CPU; multi_worker reads the cluster from TF_CONFIG"
)


@dataclasses.dataclass(frozen=True)
class TokenizerTrainConfig:
    """`vim_tf.train --task=tokenizer`: images in, a trained tokenizer out."""

    task: Literal["tokenizer"] = setting("tokenizer", "stage to train")
    workdir: str = setting("", "folder of the trained stage; training resumes from it", resumable=True)
    initialize_from: str = setting(
        "", "trained tokenizer, workdir or exported model, whose weights a new training starts from", resumable=True
    )
    strategy: STRATEGIES = setting("auto", STRATEGY_HELP, resumable=True)
    tpu: str = setting("", "name or address of the TPU for strategy tpu", resumable=True)
    data: DataConfig = setting(DataConfig(), "images")
    augmentation: AugmentationConfig = setting(AugmentationConfig(), "how training images vary")
    model: TokenizerModelConfig = setting(TokenizerModelConfig(), "ViT-VQGAN")
    losses: TokenizerLossConfig = setting(TokenizerLossConfig(), "loss terms")
    optimizer: OptimizerConfig = setting(
        OptimizerConfig(), "optimizer of the tokenizer and, with the same settings, of the discriminator"
    )
    training: TrainingConfig = setting(TrainingConfig(), "training loop")
    alarms: AlarmConfig = setting(AlarmConfig(), "when a training is reported as going wrong")

    def __post_init__(self):
        check_choices(self)
        check_given(self, "workdir")
        check(
            self.model.pixels == "logit_laplace" or not self.losses.logit_laplace_weight,
            "losses.logit_laplace_weight must be 0 with model.pixels=rgb, which has no distribution of pixels",
        )
        check_microbatches(self)
        group = self.model.discriminator.minibatch_stddev_group
        is_grouped = self.losses.adversarial_weight and self.model.discriminator.kind == "stylegan2"
        size, parts = self.training.batch_size, self.training.gradient_accumulation_steps
        check(
            not is_grouped or size // parts % group == 0,
            f"training.batch_size {size}{f' in {parts} microbatches' if parts > 1 else ''} isn't a multiple of "
            f"model.discriminator.minibatch_stddev_group {group}, whose groups would mix real and generated images",
        )


@dataclasses.dataclass(frozen=True)
class LanguageModelTrainConfig:
    """`vim_tf.train --task=language_model`: tokens in, a trained language model out."""

    task: Literal["language_model"] = setting("language_model", "stage to train")
    workdir: str = setting("", "folder of the trained stage; training resumes from it", resumable=True)
    initialize_from: str = setting(
        "",
        "trained language model, workdir or exported model, whose weights a new training starts from",
        resumable=True,
    )
    tokens: str = setting("", "folder that vim_tf.encode_dataset wrote", resumable=True)
    tokenizer: str = setting(
        "",
        "trained tokenizer: workdir or exported model; without --tokens it encodes the images of data.source in the "
        "training step, and it decodes the samples that validations show",
        resumable=True,
    )
    strategy: STRATEGIES = setting("auto", STRATEGY_HELP, resumable=True)
    tpu: str = setting("", "name or address of the TPU for strategy tpu", resumable=True)
    data: DataConfig = setting(DataConfig(source=""), "images to encode in the training step, instead of --tokens")
    augmentation: AugmentationConfig = setting(AugmentationConfig(), "how these images vary")
    model: LanguageModelConfig = setting(LanguageModelConfig(), "VIM")
    optimizer: OptimizerConfig = setting(
        OptimizerConfig(
            name="factored_adam",
            learning_rate=4.5e-4,
            warmup_steps=5000,
            schedule="exponential",
            decay_start_step=80_000,
            final_learning_rate=1e-5,
            beta2=0.96,
        ),
        "optimizer of the language model",
    )
    training: TrainingConfig = setting(
        TrainingConfig(
            total_steps=450_000, batch_size=1024, keep_best_metric="language_model/validation_bits_per_token"
        ),
        "training loop",
    )
    validation: LanguageModelValidationConfig = setting(LanguageModelValidationConfig(), "what validations show")
    alarms: LanguageModelAlarmConfig = setting(LanguageModelAlarmConfig(), "when a training is reported as going wrong")

    def __post_init__(self):
        check_choices(self)
        check_given(self, "workdir")
        check(
            self.tokens or self.tokenizer,
            "--tokens is needed, the folder that vim_tf.encode_dataset wrote; or --tokenizer and --data.source, to "
            "encode images during training",
        )
        check(
            not (self.tokens and self.data.source),
            f"--tokens={self.tokens} and --data.source={self.data.source} are both inputs; leave one of them out",
        )
        check(
            self.tokens or self.data.source,
            f"--data.source is needed with --tokenizer={self.tokenizer}: the images that it encodes; or give --tokens",
        )
        check_microbatches(self)


def check_microbatches(config):
    """Refuses a batch that can't be split into the microbatches of a train config."""
    training = config.training
    check(
        training.batch_size % training.gradient_accumulation_steps == 0,
        f"training.batch_size {training.batch_size} can't be divided into training.gradient_accumulation_steps "
        f"{training.gradient_accumulation_steps}",
    )
