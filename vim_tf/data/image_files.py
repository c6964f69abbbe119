"""Single image files that a user names."""

import os

import tensorflow as tf

from vim_tf.data import ingestion
from vim_tf.data.files import read_file
from vim_tf.errors import InputError


def read_image(path, height, width, max_pixels):
    """An image file of any format that image sources take, fitted to a model's size.

    Args:
        path: str.
        height, width: int, pixels.
        max_pixels: int, as in `preprocessing.decode_image`.

    Returns:
        uint8 numpy array [height, width, 3].

    Raises:
        InputError: it is missing or no image.
    """
    try:
        if not tf.io.gfile.exists(path):
            raise InputError(f"there is no image {path}")
    except tf.errors.OpError as error:
        raise InputError(f"{path} can't be read: {error.message}") from error
    decode = ingestion.compiled_decoder(height, width, max_pixels)
    decoded = ingestion.decode_once(lambda: read_file(path), lambda data: decode(tf.constant(data)).numpy(), max_pixels)
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
