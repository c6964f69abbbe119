"""Image sources that need no files: scikit-learn ships the images."""

import dataclasses

import numpy as np
import tensorflow as tf

from vim_tf.data.images.fit import fit_image
from vim_tf.data.images.pixels import encode_png
from vim_tf.data.sources import shards
from vim_tf.data.sources.base import RECORD_OPTIONS, IndexedSource, MemorySource, SourceKind, SourceOptions
from vim_tf.errors import InputError
from vim_tf.storage.digests import integers

# Columns of the photographs at which the training region ends and the validation region begins. Both regions hold
# crops of 256 x 256.
_PHOTO_BORDER = 384
_PHOTO_EXAMPLES = {"train": 8192, "validation": 1024}


def open_digits(split, height, width):
    """1,797 scanned handwritten digits, labels 0-9; every fifth is for validation.

    References:
        UCI optical recognition of handwritten digits, test set; `sklearn.datasets.load_digits`.
    """
    from sklearn import datasets  # takes seconds to import

    digits = datasets.load_digits()
    indices = np.arange(len(digits.target))
    indices = indices[(indices % 5 == 4) == (split == "validation")]
    grey = np.round(digits.images[indices] * (255 / 16)).astype(np.uint8)  # scans have 17 levels
    scans = np.repeat(grey[..., None], 3, axis=-1)
    fit_all = tf.function(lambda: tf.map_fn(lambda image: fit_image(image, height, width), scans))
    return MemorySource(
        "digits",
        split,
        class_names=[str(name) for name in digits.target_names],
        labels=digits.target[indices],
        keys=[f"digits-{index:04d}".encode() for index in indices],
        images=fit_all(),
        fetch_original=lambda index: tf.gather(scans, index),
    )


def open_photos(split, height, width):
    """Crops at fixed, random positions of two photographs, 427 x 640 pixels each; the label is the photograph.

    Crops have the requested size and aren't resized. Training crops come from the left, validation crops from the right
    of the photographs, so they share no pixels. The original of a crop is the whole of that region.

    Raises:
        InputError: the region is smaller than a crop.
    """
    from sklearn import datasets  # takes seconds to import

    samples = datasets.load_sample_images()
    photos = np.stack(samples.images)
    photos = photos[:, :, :_PHOTO_BORDER] if split == "train" else photos[:, :, _PHOTO_BORDER:]
    free_rows, free_columns = photos.shape[1] - height, photos.shape[2] - width
    if free_rows < 0 or free_columns < 0:
        raise InputError(
            f"--data.source=photos: crops of {height} x {width} pixels don't fit into the {split} region of "
            f"{photos.shape[1]} x {photos.shape[2]}; choose smaller images"
        )
    count = _PHOTO_EXAMPLES[split]
    labels = np.arange(count) % len(photos)
    rows, columns = zip(*(_photo_draw(split, i, free_rows + 1, free_columns + 1) for i in range(count)), strict=True)
    with tf.device("CPU:0"):
        photos = tf.constant(photos)
        positions = tf.constant(np.stack([labels, rows, columns], axis=1), tf.int32)

    def fetch(index):
        photo, row, column = tf.unstack(positions[index])
        return tf.slice(photos, [photo, row, column, 0], [1, height, width, 3])[0]

    def fetch_region(index):
        return photos[positions[index, 0]]

    return IndexedSource(
        "photos",
        split,
        class_names=[filename.rpartition(".")[0] for filename in map(_base_name, samples.filenames)],
        labels=labels,
        keys=[f"photos-{split}-{index:04d}".encode() for index in range(count)],
        fetch=fetch,
        fetch_original=fetch_region,
    )


def _photo_draw(split, index, *limits):
    """Two integers, each below its limit, that depend only on the split and the index."""
    drawn = integers(f"{split} {index}".encode(), len(limits))
    return [number % limit for number, limit in zip(drawn, limits, strict=True)]


def _base_name(path):
    return path.replace("\\", "/").rpartition("/")[2]


class OpenedKind(SourceKind):
    """A source whose shards are parts of the opened source.

    Attributes:
        has_originals: bool, whether images have their own size, which shards keep.
    """

    unused = RECORD_OPTIONS
    why_unused = "it has no records"
    has_originals = False

    def plan(self, place, splits, height, width, num_shards, options):
        planned = []
        for split in splits:
            source = self.open(place, split, height, width, options)
            parts = shards.parts(source.num_examples, num_shards)
            planned += [
                OpenedShard(split, index, len(parts), self, place, height, width, part.start, part.stop, options)
                for index, part in enumerate(parts)
            ]
        return shards.Plan(self.source_name(place), planned, source.class_names)


class EmbeddedKind(OpenedKind):
    """A source that needs no files.

    Args:
        name: str.
        open_split: function from (split, height, width) to an ImageSource.
        has_originals: as in OpenedKind.
    """

    place = "none"

    def __init__(self, name, open_split, has_originals=False):
        super().__init__(name)
        self.has_originals = has_originals
        self._open_split = open_split

    def open(self, place, split, height, width, options):
        return self._open_split(split, height, width)

    def files(self, place, splits):
        return []


@dataclasses.dataclass(frozen=True)
class OpenedShard:
    """Some images of an `OpenedKind`, as PNG.

    Attributes:
        split, index, count: as every shard has them.
        kind: OpenedKind.
        place: str, what follows the colon.
        height, width: int, pixels; an image that has its own size keeps it.
        start, stop: int, numbers of the examples.
        options: SourceOptions.
    """

    split: str
    index: int
    count: int
    kind: OpenedKind
    place: str
    height: int
    width: int
    start: int
    stop: int
    options: SourceOptions

    def entries(self):
        """Yields the Entries in order."""
        source = self.kind.open(self.place, self.split, self.height, self.width, self.options)
        elements = source.ordered(_original if self.kind.has_originals else None)
        for element in elements.skip(self.start).take(self.stop - self.start).as_numpy_iterator():
            key, image = element["key"], element["image"]
            place = f"{self.kind.name}:{key.decode()}"
            yield shards.Entry(place, key, int(element["label"]), lambda image=image: encode_png(image))


class _Original:
    """A view that is the original image itself."""

    takes_original = True

    def __call__(self, image):
        return image


_original = _Original()

DIGITS = EmbeddedKind("digits", open_digits, has_originals=True)
# Photos are random crops of the model's size; the original of such a crop is the whole photograph.
PHOTOS = EmbeddedKind("photos", open_photos)
