"""The linear probe: how well a linear layer predicts an image's class from frozen features."""

import dataclasses
from typing import Literal

from vim_tf.config.data import AugmentationConfig, DataConfig
from vim_tf.config.fields import check, check_choices, check_given, check_positive, setting
from vim_tf.config.training import STRATEGIES, STRATEGY_HELP, OptimizerConfig, TrainingConfig, check_microbatches

FEATURES = ("pixels", "latents", "blocks")


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """What is probed. In the paper: one block's output, averaged over the tokens, frozen, and a softmax layer."""

    features: tuple[str, ...] = setting(
        FEATURES,
        "features that get a head, separated by commas: pixels (the image itself), latents (the tokenizer's codes) and "
        "blocks (each block of the language model; left out without --language_model)",
    )
    latents: Literal["flattened", "averaged"] = setting(
        "flattened", "codes of all positions concatenated, like the pixels, or their mean, like a block's output"
    )
    statistics_steps: int = setting(
        100,
        "training batches whose mean and standard deviation standardize each feature; the paper doesn't mention this",
    )
    min_deviation: float = setting(
        0.01, "minimum standard deviation of a feature, as a share of the largest one of its kind"
    )

    def __post_init__(self):
        check_choices(self)
        for name in self.features:
            check(name in FEATURES, f"probe.features={name} is unknown; the features are {', '.join(FEATURES)}")
        check(self.features, f"--probe.features is needed; the features are {', '.join(FEATURES)}")
        check_positive(self, "statistics_steps")
        check(0 < self.min_deviation <= 1, f"probe.min_deviation must be in (0, 1], not {self.min_deviation}")


@dataclasses.dataclass(frozen=True)
class ProbeFacts:
    """What a probe must know about the stages it probes; read from them and from the images."""

    tokenizer_checksum: str = setting("", "sha256 of the tokenizer", flag=False)
    language_model_checksum: str = setting("", "sha256 of the language model; empty = none", flag=False)
    num_classes: int = setting(0, "labels are in [0, num_classes)", flag=False)


@dataclasses.dataclass(frozen=True)
class LinearProbeTrainConfig:
    """`vim_tf.train --task=linear_probe`: trained stages and labelled images in, heads and their accuracy out.

    The paper doesn't give the optimizer, schedule, batch size, augmentation or weight decay of its probe: the defaults
    are ours.
    """

    task: Literal["linear_probe"] = setting("linear_probe", "stage to train")
    workdir: str = setting("", "folder of the trained stage; training resumes from it", resumable=True)
    tokenizer: str = setting("", "trained tokenizer: workdir or exported model", resumable=True)
    language_model: str = setting(
        "", "trained language model, workdir or exported model; empty = only pixels and latents", resumable=True
    )
    strategy: STRATEGIES = setting("auto", STRATEGY_HELP, resumable=True)
    tpu: str = setting("", "name or address of the TPU for strategy tpu", resumable=True)
    data: DataConfig = setting(DataConfig(), "labelled images")
    augmentation: AugmentationConfig = setting(AugmentationConfig(), "how training images vary")
    probe: ProbeConfig = setting(ProbeConfig(), "what is probed")
    optimizer: OptimizerConfig = setting(
        OptimizerConfig(learning_rate=1e-3, warmup_steps=500, final_learning_rate=1e-5, beta2=0.999, weight_decay=0.0),
        "optimizer of the heads, each of which is updated independently",
    )
    training: TrainingConfig = setting(TrainingConfig(total_steps=50_000), "training loop")
    facts: ProbeFacts = setting(ProbeFacts(), "facts of the stages, found by the command", flag=False)

    def __post_init__(self):
        check_choices(self)
        check_given(self, "workdir", "tokenizer")
        check(
            self.language_model or set(self.probe.features) != {"blocks"},
            "--language_model is needed to probe its blocks; --probe.features=pixels,latents does without",
        )
        check(
            not self.optimizer.clip_norm,
            "optimizer.clip_norm must be 0: the norm is over all heads together, so one head would slow the others",
        )
        check_microbatches(self)
