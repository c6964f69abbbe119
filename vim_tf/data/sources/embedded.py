"""Image sources that need no files: scikit-learn ships the pictures."""

import hashlib

import numpy as np
import tensorflow as tf

from vim_tf.data.images.fit import fit_image
from vim_tf.data.sources.base import IndexedSource, MemorySource
from vim_tf.errors import InputError

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
    """Crops at fixed, random places of two photographs, 427 x 640 pixels each; the label is the photograph.

    Crops have the size asked for and aren't resized. Training crops come from the left, validation crops from the
    right of the photographs, so that they share no pixel. The original of a crop is the whole such region.

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
        places = tf.constant(np.stack([labels, rows, columns], axis=1), tf.int32)

    def fetch(index):
        photo, row, column = tf.unstack(places[index])
        return tf.slice(photos, [photo, row, column, 0], [1, height, width, 3])[0]

    def fetch_region(index):
        return photos[places[index, 0]]

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
    """Two integers, each below its limit, that depend on the split and the index alone."""
    digest = hashlib.sha256(f"{split} {index}".encode()).digest()
    return [int.from_bytes(digest[8 * i : 8 * i + 8], "big") % limit for i, limit in enumerate(limits)]


def _base_name(path):
    return path.replace("\\", "/").rpartition("/")[2]
