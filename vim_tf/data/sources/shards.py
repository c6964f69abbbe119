"""An image source as parts that workers read independently of each other, each in constant memory.

An `ImageSource` is opened as a whole and knows every image; here nothing but the files is listed beforehand.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vim_tf.data import order, sources
from vim_tf.data.images import examination
from vim_tf.data.images.pixels import encode_png
from vim_tf.data.records import images as image_records
from vim_tf.data.sources import classes, containers
from vim_tf.data.sources import layouts as record_layouts
from vim_tf.data.sources.folder import list_files, load_file
from vim_tf.data.sources.records import read_labels


class Entry(NamedTuple):
    """An image that can be loaded.

    Attributes:
        place: str, where it lies: file, or file and number of the record.
        key: bytes, as in ImageSource.
        label: int, -1 = none.
        load: function without arguments that returns the encoded file; raises ValueError or OpError.
        class_name: str, what the record calls the label's class; empty = nothing.
    """

    place: str
    key: bytes
    label: int
    load: Callable
    class_name: str = ""


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
            yield Entry(path, key, label, lambda path=path: load_file(path))


@dataclasses.dataclass(frozen=True)
class ContainerShard:
    """Files that hold many images each.

    Attributes:
        split, index, count: as in FileShard.
        container: how the files are read, as in `containers`.
        paths: tuple of str.
        relatives: tuple of str, the paths below the folder that all files of the split share.
        validation_limit: float, the records whose hash of the key lies below it are the validation split's, where the
            files belong to both splits; None = all records belong to this split.
        of_source: classes.Classes, whose numbers the entries have as labels; None = the labels as they are.
    """

    split: str
    index: int
    count: int
    container: object
    paths: tuple
    relatives: tuple
    validation_limit: float | None = None
    of_source: object = None

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
                    if self.of_source:
                        label = int(self.of_source.number(label))
                    load = functools.partial(containers.image_of, record)
                    yield Entry(f"{path}:{number}", key, label, load, record.class_name)

    def _is_wanted(self, key):
        if self.validation_limit is None:
            return True
        return (order.hash_of(key) < self.validation_limit) == (self.split == "validation")


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
            yield Entry(place, key, int(element["label"]), lambda image=image: encode_png(image))


@dataclasses.dataclass(frozen=True)
class Plan:
    """The shards of a source.

    Attributes:
        source: str, the source's name.
        shards: list of FileShard, ContainerShard or EmbeddedShard, of all splits.
        class_names: list of str; None where only the labels that are found tell how many classes there are.
        is_divided: bool, whether the splits are a division of the same files.
        label_values: list of int, as in classes.Classes.
    """

    source: str
    shards: list
    class_names: list | None
    is_divided: bool = False
    label_values: list = dataclasses.field(default_factory=list)


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
    kind, place = sources.parse_name(config.source)
    if kind in sources.RECORDS:
        plan = _plan_records(config, kind, place, splits, num_shards)
    else:
        sources.check_no_features(config.source, sources.given_features(config), config.map_labels)
        if kind in sources.EMBEDDED:
            plan = _plan_embedded(kind, splits, height, width, num_shards)
        else:
            plan = _plan_folder(config, place, splits, num_shards)
    return dataclasses.replace(plan, source=config.name or config.source)


def _plan_embedded(kind, splits, height, width, num_shards):
    shards = []
    for split in splits:
        source = sources.open_source(kind, split, height, width)
        parts = _parts(source.num_examples, num_shards)
        shards += [
            EmbeddedShard(split, index, len(parts), kind, height, width, part.start, part.stop)
            for index, part in enumerate(parts)
        ]
    return Plan(kind, shards, source.class_names)


def _plan_folder(config, place, splits, num_shards):
    shards = []
    for split in splits:
        listing, class_names, is_divided = list_files(config.source, place, split, config.split_names)
        numbers = {class_name: label for label, class_name in enumerate(class_names)}
        keys = [key.encode() for key in listing.keys]
        labels = [numbers.get(name, -1) for name in listing.classes]
        chosen = np.arange(len(keys))
        if is_divided:
            whole = FileShard(split, 0, 1, listing.paths, keys, labels)
            limit = _validation_limit(whole, config.validation_fraction, config.max_pixels)
            chosen = chosen[order.choose_split(config.source, keys, split, config.validation_fraction, limit)]
        parts = _parts(len(chosen), num_shards)
        for index, part in enumerate(parts):
            files = [tuple(values[number] for number in chosen[part]) for values in (listing.paths, keys, labels)]
            shards.append(FileShard(split, index, len(parts), *files))
    return Plan(config.source, shards, class_names, is_divided)


def _plan_records(config, kind, place, splits, num_shards):
    found = record_layouts.find_files(kind, place, sources.given_features(config), config.split_names)
    is_divided = "all" in found.paths
    limit, names, of_source = None, found.container.class_names, None
    if is_divided:
        (whole,) = container_shards(splits[0], found.container, found.of(splits[0]), 1)
        limit = _validation_limit(whole, config.validation_fraction, config.max_pixels)
    if config.map_labels:
        paths = [paths for paths in found.paths.values() if paths]
        told = [read_labels(found.name, each, found.container) for each in paths]
        labels = np.concatenate([labels for labels, _ in told])
        texts = [text for _, texts in told for text in texts]
        of_source = classes.find_classes(found.name, labels, texts, names, map_labels=True)
        names = of_source.names
    shards = [
        shard
        for split in splits
        for shard in container_shards(split, found.container, found.of(split), num_shards, limit, of_source)
    ]
    values = of_source.values if of_source else []
    return Plan(config.source, shards, names if names is None else list(names), is_divided, values)


def container_shards(split, container, paths, num_shards, validation_limit=None, of_source=None):
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
            validation_limit,
            of_source,
        )
        for index, part in enumerate(parts)
    ]


def _validation_limit(whole, fraction, max_pixels):
    """`order.validation_limit` of the images of a source that can be read, as an ImageSource divides it.

    No more images are read than tell it: one of each split.

    Args:
        whole: shard of all images.
        fraction: share that becomes the validation split.
        max_pixels: int, as in `decode_image`.
    """
    hashes = []
    facts = functools.partial(image_records.picture_facts, max_pixels=max_pixels)
    if not 0 < fraction < 1:
        return fraction
    for entry in whole.entries():
        if hashes and min(hashes) < fraction <= max(hashes):
            break
        if examination.decode_once(entry.load, facts, max_pixels).problem is None:
            hashes.append(order.hash_of(entry.key))
    return order.validation_limit(np.array(hashes), fraction)


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
