"""Single image files that a user names."""

import tensorflow as tf

from vim_tf.data import preprocessing
from vim_tf.errors import InputError


def read_image(path, height, width):
    """An image file, fitted to a model's size.

    Args:
        path: str.
        height, width: int, pixels.

    Returns:
        uint8 numpy array [height, width, 3].

    Raises:
        InputError: it is missing or no image.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return preprocessing.decode_and_fit(file.read(), height, width).numpy()
    except tf.errors.NotFoundError as error:
        raise InputError(f"there is no image {path}") from error
    except tf.errors.OpError as error:
        raise InputError(f"{path} can't be decoded as an image: {str(error).splitlines()[0]}") from error
