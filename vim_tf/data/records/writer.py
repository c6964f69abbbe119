"""TFRecord files of tf.train.Example that appear whole or not at all."""

import contextlib
import os

import tensorflow as tf

from vim_tf.storage.digests import digest_of_file
from vim_tf.storage.files import whole_file


class RecordFileWriter:
    """Context manager that writes one compressed file; a second attempt at the same file replaces it.

    Args:
        path: str, ending in .tfrecord.gz.
        compression_level: int in [0, 9]; 0 for content that is already compressed.

    Attributes:
        num_examples: int, written so far.
        sha256: str, of the file, once it is closed.
    """

    def __init__(self, path, compression_level=6):
        self.path = path
        self.num_examples = 0
        self.sha256 = None
        self._compression_level = compression_level
        self._writer = None
        self._open = None

    def __enter__(self):
        self._open = self._opened()
        self._open.__enter__()
        return self

    @contextlib.contextmanager
    def _opened(self):
        options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=self._compression_level)
        with whole_file(self.path) as unfinished:
            with tf.io.TFRecordWriter(unfinished, options) as self._writer:
                yield
            self.sha256 = digest_of_file(unfinished)

    def write_features(self, features):
        """Adds an example.

        Args:
            features: dict from name to bytes or int.
        """
        features = {name: _feature(value) for name, value in features.items()}
        example = tf.train.Example(features=tf.train.Features(feature=features))
        self._writer.write(example.SerializeToString(deterministic=True))
        self.num_examples += 1

    def entry(self):
        """The manifest's entry for the closed file: its name, num_examples and sha256."""
        return {"file": os.path.basename(self.path), "num_examples": self.num_examples, "sha256": self.sha256}

    def __exit__(self, error_type, error, traceback):
        return self._open.__exit__(error_type, error, traceback)


def _feature(value):
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
