"""Image source `folder:<path>`: a sub-folder is a class; a folder without sub-folders is unlabelled."""

import dataclasses
import weakref

import numpy as np
import tensorflow as tf
from absl import logging

from vim_tf.config import SPLITS
from vim_tf.data import ingestion, order
from vim_tf.data.files import read_file, walk
from vim_tf.data.image_source import IndexedSource, MemorySource
from vim_tf.errors import InputError

_VALIDATION_NAMES = ("validation", "valid", "val")
# Files that commonly lie beside images. Others that can't be read count as unreadable images.
_SIDE_FILES = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".md", ".html", ".yaml", ".yml", ".db", ".ini")

# Both splits of a folder come out of one examination while a source that holds it lives.
_examined = weakref.WeakValueDictionary()


@dataclasses.dataclass(frozen=True)
class Listing:
    """Files of a folder.

    Attributes:
        paths: list of str, sorted.
        keys: list of str, paths relative to the folder.
        classes: list of str, the class of each file; "" = none.
    """

    paths: list[str]
    keys: list[str]
    classes: list[str]


def open_folder(place, split, height, width, max_pixels, validation_fraction, max_unreadable_fraction, shuffle_buffer):
    """Images of a folder and its sub-folders.

    The splits are the folders that a {split} in the path names, else the folders `train` and `validation` (or `valid`,
    `val`) inside, else a division by a hash of the relative path.

    Raises:
        InputError: a folder is missing or empty, or too many files can't be read.
    """
    del shuffle_buffer  # files can be read in any order
    name = f"folder:{place}"
    listing, class_names, is_shared = list_files(name, place, split)
    examined = _examine(name, listing, height, width, max_pixels)
    ingestion.check_unreadable(name, examined.unreadable, len(listing.paths), max_unreadable_fraction)
    chosen = np.flatnonzero(examined.readable)
    if is_shared:
        chosen = chosen[choose_split(name, [listing.keys[index] for index in chosen], split, validation_fraction)]
    classes = {name: label for label, name in enumerate(class_names)}
    facts = {
        "name": name,
        "split": split,
        "class_names": class_names,
        "labels": [classes.get(listing.classes[index], -1) for index in chosen],
        "keys": [listing.keys[index].encode() for index in chosen],
        "fetch_original": _reader(examined, listing, chosen, ingestion.original_decoder(max_pixels), max_pixels),
        "examined": examined,
    }
    if examined.images is not None:
        return MemorySource(**facts, images=examined.images, rows=examined.rows(chosen))
    fitted = _reader(examined, listing, chosen, ingestion.compiled_decoder(height, width, max_pixels), max_pixels)
    return IndexedSource(**facts, fetch=fitted)


def list_files(name, place, split):
    """What a folder holds of a split, and how the splits of the folder are laid out.

    Args:
        name: str, of the source, for messages.
        place: str, as in `open_folder`.
        split: str.

    Returns:
        (Listing, class names over all splits, whether the listing is of all splits, which are to be divided).

    Raises:
        InputError: a folder is missing or empty.
    """
    folders = _split_folders(place)
    listings = {key: _list_images(folder) for key, folder in folders.items() if tf.io.gfile.isdir(folder)}
    wanted = split if split in folders else "all"
    if wanted not in listings:
        raise InputError(f"--data.source={name}: there is no folder {folders[wanted]}")
    if not listings[wanted].paths:
        raise InputError(f"--data.source={name}: there is no image in {folders[wanted]}")
    class_names = sorted({name for each in listings.values() for name in each.classes} - {""})
    return listings[wanted], class_names, wanted == "all"


def choose_split(name, keys, split, validation_fraction):
    """Bool array: which of the files (keys: list of str) belong to a split.

    Raises:
        InputError: none does.
    """
    chosen = order.is_validation([key.encode() for key in keys], validation_fraction) == (split == "validation")
    if not chosen.any():
        raise InputError(
            f"--data.source={name}: the {split} split is empty, as {len(keys)} images were divided with "
            f"--data.validation_fraction={validation_fraction:g}"
        )
    return chosen


def _split_folders(place):
    """Folder of each split, or {"all": folder} where the splits share one."""
    if "{split}" in place:
        return {split: place.replace("{split}", split) for split in SPLITS}
    place = place.rstrip("/") or "/"
    if not tf.io.gfile.isdir(place):
        return {"all": place}
    _, folders, _ = next(walk(place))
    inside = {folder.rstrip("/") for folder in folders if not folder.startswith(".")}
    validation = [child for child in _VALIDATION_NAMES if child in inside]
    if "train" in inside and validation:
        return {"train": f"{place}/train", "validation": f"{place}/{validation[0]}"}
    if "train" in inside and inside <= {"train", "test"}:
        raise InputError(
            f"--data.source=folder:{place} holds {' and '.join(sorted(inside))} but no validation folder; add one, "
            f"or take folder:{place}/train to split that"
        )
    return {"all": place}


def _list_images(folder):
    paths, keys, classes = [], [], []
    num_side_files = 0
    for parent, _, files in sorted(walk(folder)):
        relative = parent[len(folder) :].strip("/")
        if any(part.startswith(".") for part in relative.split("/")):
            continue
        for file in sorted(files):
            if is_side_file(file):
                num_side_files += not file.startswith(".")
                continue
            paths.append(f"{parent.rstrip('/')}/{file}")
            keys.append(f"{relative}/{file}" if relative else file)
            classes.append(relative.partition("/")[0])
    if num_side_files:
        logging.info("%s: passed over %d files such as .txt or .json", folder, num_side_files)
    if "" in classes and len(set(classes)) > 1:
        example = keys[classes.index("")]
        raise InputError(
            f"--data.source=folder:{folder} has images both in sub-folders, which are classes, and beside them "
            f"({example}); move them into one"
        )
    return Listing(paths, keys, classes)


def is_side_file(name):
    """Whether a file of this name is hidden, or of those that commonly lie beside images."""
    return name.startswith(".") or name.lower().endswith(_SIDE_FILES)


def _examine(name, listing, height, width, max_pixels):
    place = (height, width, max_pixels, tuple(listing.paths))
    examined = _examined.get(place)
    if examined is None:
        examples = ((path, lambda path=path: read_file(path)) for path in listing.paths)
        examined = ingestion.examine(name, examples, height, width, max_pixels, len(listing.paths))
        _examined[place] = examined
    return examined


def _reader(examined, listing, chosen, decode, max_pixels):
    """`fetch` of an IndexedSource that decodes a file each time."""
    with tf.device("CPU:0"):
        paths = tf.constant([listing.paths[index] for index in chosen])
        converted = tf.constant(examined.converted[chosen])

    def fetch(index):
        return decode(ingestion.convert_if(converted[index], tf.io.read_file(paths[index]), max_pixels))

    return fetch
