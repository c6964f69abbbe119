"""What an image source offers: labelled images of one size, in a fixed or an endless shuffled order."""

import abc
import functools

import numpy as np
import tensorflow as tf

from vim_tf.data import order


class ImageSource(abc.ABC):
    """Labelled images of one size.

    The elements of its datasets are `image` uint8 [height, width, 3], `label` int64 [] (-1 = none) and `key` string
    [], which is unique and doesn't change between runs.

    Attributes:
        name: str, as given by the user.
        location: str, where the images are, as in `data.source`; the name may be another.
        split: train or validation.
        num_examples: int.
        num_classes: int, over all splits; 0 = unlabelled.
        class_names: list of str [num_classes].
        labels: int64 array [num_examples], in the order of `ordered`; -1 = none.
        label_values: list of int, the label in the files of each class, where that isn't its number; else empty.
        unreadable: list of "<path>: <reason>" of the files left out, of both splits where they come out of one.
    """

    def __init__(self, name, split, class_names, labels, examined=None):
        self.name = self.location = name
        self.split = split
        self.labels = np.asarray(labels, np.int64)
        self.label_values = []
        self.num_examples = len(self.labels)
        self.num_classes = len(class_names)
        self.class_names = list(class_names)
        self.unreadable = list(examined.unreadable) if examined else []
        self._examined = examined  # as long as it lives, opening the other split needs not examine again

    @functools.cached_property
    def size(self):
        """(height, width) of the images in pixels, int."""
        return tuple(self.ordered().element_spec["image"].shape[:2])

    @abc.abstractmethod
    def ordered(self, views=None):
        """tf.data.Dataset of one pass in an order that never changes.

        Args:
            views: as `views.make_views` returns it: a function from an image, uint8 [h, w, 3], to its views, uint8
                [views, height, width, 3], with the attribute `takes_original`; `image` is then these. None: the image.
        """

    @abc.abstractmethod
    def shuffled(self, seed, start=0, augment=None, share=None):
        """Endless tf.data.Dataset in which every epoch holds each example once.

        Args:
            seed: int, on which alone the order and what is random about the images depend.
            start: int, number of examples of the endless order to leave out at its beginning.
            augment: as `augmentation.make_augment` returns it: a function from an image, uint8 [h, w, 3], and a seed,
                int64 [2], to an image, uint8 [height, width, 3], with the attribute `takes_original`. The seed is a
                function of `seed`, the epoch and the example. None: the images as in `ordered`.
            share: (batch size, first row, number of rows): only these rows of each batch of the order, from `start`
                on; the others aren't decoded. None = all.
        """

    def ordered_batches(self, batch_size, views=None):
        """`ordered` in batches, the last of which holds what is left."""
        return self.ordered(views).batch(batch_size)

    def shuffled_batches(self, batch_size, seed, start=0, augment=None, rows=None):
        """`shuffled` in batches, all of one size.

        Args:
            batch_size: int.
            seed, start, augment: as in `shuffled`.
            rows: (first row, number of rows) of each batch that are wanted, as one of several workers does; None = all.
        """
        share = None if rows is None else (batch_size, *rows)
        examples = self.shuffled(seed, start, augment, share)
        return examples.batch(rows[1] if rows else batch_size, num_parallel_calls=tf.data.AUTOTUNE, drop_remainder=True)


class IndexedSource(ImageSource):
    """A source whose examples can be fetched in any order.

    Args:
        labels: int array [examples].
        keys: list of bytes [examples].
        fetch: graph function from an index, int64 [], to an image, uint8 [height, width, 3].
        fetch_original: likewise, to the picture that the image was made from, uint8 [h, w, 3]; None = `fetch`.
        examined: what the examples were found in, with its list `unreadable`.
    """

    def __init__(self, name, split, class_names, labels, keys, fetch, fetch_original=None, examined=None):
        super().__init__(name, split, class_names, labels, examined)
        with tf.device("CPU:0"):
            self._labels = tf.constant(self.labels)
            self._keys = tf.constant(keys)
        self._fetch = fetch
        self._fetch_original = fetch_original or fetch

    def ordered(self, views=None):
        indices = tf.data.Dataset.range(self.num_examples)
        if views is None:
            return self._fetched(indices)
        fetch = self._fetch_for(views)
        return _in_parallel(indices, lambda index: self._element(index, views(fetch(index))))

    def shuffled(self, seed, start=0, augment=None, share=None):
        positions = order.select_rows(order.endless_order(self.num_examples, seed, start), share)
        if augment is None:
            return self._fetched(positions)
        fetch = self._fetch_for(augment)

        def augmented(epoch, index):
            return self._element(index, augment(fetch(index), order.example_seed(seed, epoch, index)))

        return _in_parallel(positions, augmented)

    def _fetch_for(self, change):
        return self._fetch_original if change.takes_original else self._fetch

    def _fetched(self, positions):
        return _in_parallel(positions, self._fetched_element)

    def _fetched_element(self, *position):
        index = position[-1]  # behind the epoch, if that is given
        return self._element(index, self._fetch(index))

    def _element(self, index, image):
        return {"image": image, "label": tf.gather(self._labels, index), "key": tf.gather(self._keys, index)}


class MemorySource(IndexedSource):
    """An indexed source whose images are in memory: unless views are made of them, whole batches are fetched at once.

    Args:
        images: uint8 [n, height, width, 3].
        rows: int array [examples], row of each example in `images`; None = all rows in turn.
    """

    def __init__(self, name, split, class_names, labels, keys, images, rows=None, fetch_original=None, examined=None):
        with tf.device("CPU:0"):
            images = tf.convert_to_tensor(images)
            rows = tf.constant(np.arange(len(images)) if rows is None else rows, tf.int64)

        def fetch(index):
            return tf.gather(images, tf.gather(rows, index))

        super().__init__(name, split, class_names, labels, keys, fetch, fetch_original, examined)

    def ordered_batches(self, batch_size, views=None):
        if views is not None:
            return super().ordered_batches(batch_size, views)
        return self._fetched(tf.data.Dataset.range(self.num_examples).batch(batch_size))

    def shuffled_batches(self, batch_size, seed, start=0, augment=None, rows=None):
        if augment is not None:
            return super().shuffled_batches(batch_size, seed, start, augment, rows)
        share = None if rows is None else (batch_size, *rows)
        positions = order.select_rows(order.endless_order(self.num_examples, seed, start), share)
        return self._fetched(positions.batch(rows[1] if rows else batch_size, drop_remainder=True))

    def _fetched(self, positions):
        return positions.map(self._fetched_element)


def _in_parallel(positions, element):
    return positions.map(element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
