"""Base classes of image sources, which provide labelled images of one size in a fixed or a shuffled order."""

import abc
import dataclasses
import functools

import numpy as np
import tensorflow as tf

from vim_tf.config import DataConfig
from vim_tf.data import order
from vim_tf.data.sources import feature_names
from vim_tf.data.sources.fingerprints import identities
from vim_tf.errors import InputError
from vim_tf.storage.digests import digest


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """How the images of a source are read.

    Attributes:
        validation_fraction: float, share that becomes the validation split if the source doesn't have one.
        max_unreadable_fraction: float, share of the files that may fail to decode.
        shuffle_buffer: int, examples held in memory to shuffle a source that can only be read in order.
        max_pixels: int, most pixels of a file, as in `decode_image`.
        features: FeatureNames, which features of records are meant.
        map_labels: bool, whether only the labels that occur become classes.
        has_split_names: bool, whether folders and files called train, val or the like are splits.
    """

    validation_fraction: float = DataConfig.validation_fraction
    max_unreadable_fraction: float = DataConfig.max_unreadable_fraction
    shuffle_buffer: int = DataConfig.shuffle_buffer
    max_pixels: int = DataConfig.max_pixels
    features: feature_names.FeatureNames = feature_names.RECOGNISED
    map_labels: bool = DataConfig.map_labels
    has_split_names: bool = DataConfig.split_names


class SourceKind(abc.ABC):
    """A kind of image source: what comes before the colon in `--data.source=folder:<path>`.

    A source is opened as a whole (`open`), or divided into parts that workers read independently of each other
    (`plan`); both give the same images in the same order.

    Args:
        name: str.

    Attributes:
        place: str, whether something follows the colon: "required", "optional" or "none".
        unused: tuple of str, the options for records that have no effect here, out of image, label and key, the
            settings that name features, and map_labels.
        why_unused: str.
    """

    place = "required"
    unused = ()
    why_unused = ""

    def __init__(self, name):
        self.name = name

    @abc.abstractmethod
    def open(self, place, split, height, width, options):
        """Opens one split and checks every file of it.

        Args:
            place: str, what follows the colon; may be "" unless it is required.
            split: train or validation.
            height, width: int, pixels that every image comes out with.
            options: SourceOptions.

        Returns:
            ImageSource.

        Raises:
            InputError: the source is missing, empty or broken.
        """

    @abc.abstractmethod
    def plan(self, place, splits, height, width, num_shards, options):
        """Divides splits into shards of consecutive examples, so that the shards in turn give the source's order.

        Args:
            place, options: as in `open`.
            splits: names of the splits.
            height, width: int, pixels, for a source whose images have no size of their own.
            num_shards: int, shards of each split; fewer if it has fewer files.

        Returns:
            shards.Plan.

        Raises:
            InputError: the source is missing or empty.
        """

    @abc.abstractmethod
    def files(self, place, splits):
        """list of str: files whose changes change the source. Empty if it changes only with the code.

        Args:
            place: as in `open`.
            splits: names of the splits.
        """

    def fingerprint(self, place, splits):
        """Changes when the files of a source change: str, hexadecimal. Arguments as in `files`."""
        return digest([self.versioned_name(place), identities(self.files(place, splits))])

    def attributions(self, place):
        """list of str: what the images' licences ask to be told wherever they, or images drawn from them, are shown."""
        return []

    def source_name(self, place):
        """Name of a source, as in `data.source`: str."""
        return f"{self.name}:{place}" if place else self.name

    def versioned_name(self, place):
        """`source_name`, with the versions of what the source depends on, if any: str."""
        return self.source_name(place)

    def check_options(self, place, options):
        """Refuses options that have no effect on this kind.

        Args:
            place, options: as in `open`.

        Raises:
            InputError: one is given.
        """
        name = self.source_name(place)
        features = [part for part in self.unused if part != "map_labels"]
        feature_names.refuse_given(name, options.features, features, self.why_unused)
        if options.map_labels and "map_labels" in self.unused:
            raise InputError(f"--data.map_labels has no effect on --data.source={name}: {self.why_unused}")


# `SourceKind.unused` of kinds without records.
RECORD_OPTIONS = ("image", "label", "key", "map_labels")


def of_splits(place, splits):
    """list of str: a path or glob with its {split} replaced by each split; only itself if it has none."""
    return sorted({place.replace("{split}", split) for split in splits})


class ImageSource(abc.ABC):
    """Labelled images of one size.

    The elements of its datasets are `image` uint8 [height, width, 3], `label` int64 [] (-1 = none) and `key` string
    [], which is unique and doesn't change between runs.

    Attributes:
        name: str, as given by the user.
        location: str, where the images are, as in `data.source`; may differ from the name.
        split: train or validation.
        num_examples: int.
        num_classes: int, over all splits; 0 = unlabelled.
        class_names: list of str [num_classes].
        labels: int64 array [num_examples], in the order of `ordered`; -1 = none.
        label_values: list of int, each class's label in the files, if that isn't its number; else empty.
        attributions: list of str, as `SourceKind.attributions` says.
        unreadable: list of "<path>: <reason>" of the files left out, of both splits if they share their files.
    """

    def __init__(self, name, split, class_names, labels, examined=None):
        self.name = self.location = name
        self.split = split
        self.labels = np.asarray(labels, np.int64)
        self.label_values = []
        self.attributions = []
        self._kind = None
        self.num_examples = len(self.labels)
        self.num_classes = len(class_names)
        self.class_names = list(class_names)
        self.unreadable = list(examined.unreadable) if examined else []
        self._examined = examined  # as long as it lives, opening the other split doesn't examine the files again

    def opened_by(self, kind, place):
        """Says which SourceKind opened the source, and what followed the colon."""
        self._kind, self._place = kind, place
        self.attributions = kind.attributions(place)

    def fingerprint(self):
        """Changes when the source's files change: str, hexadecimal. Of a source that no kind opened only its name."""
        if self._kind is None:
            return digest([self.location, []])
        return self._kind.fingerprint(self._place, [self.split])

    @functools.cached_property
    def size(self):
        """(height, width) of the images in pixels, int."""
        return tuple(self.ordered().element_spec["image"].shape[:2])

    @abc.abstractmethod
    def ordered(self, views=None):
        """tf.data.Dataset of one pass in a fixed order.

        Args:
            views: as `views.make_views` returns it: a function from an image, uint8 [h, w, 3], to its views, uint8
                [views, height, width, 3], with the attribute `takes_original`; `image` is then these. None: the image.
        """

    @abc.abstractmethod
    def shuffled(self, seed, start=0, augment=None, share=None):
        """Endless tf.data.Dataset in which every epoch holds each example once.

        Args:
            seed: int, the only thing on which the order and what is random about the images depend.
            start: int, number of examples to skip at the beginning of the endless order.
            augment: as `augmentation.make_augment` returns it: a function from an image, uint8 [h, w, 3], and a seed,
                int64 [2], to an image, uint8 [height, width, 3], with the attribute `takes_original`. The seed is a
                function of `seed`, the epoch and the example. None: the images as in `ordered`.
            share: (batch size, first row, number of rows): only these rows of each batch of the order, from `start`
                on; the others aren't decoded. None = all.
        """

    def ordered_batches(self, batch_size, views=None):
        """`ordered` in batches, the last of which holds the rest."""
        return self.ordered(views).batch(batch_size)

    def shuffled_batches(self, batch_size, seed, start=0, augment=None, rows=None):
        """`shuffled` in batches, all of one size.

        Args:
            batch_size: int.
            seed, start, augment: as in `shuffled`.
            rows: (first row, number of rows) to return of each batch, for one of several workers; None = all.
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
        fetch_original: the same, but to the original of the image, uint8 [h, w, 3]; None = `fetch`.
        examined: object that the examples come from, with a list `unreadable`.
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
        index = position[-1]  # after the epoch, if there is one
        return self._element(index, self._fetch(index))

    def _element(self, index, image):
        return {"image": image, "label": tf.gather(self._labels, index), "key": tf.gather(self._keys, index)}


class MemorySource(IndexedSource):
    """An indexed source whose images are in memory: whole batches are fetched at once, unless views are made.

    Args:
        images: uint8 [n, height, width, 3].
        rows: int array [examples], row of each example in `images`; None = all rows in order.
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
