"""Files that appear whole or not at all."""

import hashlib
import os
import re
import socket
import uuid

import tensorflow as tf

from vim_tf.errors import InputError

# What TensorFlow raises; the latter where its message quotes bytes of a file that are no text.
FAILURES = (tf.errors.OpError, UnicodeDecodeError)


def reason_of(error):
    """str: what one of `FAILURES` says, in one line."""
    if isinstance(error, UnicodeDecodeError):
        return " ".join(error.object.decode("utf-8", "backslashreplace").split())
    return " ".join(error.message.split())


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


def read_file(path):
    """Bytes of a file."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def check_place(folder, flag="output", names=()):
    """Refuses an output folder that can't be made, and makes nothing: for the very start, when all else is unchecked.

    Args:
        folder, flag, names: as in `check_writable`.

    Raises:
        InputError: it can't be made or written to, or one of the names is a folder's.
    """
    place = folder
    # Buckets have no folders that could be looked at.
    while "://" not in place and not tf.io.gfile.exists(place):
        place = os.path.dirname(place.rstrip("/")) or "."
    if "://" not in place:
        _try_to_write(place, folder, flag)
    _check_names(folder, flag, names)


def check_writable(folder, flag="output", names=()):
    """Makes a command's output folder, before the work, whose results would else have no place to go.

    Args:
        folder: str.
        flag: str, the flag that gives it.
        names: of the files that will be written there.

    Raises:
        InputError: it can't be made or written to, or one of the names is a folder's.
    """
    try:
        tf.io.gfile.makedirs(folder)
    except tf.errors.OpError as error:
        raise InputError(f"--{flag}={folder} can't be written: {error.message}") from error
    _try_to_write(folder, folder, flag)
    _check_names(folder, flag, names)


def _try_to_write(place, folder, flag):
    # Other processes may do the same in the same folder.
    path = temporary_path(f"{place}/.writable")
    try:
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(b"")
        tf.io.gfile.remove(path)
    except tf.errors.OpError as error:
        raise InputError(f"--{flag}={folder} can't be written: {error.message}") from error


def _check_names(folder, flag, names):
    for name in names:
        if tf.io.gfile.isdir(f"{folder}/{name}"):
            raise InputError(f"--{flag}={folder} holds a folder {name} where a file would be written: move it away")


def remove_files(folder, pattern, keep):
    """Removes files in a folder that an earlier call of the same command wrote.

    Args:
        folder: str.
        pattern: str, regular expression of whole names.
        keep: set of names that stay.

    Returns:
        int, number of those removed.
    """
    found = [name for name in tf.io.gfile.listdir(folder) if re.fullmatch(pattern, name) and name not in keep]
    for name in found:
        tf.io.gfile.remove(f"{folder}/{name}")
    return len(found)


def walk(folder):
    """`tf.io.gfile.walk`.

    Raises:
        InputError: a name below the folder is not UTF-8.
    """
    try:
        yield from tf.io.gfile.walk(folder)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{folder} holds a file or folder whose name is not UTF-8 ({error.object!r}): rename it"
        ) from error


def sha256_of(path):
    """sha256 of a file: str, hexadecimal."""
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
