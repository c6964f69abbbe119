"""What the commands beside training take."""

import dataclasses
from typing import Literal

from vim_tf.config.data import SPLITS, DataConfig
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
class SamplingConfig:
    """How tokens are drawn; the default is the paper's: the model's own distribution."""

    temperature: float = setting(1.0, "divides the logits")
    top_k: int = setting(0, "draw from the k likeliest tokens only; 0 = all")
    top_p: float = setting(1.0, "draw from the likeliest tokens that together reach this probability; 1 = all")
    guidance_scale: float = setting(
        1.0, "classifier-free guidance; 1 = off; other values need a model trained with label_dropout"
    )
    guidance_schedule: Literal["constant", "linear", "cosine"] = setting(
        "constant", "guidance_scale at every token, or grown to from 1 at the first one"
    )
    batch_size: int = setting(64, "samples drawn at once; the same label and seed give the same tokens for one value")
    jit_compile: bool = setting(
        True, "compile the token loop with XLA: faster, after some seconds; it may round differently"
    )
    classifier: str = setting(
        "", "classifier for rejection: a .keras file or SavedModel of images in [0, 1] to logits or probabilities"
    )
    rejection_keep: int = setting(1, "samples of a label that are kept, the best by the classifier, ...")
    rejection_candidates: int = setting(1, "... of so many that are drawn; both 1 = no rejection")

    def __post_init__(self):
        check_choices(self)
        check_positive(self, "temperature", "batch_size", "rejection_keep")
        check(
            self.rejection_candidates >= self.rejection_keep,
            f"sampling.rejection_keep {self.rejection_keep} can't be more than sampling.rejection_candidates "
            f"{self.rejection_candidates}",
        )
        check(
            bool(self.classifier) == (self.rejection_candidates > self.rejection_keep),
            "rejection needs both sampling.classifier and sampling.rejection_candidates above sampling.rejection_keep",
        )
        check_not_negative(self, "top_k", "guidance_scale")
        check(0 < self.top_p <= 1, f"sampling.top_p must lie in (0, 1], not {self.top_p}")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What is measured, and how."""

    kind: tuple[str, ...] = setting(
        ("real", "reconstruction", "generation"),
        "what to measure, separated by commas; real: what the real images themselves score",
    )
    samples_per_label: int = setting(50, "samples drawn for each label (for an unconditional model: in all x 10)")
    batch_size: int = setting(64, "images a step")
    seed: int = setting(0, "seed of the first sample, of the small classifier and of the features that are kept")
    feature_network: Literal["classifier", "inception", "saved_model", "keras_inception"] = setting(
        "classifier",
        "network that judges images. classifier: a small one, trained on the real training split; inception: TF-GAN's "
        "Inception graph, for FID; saved_model: any with its outputs pool_3 and logits; keras_inception: Keras "
        "Applications' InceptionV3",
    )
    feature_network_path: str = setting(
        "",
        "classifier: folder feature_network of an earlier evaluation, empty = one is trained; inception, saved_model: "
        "folder of a SavedModel, or TF Hub handle; keras_inception: file of weights; empty = the published one is "
        "downloaded",
    )
    feature_steps: int = setting(600, "classifier: steps of its training")
    kept_features: int = setting(
        10_000, "images of each set whose features are kept, for kernel distance, precision and recall"
    )
    nearest_images: int = setting(10_000, "training images that are searched for the nearest ones of samples; 0 = none")
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
        check_seed(self)


@dataclasses.dataclass(frozen=True)
class EncodeConfig:
    """`vim_tf.encode_dataset`: images to token records."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    data: DataConfig = setting(DataConfig(), "images")
    split: tuple[str, ...] = setting(("train", "validation"), "splits to encode, separated by commas")
    output: str = setting("", "folder for the token records and their manifest")
    views: Literal["center", "flips", "ten_crop"] = setting(
        "center",
        "views kept of each image, which training takes turns with: center: the image alone; flips: it and its mirror "
        "image; ten_crop: centre and corners of the picture at view_scale, and their mirror images",
    )
    view_scale: float = setting(
        1.125, "ten_crop: shorter side of the picture that crops are taken from, as a multiple of the model's size"
    )
    batch_size: int = setting(64, "images, or views of them, a step")
    num_shards: int = setting(1, "files per split")

    def __post_init__(self):
        check_choices(self)
        check_given(self, "tokenizer", "split", "output")
        check(self.view_scale >= 1, f"--view_scale must be at least 1, not {self.view_scale:g}")
        check_positive(self, "batch_size", "num_shards")
        for split in self.split:
            check(split in SPLITS, f"--split={split} is unknown; the splits are {', '.join(SPLITS)}")


@dataclasses.dataclass(frozen=True)
class MaterializeConfig(EncodeConfig):
    """`vim_tf.materialize`: images to token records with Beam."""

    beam_args: tuple[str, ...] = setting(
        (),
        "flags of Beam, separated by commas, as in --runner=DirectRunner,--direct_running_mode=multi_processing,"
        "--direct_num_workers=4; none = this process; docs/beam_runners.md has those of other runners",
    )


@dataclasses.dataclass(frozen=True)
class ReconstructConfig:
    """`vim_tf.reconstruct`: images beside what the tokenizer keeps of them."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    images: tuple[str, ...] = setting((), "image files, separated by commas")
    output: str = setting("", "folder for the PNG files")

    def __post_init__(self):
        check_given(self, "tokenizer", "images", "output")


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
    num_shards: int = setting(
        0, "large request: so many .npz files, of which a second call writes those that are missing; 0 = small request"
    )
    num_processes: int = setting(1, "large request: processes that share the files, each called with its --process")
    process: int = setting(0, "large request: number of this process, from 0")

    def __post_init__(self):
        check_given(self, "tokenizer", "language_model", "output")
        check_positive(self, "num_per_label", "num_processes")
        check_not_negative(self, "num_shards")
        check_seed(self)
        check(
            0 <= self.process < self.num_processes,
            f"--process={self.process} is none of {self.num_processes} processes, which are numbered from 0",
        )
        check(self.num_shards or self.num_processes == 1, "--num_processes needs --num_shards, the files to share")


@dataclasses.dataclass(frozen=True)
class CompleteConfig:
    """`vim_tf.complete`: the upper part of images to whole ones, or to larger canvases."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    language_model: str = setting("", "trained language model: workdir or exported model")
    images: tuple[str, ...] = setting((), "image files, separated by commas")
    keep_rows: int = setting(-1, "rows of tokens that are kept of each image; -1 = half of them; 0 = none")
    labels: tuple[int, ...] = setting((), "label of each image, or one for all; an unconditional model takes none")
    num_variants: int = setting(4, "completions of each image")
    height: int = setting(0, "height of the canvas in pixels, at whose top left the image lies; 0 = the model's")
    width: int = setting(0, "width of the canvas in pixels; 0 = the model's")
    seed: int = setting(0, "seed of the first completion; each further one takes the next one")
    sampling: SamplingConfig = setting(SamplingConfig(), "how tokens are drawn")
    output: str = setting("", "folder for the PNG files and grid.png")

    def __post_init__(self):
        check_given(self, "tokenizer", "language_model", "images", "output")
        check_positive(self, "num_variants")
        check_not_negative(self, "height", "width")
        check(self.keep_rows >= -1, f"--keep_rows must be -1 or more, not {self.keep_rows}")
        check(
            len(self.labels) in (0, 1, len(self.images)),
            f"{len(self.labels)} --labels can't be given to {len(self.images)} --images; give one for each, or one",
        )
        check(not self.sampling.classifier, "--sampling.classifier goes with vim_tf.sample and vim_tf.evaluate alone")
        check_seed(self)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """`vim_tf.evaluate`: trained stages to metrics and a report."""

    evaluation: EvaluationConfig = setting(EvaluationConfig(), "what is measured")
    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    language_model: str = setting("", "trained language model, for generation: workdir or exported model")
    data: DataConfig = setting(DataConfig(), "real images")
    split: Literal["train", "validation"] = setting("validation", "split that is compared with")
    reference: str = setting(
        "",
        "generation: .npz file to compare samples with instead of the split: images arr_0, or moments mu and sigma of "
        "the same feature network",
    )
    reference_folder: str = setting(
        "", "folder that keeps the statistics of real images for later evaluations; empty = <output>/reference"
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
            "--reference is what samples are compared with: it goes with --evaluation.kind=generation",
        )
        check(
            self.split == "validation" or "linear_probe" not in self.evaluation.kind,
            "--evaluation.kind=linear_probe needs --split=validation: its heads are trained on the other split",
        )


@dataclasses.dataclass(frozen=True)
class MeasureReferenceConfig:
    """`vim_tf.measure_reference`: real images to the statistics that samples are compared with, with Beam."""

    evaluation: EvaluationConfig = setting(
        EvaluationConfig(), "the feature network and what is kept; the classifier needs feature_network_path"
    )
    data: DataConfig = setting(DataConfig(), "images")
    split: Literal["train", "validation"] = setting("validation", "split that is measured")
    height: int = setting(256, "height in pixels that images are fitted to, as a tokenizer would")
    width: int = setting(256, "width in pixels")
    num_shards: int = setting(1, "parts that workers measure independently of each other")
    beam_args: tuple[str, ...] = setting((), "flags of Beam, as in vim_tf.materialize; none = this process")
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


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """`vim_tf.export`: trained stages to one SavedModel and a TF Hub archive."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    language_model: str = setting("", "trained language model; none = the tokenizer alone")
    sampling_batch_size: int = setting(16, "samples that the served sampler draws at once")
    output: str = setting("", "folder that gets <version>/ and hub.tar.gz")

    def __post_init__(self):
        check_given(self, "tokenizer", "output")
        check_positive(self, "sampling_batch_size")


@dataclasses.dataclass(frozen=True)
class ImportWeightsConfig:
    """`vim_tf.import_weights`: weights of other projects to ours."""

    format: Literal["enhancing_transformers", "taming_transformers", "lpips"] = setting(
        "enhancing_transformers", "project that wrote the checkpoint; lpips: torchvision's VGG16 with LPIPS' heads"
    )
    checkpoint: str = setting("", "PyTorch file; it is read without running any code in it")
    heads: str = setting("", "lpips: PyTorch file of the linear heads for VGG16, version 0.1 (0.0 looks the same)")
    height: int = setting(256, "taming_transformers: image height in pixels, which the checkpoint doesn't say")
    width: int = setting(256, "taming_transformers: image width in pixels, which the checkpoint doesn't say")
    output: str = setting("", "workdir of the tokenizer, or with lpips the .npz file, to write")

    def __post_init__(self):
        check_choices(self)
        check_given(self, "checkpoint", "output")
        check_positive(self, "height", "width")
        check(self.format != "lpips" or self.heads, "--heads is needed: the linear heads of LPIPS for VGG16")
        check(self.format == "lpips" or not self.heads, "--heads goes with --format=lpips alone")


@dataclasses.dataclass(frozen=True)
class GateConfig:
    """What a model must reach to be pushed, and how much worse than the last blessed one it may be; 0 = off."""

    min_reconstruction_psnr: float = setting(0.0, "reconstruction/psnr, dB")
    min_codebook_usage: float = setting(0.0, "codebook/usage, in [0, 1]")
    min_label_accuracy: float = setting(0.0, "generation/label_accuracy, in [0, 1]")
    min_linear_probe_top1: float = setting(0.0, "linear_probe/top1, in [0, 1]")
    max_generation_frechet_distance: float = setting(0.0, "generation/frechet_distance")
    max_generation_fid: float = setting(0.0, "generation/fid")
    max_reconstruction_psnr_loss: float = setting(0.0, "dB below the last blessed model's reconstruction/psnr")
    max_label_accuracy_loss: float = setting(0.0, "below the last blessed model's generation/label_accuracy")
    max_generation_frechet_distance_rise: float = setting(
        0.0, "above the last blessed model's generation/frechet_distance, as a share of it"
    )
    max_generation_fid_rise: float = setting(0.0, "above the last blessed model's generation/fid, as a share of it")

    def __post_init__(self):
        check_not_negative(self, *(f.name for f in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """`pipelines.local_runner`: the whole chain as one TFX pipeline."""

    name: str = setting("digits", "pipeline name, under which the metadata store keeps its runs")
    output: str = setting("", "folder for the artifacts, the metadata store and what the last run pushed")
    data: DataConfig = setting(DataConfig(), "images")
    tokenizer_flagfile: str = setting("", "flags of vim_tf.train --task=tokenizer")
    language_model_flagfile: str = setting("", "flags of vim_tf.train --task=language_model")
    evaluation: EvaluationConfig = setting(EvaluationConfig(), "what is measured")
    linear_probe_flagfile: str = setting(
        "",
        "flags of vim_tf.train --task=linear_probe, for evaluation.kind linear_probe and probe_classes; empty = the "
        "defaults",
    )
    probe_classes: bool = setting(
        False,
        "train a linear probe of the language model and measure its accuracy for each class with TensorFlow Model "
        "Analysis",
    )
    sampling: SamplingConfig = setting(SamplingConfig(), "how tokens are drawn for the evaluation")
    gates: GateConfig = setting(GateConfig(), "what a model must reach to be pushed")
    export_sampling_batch_size: int = setting(16, "samples that the served sampler draws at once")
    num_shards: int = setting(2, "files per split of examples and tokens")
    span: int = setting(-1, "span that is read where the source's place has {SPAN}; -1 = the latest")
    version: int = setting(-1, "version of the span that is read where the source's place has {VERSION}; -1 = latest")
    min_image_side: int = setting(8, "smallest height and width in pixels of an image that may be trained on")
    max_duplicates: int = setting(0, "validation images that may be in the training split too before the run stops")
    views: Literal["center", "flips", "ten_crop"] = setting(
        "center", "views kept of each image for the language model, as in vim_tf.encode_dataset"
    )
    view_scale: float = setting(1.125, "ten_crop: as in vim_tf.encode_dataset")
    tokenizer_overrides: tuple[str, ...] = setting(
        (), "flags for the tokenizer's training over its flagfile, as name=value, separated by commas"
    )
    language_model_overrides: tuple[str, ...] = setting(
        (), "flags for the language model's training over its flagfile, as name=value, separated by commas"
    )
    strategy: Literal["auto", "one", "mirrored", "multi_worker", "tpu"] = setting(
        "auto", "devices of both trainings, as in vim_tf.train; auto = what their flagfiles say"
    )
    tpu: str = setting("", "name or address of the TPU for strategy tpu; empty = what the flagfiles say")
    warm_start: bool = setting(
        False, "start the tokenizer's training from the last blessed tokenizer, where another training made it"
    )
    licence: str = setting("", "licence of the pushed model, for its model card")
    from_node: str = setting("", "run again from this component on, with the earlier ones' outputs; empty = the first")
    to_node: str = setting("", "end after this component; empty = the last")
    keep_runs: int = setting(0, "runs whose artifacts are kept, besides what the last pushed model is made of; 0 = all")

    def __post_init__(self):
        check_choices(self)
        check_given(self, "name", "output", "tokenizer_flagfile", "language_model_flagfile")
        check_positive(self, "export_sampling_batch_size", "num_shards", "min_image_side")
        check_not_negative(self, "max_duplicates")
        check(self.view_scale >= 1, f"--view_scale must be at least 1, not {self.view_scale:g}")
        check(self.span >= -1, f"--span must be -1 or more, not {self.span}")
        check(self.version >= -1, f"--version must be -1 or more, not {self.version}")
        check_not_negative(self, "keep_runs")
        for override in (*self.tokenizer_overrides, *self.language_model_overrides):
            check("=" in override, f"{override!r} is no override: it must look like training.total_steps=1000")
