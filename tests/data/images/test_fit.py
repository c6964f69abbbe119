"""Cropping and resizing against Pillow."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vim_tf.data.images.fit import fit_image


def fitted(image, height, width):
    return fit_image(tf.constant(np.asarray(image)), height, width).numpy()


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [
        (20, 20, (5, 0, 45, 40)),  # left, top, right, bottom of the crop from 50 x 40
        (10, 30, (0, 11, 50, 28)),  # 50 / 3 = 16.7 rows
        (30, 10, (18, 0, 31, 40)),  # 40 / 3 = 13.3 columns
        (64, 80, (0, 0, 50, 40)),
    ],
)
def test_fit_image_crops_the_centre_and_resizes_as_pillow_does(height, width, box, pictures):
    expected = pictures.rgb.crop(box).resize((width, height), Image.Resampling.BICUBIC)
    result = fitted(pictures.rgb, height, width)
    assert result.shape == (height, width, 3)
    assert np.abs(result.astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_fit_image_averages_what_it_shrinks():
    checkers = np.indices((64, 64)).sum(0) % 2 * 255
    result = fitted(np.repeat(checkers[..., None], 3, -1).astype(np.uint8), 8, 8)
    assert np.abs(result.astype(int) - 127.5).max() < 2


def test_fit_image_leaves_an_image_of_the_wanted_size_as_it_is(pictures):
    np.testing.assert_array_equal(fitted(pictures.rgb, 40, 50), np.asarray(pictures.rgb))


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 3)])
def test_fit_image_takes_any_size(size):
    result = fitted(np.full((*size, 3), 77, np.uint8), 16, 24)
    np.testing.assert_array_equal(result, np.full((16, 24, 3), 77))
