"""Digests of values, arrays and files, and numbers that depend on a key.

Files keep them and compare them with those of other versions: what goes into one must not change.
"""

import hashlib
import json

import numpy as np

_BLOCK_BYTES = 1 << 20


def digest(value):
    """sha256 of a JSON value, hexadecimal."""
    return digest_of_parts([json.dumps(value, sort_keys=True).encode()])


def digest_of_file(path):
    """sha256 of a file: str, hexadecimal."""
    return digest_of_parts(file_parts(path))


def digest_of_parts(parts):
    """sha256 of bytes that come in pieces, one behind the other: str, hexadecimal."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def short_digest(parts, num_bytes):
    """blake2b of bytes that come in pieces, for where many digests are kept: bytes [num_bytes].

    Args:
        parts: iterable of bytes, or of arrays whose values count as they are in memory.
        num_bytes: int in [1, 64].
    """
    found = hashlib.blake2b(digest_size=num_bytes)
    for part in parts:
        found.update(part)
    return found.digest()


def file_parts(path):
    """Yields the bytes of a file in blocks."""
    import tensorflow as tf  # takes seconds to load, which processes that only draw images do without

    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def array_parts(values, name=""):
    """Yields the bytes that stand for an array in a digest: a line of its name, dtype and shape, then its values.

    Args:
        values: array, or a number.
        name: str; empty: the line has none.
    """
    values = np.ascontiguousarray(values)
    yield f"{f'{name} ' if name else ''}{values.dtype.str} {values.shape}\n".encode()
    yield values.tobytes()


def integers(key, count):
    """Integers in [0, 2**64), uniform over keys; always the same for a key: list of int.

    Args:
        key: bytes.
        count: int in [1, 4].
    """
    found = hashlib.sha256(key).digest()
    return [int.from_bytes(found[8 * index : 8 * index + 8], "big") for index in range(count)]
