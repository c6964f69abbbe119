"""Named image sources: `digits`, `photos`, `tfds:<name>`, `folder:<path>`, `tfrecord:<glob>`, `parquet:<glob>`,
`webdataset:<glob>`.
"""

import difflib

from vim_tf.config import SPLITS, DataConfig
from vim_tf.data import embedded_sources, folder_source, record_sources
from vim_tf.errors import InputError

# Kinds that need no files.
EMBEDDED = ("digits", "photos")

_OPENERS = {
    "digits": embedded_sources.open_digits,
    "photos": embedded_sources.open_photos,
    "folder": folder_source.open_folder,
    "tfrecord": record_sources.open_tfrecord,
    "parquet": record_sources.open_parquet,
    "webdataset": record_sources.open_webdataset,
    "tfds": record_sources.open_tfds,
}


def open_source(
    name,
    split,
    height,
    width,
    validation_fraction=DataConfig.validation_fraction,
    max_unreadable_fraction=DataConfig.max_unreadable_fraction,
    shuffle_buffer=DataConfig.shuffle_buffer,
    max_pixels=DataConfig.max_pixels,
):
    """One split of a named source, every file of it checked.

    Args:
        name: str, as in `DataConfig.source`.
        split: train or validation.
        height, width: int, pixels that every image comes out with.
        validation_fraction: share that becomes the validation split where the source has none of its own.
        max_unreadable_fraction: share of the files that may fail to decode.
        shuffle_buffer: examples held to shuffle what can only be read in order.
        max_pixels: int, most pixels of a file, as in `preprocessing.decode_image`.

    Returns:
        ImageSource.

    Raises:
        InputError: the source is unknown, missing, empty or broken.
    """
    if split not in SPLITS:
        raise InputError(f"--split={split} is unknown; the splits are {', '.join(SPLITS)}")
    kind, place = parse_name(name)
    if kind in EMBEDDED:
        return _OPENERS[kind](split, height, width)
    return _OPENERS[kind](
        place, split, height, width, max_pixels, validation_fraction, max_unreadable_fraction, shuffle_buffer
    )


def parse_name(name):
    """(kind, what follows the colon) of a source.

    Raises:
        InputError: the kind is unknown, or its place is missing.
    """
    kind, colon, place = name.partition(":")
    if kind not in _OPENERS:
        guess = difflib.get_close_matches(kind, _OPENERS, 1)
        hint = f"Did you mean {guess[0]}?" if guess else f"The kinds are {', '.join(_OPENERS)}."
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
    )
    source.name, source.location = config.name or config.source, config.source
    return source
