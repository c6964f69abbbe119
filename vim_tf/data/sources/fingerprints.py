"""Fingerprints that show whether files have changed."""

import os

import tensorflow as tf

from vim_tf.storage import files
from vim_tf.storage.digests import digest


def files_fingerprint(paths):
    """Fingerprint that changes when a file, or what is below a folder, changes.

    Args:
        paths: list of str; a name without files, such as a TF Hub handle, is used as it is; an empty one is ignored.

    Returns:
        str, hexadecimal; empty if there are no names.
    """
    found = [[path, identities(_files_at(path))] for path in paths if path]
    return digest(found) if found else ""


def files_below(folder):
    """list of str: every file of a folder and its sub-folders."""
    return [os.path.join(parent, name) for parent, _, names in files.walk(folder) for name in names]


def identities(paths):
    """Sorted list of [path, bytes, time of the last change in nanoseconds], a JSON value."""
    return sorted(_identity(path) for path in paths)


def _files_at(path):
    try:
        if tf.io.gfile.isdir(path):
            return files_below(path)
        return [path] if tf.io.gfile.exists(path) else []
    except tf.errors.UnimplementedError:
        return []  # an https:// handle


def _identity(path):
    try:
        facts = tf.io.gfile.stat(path)
    except tf.errors.NotFoundError:
        return [path, -1, -1]  # a broken link, which ingestion reports
    return [path, facts.length, facts.mtime_nsec]
