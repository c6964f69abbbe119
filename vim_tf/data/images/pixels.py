"""Pixel values: the only place where uint8 becomes float and back."""

import tensorflow as tf


def to_float(images):
    """uint8 of any shape to float32 in [0, 1]."""
    return tf.cast(images, tf.float32) / 255.0


def to_uint8(images):
    """float32 of any shape to uint8: [0, 1] becomes 0..255, rounded; values outside are clipped."""
    return round_to_uint8(tf.cast(images, tf.float32) * 255.0)


def round_to_uint8(values):
    """float32 in levels 0..255 to uint8: rounded, half to even; values outside are clipped."""
    return tf.cast(tf.round(tf.clip_by_value(values, 0.0, 255.0)), tf.uint8)


def encode_png(image):
    """PNG file of an image.

    Args:
        image: uint8 [height, width, 3], array or tensor.

    Returns:
        bytes.
    """
    return tf.io.encode_png(image).numpy()
