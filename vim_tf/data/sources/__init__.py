"""Named image sources: `digits`, `photos`, `avatars`, `fonts:<folder>`, `tfds:<name>`, `folder:<path>`,
`tfrecord:<glob>`, `parquet:<glob>`, `webdataset:<glob>`.
"""

import dataclasses
import difflib

from vim_tf.config import SPLITS
from vim_tf.data.sources import avatars, classes, embedded, feature_names, folder, fonts, records
from vim_tf.data.sources.base import SourceOptions
from vim_tf.errors import InputError

KINDS = {
    kind.name: kind
    for kind in (
        embedded.DIGITS,
        embedded.PHOTOS,
        avatars.AVATARS,
        fonts.FONTS,
        folder.FOLDER,
        records.TFRECORD,
        records.PARQUET,
        records.WEBDATASET,
        records.TFDS,
    )
}


def open_source(name, split, height, width, **options):
    """Opens one split of a named source and checks every file of it.

    Args:
        name: str, as in `DataConfig.source`.
        split: train or validation.
        height, width: int, pixels that every image comes out with.
        **options: fields of SourceOptions.

    Returns:
        ImageSource.

    Raises:
        InputError: the source is unknown, missing, empty or broken.
    """
    if split not in SPLITS:
        raise InputError(f"--split={split} is unknown; the splits are {', '.join(SPLITS)}")
    kind, place = parse_name(name)
    options = SourceOptions(**options)
    kind.check_options(place, options)
    source = kind.open(place, split, height, width, options)
    source.opened_by(kind, place)
    if split == "train":
        classes.warn_of_empty(name, classes.empty_classes(source.class_names, source.labels))
    return source


def build_source(config, split, height, width):
    """`open_source` with the values of a `DataConfig`; the source gets the user's name for the images."""
    source = open_source(config.source, split, height, width, **_options(config))
    source.name, source.location = config.name or config.source, config.source
    return source


def plan_shards(config, splits, height, width, num_shards):
    """Divides a source into shards with `SourceKind.plan` and the values of a `DataConfig`.

    Returns:
        shards.Plan, under the name that the user gave the images.

    Raises:
        InputError: the source is unknown, missing or empty.
    """
    kind, place = parse_name(config.source)
    options = SourceOptions(**_options(config))
    kind.check_options(place, options)
    plan = kind.plan(place, splits, height, width, num_shards, options)
    return dataclasses.replace(plan, source=config.name or config.source, attributions=kind.attributions(place))


def source_fingerprint(name, splits):
    """Fingerprint that changes when the files of an image source change.

    Args:
        name: image source, as in `data.source`.
        splits: split names; each replaces `{split}` in the name.

    Returns:
        str, hexadecimal. Sources without files change with the code only.
    """
    kind, place = parse_name(name)
    return kind.fingerprint(place, splits)


def parse_name(name):
    """(SourceKind, what follows the colon) of a source.

    Raises:
        InputError: the kind is unknown, or its path is missing.
    """
    prefix, colon, place = name.partition(":")
    if prefix not in KINDS:
        guess = difflib.get_close_matches(prefix, KINDS, 1)
        hint = f"Did you mean {guess[0]}?" if guess else f"The kinds are {', '.join(KINDS)}."
        raise InputError(f"--data.source={name} is unknown. {hint}")
    kind = KINDS[prefix]
    if kind.place == "required" and not place:
        raise InputError(f"--data.source={name} lacks what follows the colon, as in folder:<path>")
    if kind.place == "none" and colon:
        raise InputError(f"--data.source={name}: {prefix} takes nothing after it")
    return kind, place


def _options(config):
    """The fields of SourceOptions that a `DataConfig` gives: dict."""
    return {
        "validation_fraction": config.validation_fraction,
        "max_unreadable_fraction": config.max_unreadable_fraction,
        "shuffle_buffer": config.shuffle_buffer,
        "max_pixels": config.max_pixels,
        "features": feature_names.FeatureNames(config.image_feature, config.label_feature, config.key_feature),
        "map_labels": config.map_labels,
        "has_split_names": config.split_names,
    }
