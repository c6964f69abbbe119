"""Image sources that are drawn once and kept in a cache on disk."""

import json
import os
import time

import numpy as np
import tensorflow as tf
from absl import logging

from vim_tf.data.drawings import parallel
from vim_tf.data.sources.base import MemorySource
from vim_tf.errors import InputError, one_line
from vim_tf.storage import npz
from vim_tf.storage.digests import digest

_PROGRESS_SECONDS = 10
# Part of the cached file's name: increase it when `Drawn.save` writes something else.
_FORMAT = 1


class DrawnSource(MemorySource):
    """A source in memory that records what its images were drawn from.

    Args:
        name, split, class_names, labels, keys: as in IndexedSource.
        drawn: Drawn.
    """

    def __init__(self, name, split, class_names, labels, keys, drawn):
        super().__init__(name, split, class_names, labels, keys, drawn.images)
        if drawn.images.shape[-1] == 1:
            fetch_grey = self._fetch
            self._fetch = self._fetch_original = lambda index: tf.repeat(fetch_grey(index), 3, axis=-1)
        self.unreadable = list(drawn.unreadable)
        self._drawn = drawn

    def attributes(self):
        """What each image was drawn from: {attribute: array [num_examples] of str}, "" where an image has none."""
        return self._drawn.attributes()


class Drawn:
    """Drawn images and the attributes of each.

    Args:
        images: uint8 array [n, height, width, 3 or 1].
        columns: int32 array [n, attributes], numbers of the values; -1 = none.
        values: {attribute: list of its values, str}, in the order of the columns.
        unreadable: list of "<path>: <reason>", what nothing could be drawn from.
    """

    def __init__(self, images, columns, values, unreadable=()):
        self.images = images
        self.unreadable = list(unreadable)
        self._columns = columns
        self._values = values

    @classmethod
    def of(cls, images, choices, unreadable=()):
        """Drawn of images and a list of {attribute: value}."""
        names = sorted({name for each in choices for name in each})
        values = {name: sorted({each[name] for each in choices if name in each}) for name in names}
        numbers = {name: {value: number for number, value in enumerate(values[name])} for name in names}
        columns = np.full([len(choices), len(names)], -1, np.int32)
        for row, each in enumerate(choices):
            for column, name in enumerate(names):
                columns[row, column] = numbers[name].get(each.get(name), -1)
        return cls(images, columns, values, unreadable)

    def take(self, rows):
        """Drawn of some of the images, int array."""
        return Drawn(self.images[rows], self._columns[rows], self._values, self.unreadable)

    def attributes(self):
        """As in DrawnSource."""
        # The number -1 is the last of these.
        columns = zip(self._values.items(), self._columns.T, strict=True)
        return {name: np.array([*values, ""], object)[numbers] for (name, values), numbers in columns}

    def save(self, path):
        """Writes an .npz file that appears whole or not at all."""
        facts = json.dumps([self._values, self.unreadable]).encode()
        npz.write(path, {"images": self.images, "columns": self._columns, "facts": np.frombuffer(facts, np.uint8)})

    @classmethod
    def load(cls, path):
        """Drawn of a file that `save` wrote.

        Raises:
            InputError: there is no such file, or it is damaged.
        """
        arrays = npz.read(path)
        try:
            values, unreadable = json.loads(arrays["facts"].tobytes())
            return cls(arrays["images"], arrays["columns"], values, unreadable)
        except (KeyError, ValueError) as error:
            raise InputError(f"{path} isn't a file of drawn images") from error


def cache_folder(kind):
    """Folder of the cached drawings of a kind of source: str."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "vim_tf", kind)


def cached(name, kind, key, shape, make):
    """Images of a source from the cache; if they aren't there, they are made and cached.

    Args:
        name: str, of the source, for the log.
        kind: str, sub-folder of the cache.
        key: JSON value, of all that the images depend on.
        shape: (number, height, width, channels) that cached images must have; the number may be None.
        make: function without arguments that returns Drawn.

    Returns:
        Drawn.
    """
    path = os.path.join(cache_folder(kind), f"{digest([_FORMAT, key])[:32]}.npz")
    if os.path.exists(path):
        try:
            drawn = Drawn.load(path)
            if (drawn.images.shape if shape[0] else (None, *drawn.images.shape[1:])) != shape:
                raise InputError(f"{path} holds images of {drawn.images.shape}")
            return drawn
        except InputError as error:
            logging.warning("%s: drawing the images again: %s", name, error)
    drawn = make()
    try:
        drawn.save(path)
    except (OSError, tf.errors.OpError) as error:
        logging.warning("%s: the images can't be kept in %s: %s", name, os.path.dirname(path), one_line(error))
    return drawn


def call_all(name, function, jobs, sizes, what):
    """Calls a function in several processes, with its progress in the log.

    Args:
        name: str, of the source, for the log.
        function, jobs: as `parallel.call_all` takes them.
        sizes: list of int, for how many of what a call is.
        what: str, such as images.

    Returns:
        list of what the calls return.
    """
    results = []
    done, last_progress = 0, time.monotonic()
    for size, result in zip(sizes, parallel.call_all(function, jobs), strict=True):
        results.append(result)
        done += size
        if time.monotonic() - last_progress > _PROGRESS_SECONDS:
            last_progress = time.monotonic()
            logging.info("%s: drew %d of %d %s", name, done, sum(sizes), what)
    return results
