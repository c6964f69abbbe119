"""What an image source offers: labelled images of one size, in a fixed or an endless shuffled order."""

import abc

import numpy as np
import tensorflow as tf

from vim_tf.data import order


class ImageSource(abc.ABC):
    """Labelled images of one size.

    The elements of its datasets are `image` uint8 [height, width, 3], `label` int64 [] (-1 = none) and `key` string
    [], which is unique and doesn't change between runs.

    Attributes:
        name: str, as given by the user.
        split: train or validation.
        num_examples: int.
        num_classes: int, over all splits; 0 = unlabelled.
        class_names: list of str [num_classes].
        unreadable: list of "<path>: <reason>" of the files left out, of both splits where they come out of one.
    """

    def __init__(self, name, split, num_examples, class_names, examined=None):
        self.name = name
        self.split = split
        self.num_examples = num_examples
        self.num_classes = len(class_names)
        self.class_names = list(class_names)
        self.unreadable = list(examined.unreadable) if examined else []
        self._examined = examined  # as long as it lives, opening the other split needs not examine again

    @abc.abstractmethod
    def ordered(self):
        """tf.data.Dataset of one pass in an order that never changes."""

    @abc.abstractmethod
    def shuffled(self, seed, start=0):
        """Endless tf.data.Dataset in which every epoch holds each example once.

        Args:
            seed: int, on which alone the order depends.
            start: int, number of examples of the endless order to leave out at its beginning.
        """

    def ordered_batches(self, batch_size):
        """`ordered` in batches, the last of which holds what is left."""
        return self.ordered().batch(batch_size)

    def shuffled_batches(self, batch_size, seed, start=0):
        """`shuffled` in batches, all of `batch_size`."""
        return self.shuffled(seed, start).batch(batch_size, drop_remainder=True)


class IndexedSource(ImageSource):
    """A source whose examples can be fetched in any order.

    Args:
        labels: int array [examples].
        keys: list of bytes [examples].
        fetch: graph function from an index, int64 [], to an image, uint8 [height, width, 3].
        examined: what the examples were found in, with its list `unreadable`.
    """

    def __init__(self, name, split, class_names, labels, keys, fetch, examined=None):
        super().__init__(name, split, len(keys), class_names, examined)
        with tf.device("CPU:0"):
            self._labels = tf.constant(np.asarray(labels, np.int64))
            self._keys = tf.constant(keys)
        self._fetch = fetch

    def ordered(self):
        return self._fetched(tf.data.Dataset.range(self.num_examples))

    def shuffled(self, seed, start=0):
        return self._fetched(order.endless_order(self.num_examples, seed, start))

    def _fetched(self, indices):
        return indices.map(self._element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _element(self, *position):
        index = position[-1]  # behind the epoch, if that is given
        return {
            "image": self._fetch(index),
            "label": tf.gather(self._labels, index),
            "key": tf.gather(self._keys, index),
        }


class MemorySource(IndexedSource):
    """An indexed source whose images are in memory, so that whole batches are fetched at once.

    Args:
        images: uint8 [n, height, width, 3].
        rows: int array [examples], row of each example in `images`; None = all rows in turn.
    """

    def __init__(self, name, split, class_names, labels, keys, images, rows=None, examined=None):
        with tf.device("CPU:0"):
            images = tf.convert_to_tensor(images)
            rows = tf.constant(np.arange(len(images)) if rows is None else rows, tf.int64)
        super().__init__(
            name, split, class_names, labels, keys, lambda index: tf.gather(images, tf.gather(rows, index)), examined
        )

    def ordered_batches(self, batch_size):
        return self._fetched(tf.data.Dataset.range(self.num_examples).batch(batch_size))

    def shuffled_batches(self, batch_size, seed, start=0):
        indices = order.endless_order(self.num_examples, seed, start)
        return self._fetched(indices.batch(batch_size, drop_remainder=True))

    def _fetched(self, indices):
        return indices.map(self._element)
