"""An image source as parts that workers read independently of each other, each in constant memory.

An `ImageSource` is opened as a whole and knows every image; here nothing but the files is listed beforehand.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vim_tf.data import containers, folder_source, order, preprocessing, record_sources, sources
from vim_tf.errors import InputError


class Entry(NamedTuple):
    """An image that can be loaded.

    Attributes:
        place: str, where it lies: file, or file and number of the record.
        key: bytes, as in ImageSource.
        label: int, -1 = none.
        load: function without arguments that returns the encoded file; raises ValueError or OpError.
    """

    place: str
    key: bytes
    label: int
    load: Callable


@dataclasses.dataclass(frozen=True)
class FileShard:
    """Image files.

    Attributes:
        split: str.
        index, count: int, number of the shard among those of the split.
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
            yield Entry(path, key, label, lambda path=path: folder_source.read_file(path))


@dataclasses.dataclass(frozen=True)
class ContainerShard:
    """Files that hold many images each.

    Attributes:
        split, index, count: as in FileShard.
        container: how the files are read, as in `containers`.
        paths: tuple of str.
        relatives: tuple of str, the paths below the folder that all files of the split share.
        validation_fraction: share of the records that are the validation split's, by the hash of their keys, where the
            files belong to both splits; None = all records belong to this split.
    """

    split: str
    index: int
    count: int
    container: object
    paths: tuple
    relatives: tuple
    validation_fraction: float | None = None

    def entries(self):
        """Yields the Entries in order.

        Raises:
            InputError: a file is broken.
        """
        for path, relative in zip(self.paths, self.relatives, strict=True):
            for number, record in enumerate(self.container.records(path)):
                key = self.container.key_of(record, relative, number)
                if self._is_wanted(key):
                    label = -1 if record.problem else record.label
                    place = f"{path}:{number}"
                    yield Entry(place, key, label, lambda record=record: containers.image_of(record))

    def _is_wanted(self, key):
        if self.validation_fraction is None:
            return True
        return (order.hash_of(key) < self.validation_fraction) == (self.split == "validation")


@dataclasses.dataclass(frozen=True)
class EmbeddedShard:
    """Some images of a source that needs no files, as PNG.

    Attributes:
        split, index, count: as in FileShard.
        kind: name of the source.
        height, width: int, pixels. Of what has a size of its own, the original is taken.
        start, stop: int, numbers of the examples.
    """

    split: str
    index: int
    count: int
    kind: str
    height: int
    width: int
    start: int
    stop: int

    def entries(self):
        """Yields the Entries in order."""
        source = sources.open_source(self.kind, self.split, self.height, self.width)
        # Photos are random crops of the model's size; the original of such a crop is the whole photograph.
        elements = source.ordered(_original if self.kind == "digits" else None)
        for element in elements.skip(self.start).take(self.stop - self.start).as_numpy_iterator():
            key = element["key"]
            image = element["image"]
            place = f"{self.kind}:{key.decode()}"
            yield Entry(place, key, int(element["label"]), lambda image=image: preprocessing.encode_png(image))


@dataclasses.dataclass(frozen=True)
class Plan:
    """The shards of a source.

    Attributes:
        source: str, the source's name.
        shards: list of FileShard, ContainerShard or EmbeddedShard, of all splits.
        class_names: list of str; None where only the labels that are found tell how many classes there are.
    """

    source: str
    shards: list
    class_names: list | None


def plan_shards(config, splits, height, width, num_shards):
    """Divides a source; neighbours stay neighbours, so that the shards one after another give the source's order.

    Args:
        config: DataConfig.
        splits: names of the splits.
        height, width: int, pixels, for the sources that need no files.
        num_shards: int, shards of each split; fewer where it has fewer files.

    Returns:
        Plan.

    Raises:
        InputError: the source is unknown, missing or empty.
    """
    name = config.source
    kind, place = sources.parse_name(name)
    if kind in sources.EMBEDDED:
        shards, class_names = _embedded_shards(kind, splits, height, width, num_shards)
    elif kind == "folder":
        shards, class_names = _file_shards(name, place, splits, config.validation_fraction, num_shards)
    else:
        class_names = None
        if kind == "tfds":
            files, container, class_names = record_sources.tfds_files(name, place)
        else:
            files, container = record_sources.split_files(name, place), record_sources.CONTAINERS[kind]
        shards = _container_shards(name, files, container, splits, config.validation_fraction, num_shards)
    return Plan(config.name or name, shards, class_names)


def _embedded_shards(kind, splits, height, width, num_shards):
    shards = []
    for split in splits:
        source = sources.open_source(kind, split, height, width)
        parts = _parts(source.num_examples, num_shards)
        shards += [
            EmbeddedShard(split, index, len(parts), kind, height, width, part.start, part.stop)
            for index, part in enumerate(parts)
        ]
    return shards, source.class_names


def _file_shards(name, place, splits, validation_fraction, num_shards):
    shards = []
    for split in splits:
        listing, class_names, is_shared = folder_source.list_files(name, place, split)
        chosen = np.arange(len(listing.paths))
        if is_shared:
            chosen = chosen[folder_source.choose_split(name, listing.keys, split, validation_fraction)]
        labels = {class_name: label for label, class_name in enumerate(class_names)}
        parts = _parts(len(chosen), num_shards)
        for index, part in enumerate(parts):
            numbers = chosen[part]
            shards.append(
                FileShard(
                    split,
                    index,
                    len(parts),
                    tuple(listing.paths[number] for number in numbers),
                    tuple(listing.keys[number].encode() for number in numbers),
                    tuple(labels.get(listing.classes[number], -1) for number in numbers),
                )
            )
    return shards, class_names


def _container_shards(name, files, container, splits, validation_fraction, num_shards):
    shards = []
    for split in splits:
        paths = files.get(split, files.get("all"))
        if not paths:
            raise InputError(f"--data.source={name}: no file matches for the {split} split")
        fraction = None if split in files else validation_fraction
        shards += container_shards(split, container, paths, num_shards, fraction)
    return shards


def container_shards(split, container, paths, num_shards, validation_fraction=None):
    """List of ContainerShards of a split; arguments as in ContainerShard and `plan_shards`."""
    common = containers.common_folder(paths)
    parts = _parts(len(paths), num_shards)
    return [
        ContainerShard(
            split,
            index,
            len(parts),
            container,
            tuple(paths[part]),
            tuple(path[common:] for path in paths[part]),
            validation_fraction,
        )
        for index, part in enumerate(parts)
    ]


def _parts(total, num_shards):
    """Slices of about the same length, none of them empty."""
    count = min(num_shards, total)
    return [slice(total * index // count, total * (index + 1) // count) for index in range(count)]


class _Original:
    """View of an image that is its original."""

    takes_original = True

    def __call__(self, image):
        return image


_original = _Original()
