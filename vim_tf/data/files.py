"""Files that appear whole or not at all."""

import hashlib
import os
import socket
import uuid

import tensorflow as tf


def temporary_path(path):
    """A name beside `path` that no other process, on any machine, writes to at the same time."""
    return f"{path}.tmp-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def write_whole(path, content):
    """Writes a file that is there whole or not at all.

    Args:
        path: str; its folder is made if need be.
        content: str or bytes.
    """
    tf.io.gfile.makedirs(os.path.dirname(path) or ".")
    temporary = temporary_path(path)
    with tf.io.gfile.GFile(temporary, "wb") as file:
        file.write(content)
    tf.io.gfile.rename(temporary, path, overwrite=True)


def sha256_of(path):
    """sha256 of a file: str, hexadecimal."""
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
