"""Images cropped and resized to the size of a model, in TensorFlow graph ops."""

import tensorflow as tf

from vim_tf.config import DataConfig
from vim_tf.data.images.decode import decode_image
from vim_tf.data.images.pixels import round_to_uint8

RESIZE_RULE = "largest centred crop of the wanted aspect ratio, antialiased bicubic resize, rounded to uint8"


def fit_image(image, height, width):
    """Crops and resizes as `RESIZE_RULE` says.

    Args:
        image: uint8 [h, w, 3].
        height, width: int, wanted size in pixels.

    Returns:
        uint8 [height, width, 3].
    """
    crop_height, crop_width, free_rows, free_columns = largest_crop(image, height, width)
    top, left = free_rows // 2, free_columns // 2
    image = image[top : top + crop_height, left : left + crop_width]
    resized = tf.image.resize(image, [height, width], method="bicubic", antialias=True)
    return tf.ensure_shape(round_to_uint8(resized), [height, width, 3])


def largest_crop(image, height, width):
    """The largest part of an image with the aspect ratio height : width, rounded to whole pixels, at least one.

    Args:
        image: uint8 [h, w, 3].
        height, width: int.

    Returns:
        int64 [] each: its height, its width, and how many rows and columns are left over.
    """
    shape = tf.shape(image, tf.int64)
    source_height, source_width = shape[0], shape[1]
    crop_width = tf.clip_by_value((2 * source_height * width + height) // (2 * height), 1, source_width)
    crop_height = tf.clip_by_value((2 * source_width * height + width) // (2 * width), 1, source_height)
    return crop_height, crop_width, source_height - crop_height, source_width - crop_width


def resize_to_cover(image, height, width):
    """Resizes, antialiased bicubic and with its aspect ratio, as small as it can be while it covers a given size.

    Args:
        image: uint8 [h, w, 3].
        height, width: int, least size in pixels.

    Returns:
        uint8 [h', w', 3]: h' = height and w' >= width, or h' >= height and w' = width.
    """
    shape = tf.shape(image, tf.int64)
    source_height, source_width = shape[0], shape[1]
    size = tf.where(
        source_width * height >= source_height * width,
        tf.stack([height, (2 * source_width * height + source_height) // (2 * source_height)]),
        tf.stack([(2 * source_height * width + source_width) // (2 * source_width), width]),
    )
    resized = tf.image.resize(image, tf.cast(size, tf.int32), method="bicubic", antialias=True)
    return round_to_uint8(resized)


def decode_and_fit(image_bytes, height, width, max_pixels=DataConfig.max_pixels):
    """Decodes a file to an image of the model's size: `decode_image`, then `fit_image`.

    Args:
        image_bytes, max_pixels: as in `decode_image`.
        height, width: int, pixels.

    Returns:
        uint8 [height, width, 3].
    """
    return fit_image(decode_image(image_bytes, max_pixels), height, width)
