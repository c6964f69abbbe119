"""uint8 to float and back."""

import numpy as np
import tensorflow as tf

from vim_tf.data.images.pixels import encode_png, to_float, to_uint8


def test_to_float_and_to_uint8_give_every_level_back():
    levels = np.arange(256, dtype=np.uint8)
    floats = to_float(levels).numpy()
    assert floats.dtype == np.float32
    assert (floats.min(), floats.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(to_uint8(floats), levels)


def test_to_uint8_clips_and_rounds():
    values = tf.constant([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1.0, 7.0])
    np.testing.assert_array_equal(to_uint8(values), [0, 0, 0, 1, 254, 255, 255])


def test_encode_png_keeps_every_pixel(pictures, decode):
    np.testing.assert_array_equal(decode(encode_png(np.asarray(pictures.rgb))), np.asarray(pictures.rgb))
