"""Divides an image source into parts that workers read independently of each other, in constant memory.

An `ImageSource` is opened as a whole and knows every image; here only the files are listed beforehand. A shard is
a picklable object with the attributes `split` (str), `index` and `count` (int, its number among those of the split) and
the method `entries`, which yields the Entries in order.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vim_tf.data import order
from vim_tf.data.images import examination
from vim_tf.data.records import images as image_records


class Entry(NamedTuple):
    """An image that can be loaded.

    Attributes:
        place: str, where it is stored: the file, or the file and the number of the record.
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
class Plan:
    """The shards of a source.

    Attributes:
        source: str, the source's name.
        shards: list of shards, of all splits.
        class_names: list of str; None if only the labels that are found determine how many classes there are.
        is_divided: bool, whether the splits are a division of the same files.
        label_values: list of int, as in classes.Classes.
        attributions: list of str, as `SourceKind.attributions` says.
    """

    source: str
    shards: list
    class_names: list | None
    is_divided: bool = False
    label_values: list = dataclasses.field(default_factory=list)
    attributions: list = dataclasses.field(default_factory=list)


def validation_limit(whole, fraction, max_pixels):
    """`order.validation_limit` of the readable images of a source, so that it is divided like an ImageSource.

    It stops reading images as soon as the limit is known, with one of each split.

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


def parts(total, num_shards):
    """Slices of about the same length, none of them empty."""
    count = min(num_shards, total)
    return [slice(total * index // count, total * (index + 1) // count) for index in range(count)]
