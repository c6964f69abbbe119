"""What tells that the files of an image source have changed."""

import hashlib
import json
import os

import tensorflow as tf


def source_fingerprint(name, splits):
    """Changes when the files of an image source change.

    Args:
        name: image source, as in `data.source`.
        splits: split names; each takes the place of `{split}` in the name.

    Returns:
        str, hexadecimal. Embedded sources have no files and change with the code only.
    """
    kind, _, location = name.partition(":")
    places = sorted({location.replace("{split}", split) for split in splits})
    if kind == "folder":
        found = [file for place in places for file in _files_below(place)]
    elif kind in ("tfrecord", "parquet", "webdataset"):
        found = [file for place in places for file in tf.io.gfile.glob(place)]
    elif kind == "tfds":
        # Not every user of the package has the data sets.
        import tensorflow_datasets as tfds

        builder = tfds.builder(location)
        found = _files_below(builder.data_path)
        name = builder.info.full_name
    else:
        found = []
    return digest([name, sorted(_identity(path) for path in found)])


def digest(value):
    """sha256 of a JSON value, hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _files_below(folder):
    return [os.path.join(parent, name) for parent, _, names in tf.io.gfile.walk(folder) for name in names]


def _identity(path):
    facts = tf.io.gfile.stat(path)
    return [path, facts.length, facts.mtime_nsec]
