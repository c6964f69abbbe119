"""Image source `folder:<path>`: a sub-folder is a class; a folder without sub-folders is unlabelled."""

import dataclasses
import functools
import weakref

import numpy as np
import tensorflow as tf
from absl import logging

from vim_tf.config import SPLITS
from vim_tf.data import order
from vim_tf.data.images import examination
from vim_tf.data.sources import shards, split_names
from vim_tf.data.sources.base import RECORD_OPTIONS, IndexedSource, MemorySource, SourceKind, of_splits
from vim_tf.data.sources.fingerprints import files_below
from vim_tf.errors import InputError
from vim_tf.storage import files

# Files that commonly accompany images, by their endings or by their whole names, in upper or lower case. Other files
# that can't be read count as unreadable images.
_SIDE_ENDINGS = (
    *(".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".md", ".rst", ".html", ".yaml", ".yml", ".db", ".ini"),
    *(".log", ".bib", ".cff", ".md5", ".sha1", ".sha256", ".pdf", ".py", ".sh"),
    ":zone.identifier",  # metadata of a Windows download, as Linux shows it
)
_SIDE_NAMES = (
    *("license", "licence", "copying", "notice", "readme", "authors", "citation", "changelog"),
    *("md5sums", "sha256sums"),
)

# Both splits of a folder share one examination as long as a source that holds it is alive.
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


class FolderKind(SourceKind):
    """Images of a folder and its sub-folders.

    The splits are the folders that a {split} in the path names, else the sub-folders that are named like splits, as in
    `split_names`, else a division by a hash of the relative path.
    """

    unused = RECORD_OPTIONS
    why_unused = "a folder's images have their class from its sub-folders"

    def open(self, place, split, height, width, options):
        name = self.source_name(place)
        listing, class_names, is_shared = list_files(name, place, split, options.has_split_names)
        examined = _examine(name, listing, height, width, options.max_pixels)
        examination.check_unreadable(name, examined.unreadable, len(listing.paths), options.max_unreadable_fraction)
        chosen = np.flatnonzero(examined.readable)
        if is_shared:
            keys = [listing.keys[index].encode() for index in chosen]
            chosen = chosen[order.choose_split(name, keys, split, options.validation_fraction)]
        reader = functools.partial(_reader, examined, listing, chosen, options.max_pixels)
        classes = {name: label for label, name in enumerate(class_names)}
        facts = {
            "name": name,
            "split": split,
            "class_names": class_names,
            "labels": [classes.get(listing.classes[index], -1) for index in chosen],
            "keys": [listing.keys[index].encode() for index in chosen],
            "fetch_original": reader(examination.original_decoder(options.max_pixels)),
            "examined": examined,
        }
        if examined.images is not None:
            return MemorySource(**facts, images=examined.images, rows=examined.rows(chosen))
        return IndexedSource(**facts, fetch=reader(examination.compiled_decoder(height, width, options.max_pixels)))

    def plan(self, place, splits, height, width, num_shards, options):
        name, planned = self.source_name(place), []
        for split in splits:
            listing, class_names, is_divided = list_files(name, place, split, options.has_split_names)
            numbers = {class_name: label for label, class_name in enumerate(class_names)}
            keys = [key.encode() for key in listing.keys]
            labels = [numbers.get(class_name, -1) for class_name in listing.classes]
            chosen = np.arange(len(keys))
            if is_divided:
                whole = FileShard(split, 0, 1, listing.paths, keys, labels)
                limit = shards.validation_limit(whole, options.validation_fraction, options.max_pixels)
                chosen = chosen[order.choose_split(name, keys, split, options.validation_fraction, limit)]
            parts = shards.parts(len(chosen), num_shards)
            for index, part in enumerate(parts):
                columns = [tuple(values[number] for number in chosen[part]) for values in (listing.paths, keys, labels)]
                planned.append(FileShard(split, index, len(parts), *columns))
        return shards.Plan(name, planned, class_names, is_divided)

    def files(self, place, splits):
        return [path for folder in of_splits(place, splits) for path in files_below(folder)]


FOLDER = FolderKind("folder")


@dataclasses.dataclass(frozen=True)
class FileShard:
    """Image files.

    Attributes:
        split, index, count: as every shard has them.
        paths: tuple of str.
        keys: tuple of bytes.
        labels: tuple of int.
    """

    split: str
    index: int
    count: int
    paths: tuple
    keys: tuple
    labels: tuple

    def entries(self):
        """Yields the Entries in order."""
        for path, key, label in zip(self.paths, self.keys, self.labels, strict=True):
            yield shards.Entry(path, key, label, lambda path=path: load_file(path))


def list_files(name, place, split, has_split_names=True):
    """Lists the files of a split in a folder, and determines how the folder's splits are laid out.

    Args:
        name: str, of the source, for messages.
        place: str, what follows the colon.
        split: str.
        has_split_names: bool, whether names of splits mean splits; else they are classes like any other.

    Returns:
        (Listing, class names over all splits, whether the listing is of all splits, which must be divided).

    Raises:
        InputError: a folder is missing or empty, or may hold splits or classes.
    """
    folders = _split_folders(place, has_split_names)
    listings = {key: _list_images(folder) for key, folder in folders.items() if tf.io.gfile.isdir(folder)}
    wanted = split if split in folders else "all"
    if wanted not in listings:
        raise InputError(f"--data.source={name}: there is no folder {folders[wanted]}")
    if not listings[wanted].paths:
        raise InputError(f"--data.source={name}: there is no image in {folders[wanted]}")
    if wanted == "all" and has_split_names:
        split_names.check_inside_classes(place.rstrip("/"), listings[wanted].keys)
    class_names = sorted({name for each in listings.values() for name in each.classes} - {""})
    return listings[wanted], class_names, wanted == "all"


def load_file(path):
    """Bytes of a file that a folder lists.

    Raises:
        ValueError: it is a broken link, or isn't a regular file.
    """
    problem = files.link_problem(path)
    if problem:
        raise ValueError(problem)
    return files.read_file(path)


def _split_folders(place, has_split_names):
    """Folder of each split, or {"all": folder} if the splits share one."""
    if "{split}" in place:
        return {split: place.replace("{split}", split) for split in SPLITS}
    place = place.rstrip("/") or "/"
    if not has_split_names or not tf.io.gfile.isdir(place):
        return {"all": place}
    _, inside, _ = next(files.walk(place))
    return split_names.split_folders(place, inside) or {"all": place}


def _list_images(folder):
    paths, keys, classes = [], [], []
    num_side_files = 0
    for parent, _, names in sorted(files.walk(folder)):
        relative = parent[len(folder) :].strip("/")
        for name in sorted(names):
            if is_side_file(name):
                num_side_files += not name.startswith(".")
                continue
            paths.append(f"{parent.rstrip('/')}/{name}")
            keys.append(f"{relative}/{name}" if relative else name)
            classes.append(relative.partition("/")[0])
    if num_side_files:
        logging.info("%s: skipped %d files such as .txt, .json or LICENSE", folder, num_side_files)
    if len(set(classes)) > 1:
        _check_strays(folder, paths, classes)
    return Listing(paths, keys, classes)


def is_side_file(name):
    """Whether a file of this name is hidden, or commonly accompanies images."""
    return name.startswith(".") or name.lower().endswith(_SIDE_ENDINGS) or name.lower() in _SIDE_NAMES


def _check_strays(folder, paths, classes):
    """Refuses images next to class folders; a broken link may be a class, and is reported as unreadable."""
    for path, name in zip(paths, classes, strict=True):
        if not name and not files.link_problem(path):
            raise InputError(
                f"--data.source=folder:{folder} has images both in sub-folders, which are classes, and next to them "
                f"({path[len(folder) :].strip('/')}); move them into one"
            )


def _examine(name, listing, height, width, max_pixels):
    key = (height, width, max_pixels, tuple(listing.paths))
    examined = _examined.get(key)
    if examined is None:
        examples = ((path, lambda path=path: load_file(path)) for path in listing.paths)
        examined = examination.examine(name, examples, height, width, max_pixels, len(listing.paths))
        _examined[key] = examined
    return examined


def _reader(examined, listing, chosen, max_pixels, decode):
    """`fetch` of an IndexedSource that decodes a file each time."""
    with tf.device("CPU:0"):
        paths = tf.constant([listing.paths[index] for index in chosen])
        converted = tf.constant(examined.converted[chosen])

    def fetch(index):
        return decode(examination.convert_if(converted[index], tf.io.read_file(paths[index]), max_pixels))

    return fetch
