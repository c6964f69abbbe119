"""Files and folders that appear whole or not at all."""

import contextlib
import os
import re
import socket
import uuid

import tensorflow as tf
from absl import logging

from vim_tf.errors import InputError, one_line

# What TensorFlow raises; UnicodeDecodeError if its message quotes bytes of a file that aren't text.
FAILURES = (tf.errors.OpError, UnicodeDecodeError)
# Suffixes of unfinished files and folders, and of a folder that is about to be replaced.
_UNFINISHED = ".tmp"
_BEFORE = ".tmp-before"


def message_of(error):
    """str: the message of one of `FAILURES`."""
    return error.object.decode("utf-8", "backslashreplace") if isinstance(error, UnicodeDecodeError) else error.message


@contextlib.contextmanager
def whole_file(path):
    """Context manager for writing a file that appears whole or not at all.

    The block writes to the temporary path that it is given. When the block is done, that file is renamed to `path` and
    replaces what was there; after an error it is removed, and `path` is left as it was.

    Args:
        path: str; its folder is created if needed.

    Yields:
        str, a path next to `path` that no other process, on any machine, writes to at the same time.
    """
    tf.io.gfile.makedirs(os.path.dirname(path) or ".")
    unfinished = _unfinished_path(path)
    try:
        yield unfinished
        tf.io.gfile.rename(unfinished, path, overwrite=True)
    except BaseException:
        # The original error says more than one from the removal, such as that the file doesn't exist yet.
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(unfinished)
        raise


def write_whole(path, content):
    """Writes a file that appears whole or not at all.

    Args:
        path: str; its folder is created if needed.
        content: str or bytes.
    """
    with whole_file(path) as unfinished, tf.io.gfile.GFile(unfinished, "wb") as file:
        file.write(content)


def remove_unfinished(folder):
    """Removes the unfinished files that killed processes left in a folder; no process may be writing there."""
    for path in tf.io.gfile.glob(f"{folder}/*{_UNFINISHED}-*"):
        tf.io.gfile.remove(path)


@contextlib.contextmanager
def whole_folder(folder):
    """Context manager for writing a folder that appears whole or not at all; only one process may write it.

    The block creates a folder at the temporary path that it is given. When the block is done, that folder is renamed to
    `folder`, and only then is what was there removed. After an error the new folder is removed, and `folder` is left as
    it was. The next process cleans up what a killed one left.

    Args:
        folder: str; a trailing slash is ignored.

    Yields:
        str, a path next to `folder` that doesn't exist yet.
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
    """Restores the folder if `whole_folder` was killed after moving it aside and before replacing it."""
    before = f"{folder}{_BEFORE}"
    if not tf.io.gfile.exists(before):
        return
    if tf.io.gfile.exists(folder):
        _remove_folder(before)
    else:
        tf.io.gfile.rename(before, folder)


def _remove_folder(folder):
    # Of a link to a folder, remove only the link: its target may have other users.
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
    """Refuses an output folder that can't be created, without creating it: for the start, before other checks.

    Args:
        folder, flag, names: as in `check_writable`.

    Raises:
        InputError: it can't be created or written to, or one of the names is a folder.
    """
    existing = folder
    # Buckets have no folders to check.
    while "://" not in existing and not tf.io.gfile.exists(existing):
        existing = os.path.dirname(existing.rstrip("/")) or "."
    if "://" not in existing:
        _try_to_write(existing, folder, flag)
    _check_names(folder, flag, names)


def check_writable(folder, flag="output", names=()):
    """Creates a command's output folder before the work starts, so that its results are sure to have somewhere to go.

    Args:
        folder: str.
        flag: str, the flag that sets it.
        names: names of the files that will be written there.

    Raises:
        InputError: it can't be created or written to, or one of the names is a folder.
    """
    try:
        tf.io.gfile.makedirs(folder)
    except tf.errors.OpError as error:
        raise InputError(f"--{flag}={folder} can't be written: {one_line(error)}") from error
    _try_to_write(folder, folder, flag)
    _check_names(folder, flag, names)


def _try_to_write(existing, folder, flag):
    # Other processes may do the same in the same folder.
    path = _unfinished_path(f"{existing}/.writable")
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
    """Removes files that an earlier call of the same command wrote to a folder.

    Args:
        folder: str.
        pattern: str, regular expression that matches whole names.
        keep: set of names to keep.

    Returns:
        int, number of files removed.
    """
    found = [name for name in tf.io.gfile.listdir(folder) if re.fullmatch(pattern, name) and name not in keep]
    for name in found:
        tf.io.gfile.remove(f"{folder}/{name}")
    return len(found)


def walk(folder):
    """Yields (path, names of sub-folders, names of files) of a folder and of every folder below it that isn't hidden.

    Links to folders are followed, and each real folder is entered once: by its own path if that is below the folder, so
    a link that leads back adds nothing. A broken link counts as a file.

    Args:
        folder: str; a remote one has no links. If it doesn't exist, nothing is yielded.

    Raises:
        InputError: a name below the folder isn't UTF-8, or a folder can't be listed.
    """
    try:
        yield from _walk_remote(folder) if "://" in folder else _walk_local(folder)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{folder} holds a file or folder whose name isn't UTF-8 ({error.object!r}): rename it"
        ) from error
    except OSError as error:
        raise InputError(f"{error.filename} can't be listed: {error.strerror}") from error


def _walk_remote(folder):
    for parent, folders, names in tf.io.gfile.walk(folder):
        if not any(part.startswith(".") for part in parent[len(folder) :].split("/")):
            yield parent, [name.rstrip("/") for name in folders if not name.startswith(".")], names


def _walk_local(folder):
    entered, links = set(), [folder] if os.path.isdir(folder) else []
    # Links come last, and then only lead to folders that weren't reached in any other way.
    while links:
        link = links.pop(0)
        if os.path.realpath(link) in entered:
            logging.warning("skipped %s: it links to %s, which has been read already", link, os.path.realpath(link))
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
    """Why a path that a folder lists isn't a file: str; empty if it is one, or is remote."""
    if "://" in path or os.path.isfile(path):
        return ""
    if os.path.islink(path):
        return f"a broken link to {os.readlink(path)}"
    return "not a regular file"


def glob(pattern):
    """Sorted paths of the files that a pattern matches, after expanding {000..099} and {a,b} into several patterns.

    Raises:
        InputError: one of several patterns has no match.
    """
    patterns = expand_braces(pattern)
    found = [[path for path in tf.io.gfile.glob(each) if not tf.io.gfile.isdir(path)] for each in patterns]
    missing = [each for each, paths in zip(patterns, found, strict=True) if not paths]
    if missing and len(missing) < len(patterns):
        raise InputError(f"{pattern}: {len(missing)} of {len(patterns)} files are missing, such as {missing[0]}")
    return sorted({path for paths in found for path in paths})


def expand_braces(pattern):
    """Expands the braces of a pattern, as shells and WebDataset do: list of str.

    {8..11} and {a,b} are expanded, {008..011} with its zeros; {split} and the like are left as they are.
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
