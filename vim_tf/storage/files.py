"""Files and folders that appear whole or not at all."""

import contextlib
import os
import re
import socket
import uuid

import tensorflow as tf
from absl import logging

from vim_tf.errors import InputError, one_line

# What TensorFlow raises; the latter where its message quotes bytes of a file that are no text.
FAILURES = (tf.errors.OpError, UnicodeDecodeError)
# Endings of what is not finished yet, and of a folder that is about to be replaced.
_UNFINISHED = ".tmp"
_BEFORE = ".tmp-before"


def message_of(error):
    """str: what one of `FAILURES` says."""
    return error.object.decode("utf-8", "backslashreplace") if isinstance(error, UnicodeDecodeError) else error.message


@contextlib.contextmanager
def whole_file(path):
    """Context manager for a file that is there whole or not at all.

    The block writes to the path that it is given. That file moves to `path`, where it replaces what was there, once the
    block is done; after an error it is removed, and `path` is left as it was.

    Args:
        path: str; its folder is made if need be.

    Yields:
        str, a path next to it that no other process, on any machine, writes to at the same time.
    """
    tf.io.gfile.makedirs(os.path.dirname(path) or ".")
    unfinished = _unfinished_path(path)
    try:
        yield unfinished
        tf.io.gfile.rename(unfinished, path, overwrite=True)
    except BaseException:
        # The error that is on its way says more than one of the removal, such as that there is no such file yet.
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(unfinished)
        raise


def write_whole(path, content):
    """Writes a file that is there whole or not at all.

    Args:
        path: str; its folder is made if need be.
        content: str or bytes.
    """
    with whole_file(path) as unfinished, tf.io.gfile.GFile(unfinished, "wb") as file:
        file.write(content)


def remove_unfinished(folder):
    """Removes what killed processes left of files in a folder; no process may be writing there."""
    for path in tf.io.gfile.glob(f"{folder}/*{_UNFINISHED}-*"):
        tf.io.gfile.remove(path)


@contextlib.contextmanager
def whole_folder(folder):
    """Context manager for a folder that is there whole or not at all; only one process may write it.

    The block makes the folder that it is given, which moves to `folder` once the block is done; what was there is
    removed only then. After an error the new folder is removed, and `folder` is left as it was. What a killed process
    left of either is cleared away by the next one.

    Args:
        folder: str; a slash at its end is passed over.

    Yields:
        str, a path next to it where there is nothing yet.
    """
    folder = folder.rstrip("/")
    unfinished = f"{folder}{_UNFINISHED}"
    restore_folder(folder)
    if tf.io.gfile.exists(unfinished):
        _remove_folder(unfinished)
    try:
        yield unfinished
        if tf.io.gfile.isdir(folder):
            tf.io.gfile.rename(folder, f"{folder}{_BEFORE}")
        tf.io.gfile.rename(unfinished, folder)
        restore_folder(folder)
    except BaseException:
        with contextlib.suppress(tf.errors.OpError):
            restore_folder(folder)
        with contextlib.suppress(tf.errors.OpError):
            _remove_folder(unfinished)
        raise


def restore_folder(folder):
    """Brings back the folder that a kill took away in `whole_folder`, just before a new one could replace it."""
    before = f"{folder}{_BEFORE}"
    if not tf.io.gfile.exists(before):
        return
    if tf.io.gfile.exists(folder):
        _remove_folder(before)
    else:
        tf.io.gfile.rename(before, folder)


def _remove_folder(folder):
    # Of a link to a folder only the link: what it leads to may have other users.
    if os.path.islink(folder):
        tf.io.gfile.remove(folder)
    else:
        tf.io.gfile.rmtree(folder)


def _unfinished_path(path):
    return f"{path}{_UNFINISHED}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


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
        raise InputError(f"--{flag}={folder} can't be written: {one_line(error)}") from error
    _try_to_write(folder, folder, flag)
    _check_names(folder, flag, names)


def _try_to_write(place, folder, flag):
    # Other processes may do the same in the same folder.
    path = _unfinished_path(f"{place}/.writable")
    try:
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(b"")
        tf.io.gfile.remove(path)
    except tf.errors.OpError as error:
        raise InputError(f"--{flag}={folder} can't be written: {one_line(error)}") from error


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
    """Yields (path, names of sub-folders, names of files) of a folder and of all below it that isn't hidden.

    Links to folders are followed, and each real folder is entered once: by its own path where that lies below the
    folder, so that a link that leads back adds nothing. A link that leads nowhere counts as a file.

    Args:
        folder: str; a remote one has no links. Of one that isn't there nothing is yielded.

    Raises:
        InputError: a name below the folder is not UTF-8, or a folder can't be listed.
    """
    try:
        yield from _walk_remote(folder) if "://" in folder else _walk_local(folder)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{folder} holds a file or folder whose name is not UTF-8 ({error.object!r}): rename it"
        ) from error
    except OSError as error:
        raise InputError(f"{error.filename} can't be listed: {error.strerror}") from error


def _walk_remote(folder):
    for parent, folders, names in tf.io.gfile.walk(folder):
        if not any(part.startswith(".") for part in parent[len(folder) :].split("/")):
            yield parent, [name.rstrip("/") for name in folders if not name.startswith(".")], names


def _walk_local(folder):
    entered, links = set(), [folder] if os.path.isdir(folder) else []
    # Links come last: of the folders that they lead to, those are left that no other way leads to.
    while links:
        link = links.pop(0)
        if os.path.realpath(link) in entered:
            logging.warning("passed over %s: it leads to %s, which was read already", link, os.path.realpath(link))
            continue
        waiting = [link]
        while waiting:
            parent = waiting.pop(0)
            if os.path.realpath(parent) in entered:
                continue
            entered.add(os.path.realpath(parent))
            folders, linked, names = _list_local(parent)
            waiting += [os.path.join(parent, name) for name in folders]
            links += [os.path.join(parent, name) for name in linked]
            yield parent, sorted(folders + linked), names


def _list_local(folder):
    """Sorted names of the folders in a folder, of the links to folders and of the files; no hidden folders."""
    folders, linked, names = [], [], []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            os.fsencode(entry.name).decode()
            if not os.path.isdir(entry.path):
                names.append(entry.name)
            elif not entry.name.startswith("."):
                (linked if entry.is_symlink() else folders).append(entry.name)
    return folders, linked, names


def link_problem(path):
    """Why there is no file at a path that a folder lists: str; empty = there is, or it is remote."""
    if "://" in path or os.path.isfile(path):
        return ""
    if os.path.islink(path):
        return f"a link to {os.readlink(path)}, where there is nothing"
    return "no regular file"


def glob(pattern):
    """Sorted paths of the files that a pattern matches, in which {000..099} and {a,b} stand for several patterns.

    Raises:
        InputError: one of several has no match.
    """
    patterns = expand_braces(pattern)
    found = [[path for path in tf.io.gfile.glob(each) if not tf.io.gfile.isdir(path)] for each in patterns]
    missing = [each for each, paths in zip(patterns, found, strict=True) if not paths]
    if missing and len(missing) < len(patterns):
        raise InputError(f"{pattern}: {len(missing)} of {len(patterns)} files aren't there, such as {missing[0]}")
    return sorted({path for paths in found for path in paths})


def expand_braces(pattern):
    """The patterns that one with braces stands for, as shells and WebDataset write them: list of str.

    {8..11} and {a,b} are expanded, {008..011} with the zeros; {split} and the like stay.
    """
    match = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}", pattern)
    if not match:
        return [pattern]
    first, last, choices = match.groups()
    if choices is None:
        width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 1
        step = 1 if int(first) <= int(last) else -1
        parts = [str(number).zfill(width) for number in range(int(first), int(last) + step, step)]
    else:
        parts = choices.split(",")
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [head + part + rest for part in parts for rest in expand_braces(tail)]
