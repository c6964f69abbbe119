"""What tells that the files of an image source have changed."""

import os

import tensorflow as tf

from vim_tf.storage import files
from vim_tf.storage.digests import digest


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
        found = [file for place in places for file in files.glob(place)]
    elif kind == "tfds":
        # Not every user of the package has the data sets.
        import tensorflow_datasets as tfds

        builder = tfds.builder(location)
        found = _files_below(builder.data_path)
        name = builder.info.full_name
    else:
        found = []
    return digest([name, sorted(_identity(path) for path in found)])


def files_fingerprint(paths):
    """Changes when a file, or what lies below a folder, changes.

    Args:
        paths: list of str; a name without files, such as a TF Hub handle, stands for itself, and an empty one for none.

    Returns:
        str, hexadecimal; empty where there are no names.
    """
    found = [[path, sorted(map(_identity, _files_at(path)))] for path in paths if path]
    return digest(found) if found else ""


def _files_at(path):
    try:
        if tf.io.gfile.isdir(path):
            return _files_below(path)
        return [path] if tf.io.gfile.exists(path) else []
    except tf.errors.UnimplementedError:
        return []  # an https:// handle


def _files_below(folder):
    return [os.path.join(parent, name) for parent, _, names in files.walk(folder) for name in names]


def _identity(path):
    try:
        facts = tf.io.gfile.stat(path)
    except tf.errors.NotFoundError:
        return [path, -1, -1]  # a link that leads nowhere, which ingestion names
    return [path, facts.length, facts.mtime_nsec]
