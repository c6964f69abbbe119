"""Image sources that are drawn once and kept in a cache on disk."""

import os
import time

import numpy as np
from absl import logging

from vim_tf.data.drawings import parallel
from vim_tf.data.sources.base import MemorySource
from vim_tf.errors import BROKEN_NPZ
from vim_tf.storage import files
from vim_tf.storage.digests import digest

_PROGRESS_SECONDS = 10
# Goes into the name of a cached file: a change of what `Drawn.save` writes takes a new number.
_FORMAT = 1


class DrawnSource(MemorySource):
    """A source in memory that knows what its images were drawn from.

    Args:
        name, split, class_names, labels, keys: as in IndexedSource.
        drawn: Drawn.
        attributions: list of Attribution, to be shown wherever the images are.
        unreadable: list of "<path>: <reason>" of the files left out.
    """

    def __init__(self, name, split, class_names, labels, keys, drawn, attributions=(), unreadable=()):
        super().__init__(name, split, class_names, labels, keys, drawn.images)
        self.attributions = list(attributions)
        self.unreadable = list(unreadable)
        self._drawn = drawn

    def attributes(self):
        """What each image was drawn from: {attribute: str array [num_examples]}, "" where an image has no such part."""
        return self._drawn.attributes()


class Drawn:
    """Drawn images and the attributes of each.

    Args:
        images: uint8 array [n, height, width, 3].
        columns: int32 array [n, attributes], numbers of the values; -1 = none.
        values: {attribute: list of its values, str}, in the order of the columns.
    """

    def __init__(self, images, columns, values):
        self.images = images
        self._columns = columns
        self._values = values

    @classmethod
    def of(cls, images, choices):
        """Drawn of images and a list of {attribute: value}."""
        names = sorted({name for each in choices for name in each})
        values = {name: sorted({each[name] for each in choices if name in each}) for name in names}
        numbers = {name: {value: number for number, value in enumerate(values[name])} for name in names}
        columns = np.full([len(choices), len(names)], -1, np.int32)
        for row, each in enumerate(choices):
            for column, name in enumerate(names):
                columns[row, column] = numbers[name][each[name]] if name in each else -1
        return cls(images, columns, values)

    def attributes(self):
        """As in DrawnSource."""
        # The number -1 is the last of these.
        columns = zip(self._values.items(), self._columns.T, strict=True)
        return {name: np.array([*values, ""])[numbers] for (name, values), numbers in columns}

    def save(self, path):
        """Writes an .npz file, which is there whole or not at all."""
        names = list(self._values)
        temporary = files.temporary_path(path)
        try:
            with open(temporary, "wb") as file:
                np.savez(
                    file,
                    images=self.images,
                    columns=self._columns,
                    names=np.array(names, str),
                    sizes=np.array([len(self._values[name]) for name in names], int),
                    values=np.array([value for name in names for value in self._values[name]], str),
                )
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)

    @classmethod
    def load(cls, path):
        """Drawn of a file that `save` wrote.

        Raises:
            One of BROKEN_NPZ: there is no such file, or it is damaged.
        """
        with np.load(path, allow_pickle=False) as arrays:
            every, ends = arrays["values"], np.cumsum(arrays["sizes"])
            sized = zip(arrays["names"].tolist(), arrays["sizes"], ends, strict=True)
            values = {name: every[end - size : end].tolist() for name, size, end in sized}
            return cls(arrays["images"], arrays["columns"], values)


def cache_folder(kind):
    """Folder of the cached drawings of a kind of source: str."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "vim_tf", kind)


def cached(name, kind, key, num_examples, height, width, make):
    """Images of a source out of the cache, or made and put there.

    Args:
        name: str, of the source, for the log.
        kind: str, sub-folder of the cache.
        key: JSON value, of all that the images depend on.
        num_examples, height, width: int, what the cached images have to have.
        make: function without arguments that returns Drawn.

    Returns:
        Drawn.
    """
    path = os.path.join(cache_folder(kind), f"{digest([_FORMAT, key])[:32]}.npz")
    if os.path.exists(path):
        try:
            drawn = Drawn.load(path)
            if drawn.images.shape != (num_examples, height, width, 3):
                raise ValueError(f"it holds images of {drawn.images.shape}")
            return drawn
        except BROKEN_NPZ as error:
            reason = " ".join(str(error).split())
            logging.warning("%s: %s is damaged (%s), so the images are drawn again", name, path, reason)
    drawn = make()
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        drawn.save(path)
    except OSError as error:
        logging.warning("%s: the images can't be kept in %s (%s)", name, os.path.dirname(path), error.strerror)
    return drawn


def draw_all(name, function, jobs, sizes):
    """Drawn of all that several processes draw.

    Args:
        name: str, of the source, for the log.
        function, jobs: as `parallel.call_all` takes them; a call returns uint8 images [n, height, width, 3] and a list
            of {attribute: value}.
        sizes: list of int, about how many images each job draws, for the log.
    """
    images, choices = [], []
    done, last_progress = 0, time.monotonic()
    for size, (drawn, chosen) in zip(sizes, parallel.call_all(function, jobs), strict=True):
        images.append(drawn)
        choices += chosen
        done += size
        if time.monotonic() - last_progress > _PROGRESS_SECONDS:
            last_progress = time.monotonic()
            logging.info("%s: drew %d of %d images", name, done, sum(sizes))
    return Drawn.of(np.concatenate(images), choices)
