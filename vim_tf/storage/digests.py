"""Digests of values, arrays and files, and pseudo-random integers derived from a key.

They are stored in files and compared across versions, so what goes into a digest must not change.
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
    """sha256 of the concatenation of several pieces of bytes: str, hexadecimal."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def short_digest(parts, num_bytes):
    """blake2b of the concatenation of several pieces, short for storing many digests: bytes [num_bytes].

    Args:
        parts: iterable of bytes, or of arrays, which are hashed as they are laid out in memory.
        num_bytes: int in [1, 64].
    """
    found = hashlib.blake2b(digest_size=num_bytes)
    for part in parts:
        found.update(part)
    return found.digest()


def file_parts(path):
    """Yields the bytes of a file in blocks."""
    import tensorflow as tf  # takes seconds to load; processes that only draw images don't need it

    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def array_parts(values, name=""):
    """Yields the bytes that represent an array in a digest: a line with its name, dtype and shape, then its values.

    Args:
        values: array, or a number.
        name: str; empty leaves the name out.
    """
    values = np.ascontiguousarray(values)
    yield f"{f'{name} ' if name else ''}{values.dtype.str} {values.shape}\n".encode()
    yield values.tobytes()


def integers(key, count):
    """Integers in [0, 2**64), uniform over keys and always the same for one key: list of int.

    Args:
        key: bytes.
        count: int in [1, 4].
    """
    found = hashlib.sha256(key).digest()
    return [int.from_bytes(found[8 * index : 8 * index + 8], "big") for index in range(count)]
