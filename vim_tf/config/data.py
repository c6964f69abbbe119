"""Where images come from and how training varies them."""

import dataclasses
from typing import Literal

from vim_tf.config.fields import check, check_choices, check_finite, check_fraction, check_positive, setting

SPLITS = ("train", "validation")

# 512 MiB of decoded RGB, the limit of TensorFlow's decoders and Pillow.
_MOST_PIXELS = (1 << 29) // 3


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where images come from."""

    source: str = setting(
        "digits",
        "image source: digits, photos, avatars or avatars:<number of training drawings>, fonts:<folder>, tfds:<name>, "
        "folder:<path> (a sub-folder is a class), tfrecord:<glob>, parquet:<glob> or webdataset:<glob of tars>; a "
        "{split} in a path or glob is replaced by train or validation, and {000..099} in a glob expands to a hundred "
        "names",
    )
    name: str = setting("", "name of the images in reports and metrics; empty = the source itself")
    validation_fraction: float = setting(
        0.1, "share of a source without its own splits that becomes the validation split, by a hash of the key"
    )
    max_unreadable_fraction: float = setting(0.01, "share of files that may fail to decode before the run stops")
    max_pixels: int = setting(
        # 256 MiB of decoded RGB, above which Pillow warns of a decompression bomb.
        (1 << 28) // 3,
        "maximum pixels (height x width) of an image file: one that claims more is left out without decoding, since a "
        "few bytes could fill all memory",
    )
    shuffle_buffer: int = setting(10_000, "examples held in memory to shuffle a source that can only be read in order")
    image_feature: str = setting(
        "",
        "feature, column or extension of a record file that holds the image; empty = the names that Hugging Face, "
        "TF-slim, TFDS and WebDataset use",
    )
    label_feature: str = setting(
        "", "the same for the label, an integer; empty = as for the image, none = the images have no labels"
    )
    key_feature: str = setting(
        "",
        "the same for the key, unique and stable; empty = key, else the image's position; none = always its position",
    )
    map_labels: bool = setting(
        False, "renumber the labels that occur from 0, which reads record files once more; off: 0 to the largest label"
    )
    split_names: bool = setting(
        True, "treat folders and files named train, val, test or similar as splits; off: such folders are classes"
    )

    def __post_init__(self):
        check_fraction(self, "validation_fraction", "max_unreadable_fraction")
        check_positive(self, "shuffle_buffer")
        check_max_pixels(self)


def check_max_pixels(section):
    """Checks `max_pixels`, the limit on the size of images that are decoded."""
    limit = section.max_pixels
    check(1 <= limit <= _MOST_PIXELS, f"max_pixels must be in [1, {_MOST_PIXELS}], not {limit}")


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """How training images vary from epoch to epoch; defaults to Parti's recipe for the tokenizer, after DALL-E."""

    crop: Literal["center", "random_square"] = setting(
        "random_square",
        "center: the largest centred crop, as in encoding; random_square: a random largest crop, resized by area to a "
        "random scale, then a random crop of the model's size",
    )
    min_scale: float = setting(1.125, "smallest size after the resize, as a multiple of the model's size")
    max_scale: float = setting(1.5, "largest size after the resize, as a multiple of the model's size")
    flip: bool = setting(True, "mirror left and right with probability 1/2")

    def __post_init__(self):
        check_choices(self)
        check_finite(self, "min_scale", "max_scale")
        check(self.min_scale >= 1, f"augmentation.min_scale must be at least 1, not {self.min_scale}")
        check(
            self.max_scale >= self.min_scale,
            f"augmentation.max_scale {self.max_scale} is below augmentation.min_scale {self.min_scale}",
        )
