"""Named image sources: `digits`, `photos`, `tfds:<name>`, `folder:<path>`, `tfrecord:<glob>`, `parquet:<glob>`,
`webdataset:<glob>`.
"""

import difflib

from vim_tf.config import SPLITS, DataConfig
from vim_tf.data.sources import classes, feature_names
from vim_tf.data.sources.embedded import open_digits, open_photos
from vim_tf.data.sources.folder import open_folder
from vim_tf.data.sources.records import open_records
from vim_tf.errors import InputError

# Kinds that need no files.
_EMBEDDED_OPENERS = {"digits": open_digits, "photos": open_photos}
EMBEDDED = tuple(_EMBEDDED_OPENERS)
# Kinds of files that hold many images each.
RECORDS = ("tfrecord", "parquet", "webdataset", "tfds")
_KINDS = (*EMBEDDED, "folder", *RECORDS)


def open_source(
    name,
    split,
    height,
    width,
    validation_fraction=DataConfig.validation_fraction,
    max_unreadable_fraction=DataConfig.max_unreadable_fraction,
    shuffle_buffer=DataConfig.shuffle_buffer,
    max_pixels=DataConfig.max_pixels,
    features=feature_names.RECOGNISED,
    map_labels=DataConfig.map_labels,
    has_split_names=DataConfig.split_names,
):
    """One split of a named source, every file of it checked.

    Args:
        name: str, as in `DataConfig.source`.
        split: train or validation.
        height, width: int, pixels that every image comes out with.
        validation_fraction: share that becomes the validation split where the source has none of its own.
        max_unreadable_fraction: share of the files that may fail to decode.
        shuffle_buffer: examples held to shuffle what can only be read in order.
        max_pixels: int, most pixels of a file, as in `decode_image`.
        features: FeatureNames, which features of records are meant.
        map_labels: bool, whether only the labels that occur become classes.
        has_split_names: bool, whether folders and files called train, val or the like are splits.

    Returns:
        ImageSource.

    Raises:
        InputError: the source is unknown, missing, empty or broken.
    """
    if split not in SPLITS:
        raise InputError(f"--split={split} is unknown; the splits are {', '.join(SPLITS)}")
    kind, place = parse_name(name)
    limits = (max_pixels, validation_fraction, max_unreadable_fraction)
    if kind in RECORDS:
        options = (shuffle_buffer, features, map_labels, has_split_names)
        source = open_records(kind, place, split, height, width, *limits, *options)
    else:
        check_no_features(name, features, map_labels)
        if kind in EMBEDDED:
            return _EMBEDDED_OPENERS[kind](split, height, width)
        source = open_folder(place, split, height, width, *limits, has_split_names)
    if split == "train":
        classes.warn_of_empty(name, classes.empty_classes(source.class_names, source.labels))
    return source


def check_no_features(name, features, map_labels):
    """Refuses what names features, or changes labels, of a source that has no records.

    Args:
        name: str, of the source.
        features, map_labels: as in `open_source`.

    Raises:
        InputError: something is given.
    """
    reason = "it has no records" if name in EMBEDDED else "a folder's images have their class from its sub-folders"
    feature_names.refuse_given(name, features, ["image", "label", "key"], reason)
    if map_labels:
        raise InputError(f"--data.map_labels does nothing to --data.source={name}: {reason}")


def parse_name(name):
    """(kind, what follows the colon) of a source.

    Raises:
        InputError: the kind is unknown, or its place is missing.
    """
    kind, colon, place = name.partition(":")
    if kind not in _KINDS:
        guess = difflib.get_close_matches(kind, _KINDS, 1)
        hint = f"Did you mean {guess[0]}?" if guess else f"The kinds are {', '.join(_KINDS)}."
        raise InputError(f"--data.source={name} is unknown. {hint}")
    if kind not in EMBEDDED and not place:
        raise InputError(f"--data.source={name} lacks what follows the colon, as in folder:<path>")
    if colon and kind in EMBEDDED:
        raise InputError(f"--data.source={name}: {kind} takes nothing behind it")
    return kind, place


def build_source(config, split, height, width):
    """`open_source` with the values of a `DataConfig`, under the name that the user gave the images."""
    source = open_source(
        config.source,
        split,
        height,
        width,
        config.validation_fraction,
        config.max_unreadable_fraction,
        config.shuffle_buffer,
        config.max_pixels,
        given_features(config),
        config.map_labels,
        config.split_names,
    )
    source.name, source.location = config.name or config.source, config.source
    return source


def given_features(config):
    """FeatureNames of a `DataConfig`."""
    return feature_names.FeatureNames(config.image_feature, config.label_feature, config.key_feature)
