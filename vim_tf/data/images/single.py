"""Image files that a user names individually."""

import os

import tensorflow as tf

from vim_tf.data.images import examination
from vim_tf.data.sources.folder import is_side_file
from vim_tf.errors import InputError, one_line
from vim_tf.storage.files import read_file, walk

# A name consists of at most this many parts, so it has fewer commas.
_MAX_PARTS = 8


def find_images(parts):
    """Files named in a comma-separated list, individually or by their folder.

    Args:
        parts: sequence of str, the text between the commas. A name that contains commas is joined again, so that each
            name is that of an existing file or folder; if there are several ways to do so, shorter names win.

    Returns:
        list of str; the files of a folder are sorted, without those that commonly accompany images.

    Raises:
        InputError: there is no such file or folder, or no image in a folder.
    """
    # From the end, so that at each position it is known how the rest can be split.
    names_from = {len(parts): []}
    for start in reversed(range(len(parts))):
        for end in range(start + 1, min(start + _MAX_PARTS, len(parts)) + 1):
            name = _existing(parts[start:end]) if end in names_from else None
            if name:
                names_from[start] = [name, *names_from[end]]
                break
    if 0 not in names_from:
        raise InputError(f"there is no image {next(part for part in parts if not _existing([part]))}")
    return [path for name in names_from[0] for path in _files_of(name)]


def _existing(parts):
    """The name of these parts, with or without spaces after its commas; None if there is no such file or folder."""
    for name in dict.fromkeys((",".join(parts), ", ".join(parts))):
        try:
            if tf.io.gfile.exists(name):
                return name
        except tf.errors.OpError as error:
            raise InputError(f"{name} can't be read: {one_line(error)}") from error
    return None


def _files_of(name):
    """The file itself, or those in and below the folder."""
    if not tf.io.gfile.isdir(name):
        return [name]
    paths = [
        f"{parent.rstrip('/')}/{file}" for parent, _, files in walk(name) for file in files if not is_side_file(file)
    ]
    if not paths:
        raise InputError(f"there is no image in the folder {name}")
    return sorted(paths)


def read_image(path, height, width, max_pixels):
    """An image file of any format that image sources take, fitted to a model's size.

    Args:
        path: str, one of `find_images`.
        height, width: int, pixels.
        max_pixels: int, as in `decode_image`.

    Returns:
        uint8 numpy array [height, width, 3].

    Raises:
        InputError: it isn't an image.
    """
    decode = examination.compiled_decoder(height, width, max_pixels)
    decoded = examination.decode_once(
        lambda: read_file(path), lambda data: decode(tf.constant(data)).numpy(), max_pixels
    )
    if decoded.problem is not None:
        raise InputError(f"{path} can't be decoded as an image: {decoded.problem}")
    return decoded.value


def result_names(paths):
    """Names of the results of image files: the files' own, without folder and ending.

    Raises:
        InputError: two are the same.
    """
    names = {}
    for path in paths:
        name = os.path.splitext(os.path.basename(path))[0]
        if name in names:
            raise InputError(
                f"--images: the results of {names[name]} and {path} would both be called {name}; give them in two "
                "calls with an --output each"
            )
        names[name] = path
    return list(names)
