"""The fixed views of an image."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.data import views
from vim_tf.data.images.fit import fit_image, resize_to_cover


def picture(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def views_of(kind, image, height=8, width=8, scale=1.125):
    return tf.function(views.make_views(kind, height, width, scale))(tf.constant(image)).numpy()


def test_center_makes_no_views():
    assert views.make_views("center", 8, 8, 1.125) is None


def test_flips_are_the_image_and_its_mirror_image():
    image = picture(8, 8)
    np.testing.assert_array_equal(views_of("flips", image), [image, image[:, ::-1]])


@pytest.mark.parametrize(("height", "width"), [(9, 12), (12, 9), (9, 9)])
def test_ten_crop_is_centre_and_corners_and_then_their_mirror_images(height, width):
    # The shorter side is 9/8 of the model's already, so that nothing is resized.
    image = picture(height, width)
    bottom, right = height - 8, width - 8
    places = [(bottom // 2, right // 2), (0, 0), (0, right), (bottom, 0), (bottom, right)]
    crops = np.stack([image[top : top + 8, left : left + 8] for top, left in places])
    np.testing.assert_array_equal(views_of("ten_crop", image), np.concatenate([crops, crops[:, :, ::-1]]))


def test_ten_crop_resizes_the_shorter_side_as_encoding_does():
    image = picture(18, 30)
    scaled = fit_image(image, 9, 15).numpy()
    found = views_of("ten_crop", image)
    np.testing.assert_array_equal(found[1], scaled[:8, :8])
    np.testing.assert_array_equal(found[4], scaled[1:, 7:])


def test_ten_crop_covers_images_that_are_not_square():
    # 1.5 times 4 x 8 is 6 x 12: an image of 6 x 20 stays as it is.
    image = picture(6, 20)
    found = views_of("ten_crop", image, 4, 8, 1.5)
    np.testing.assert_array_equal(found[0], image[1:5, 6:14])
    np.testing.assert_array_equal(found[4], image[2:, 12:])


def test_the_first_crop_of_a_square_at_scale_1_is_the_image_that_evaluation_sees():
    square = picture(20, 20)
    np.testing.assert_array_equal(views_of("ten_crop", square, scale=1.0)[0], fit_image(square, 8, 8))


@pytest.mark.parametrize(
    ("size", "least", "expected"),
    [
        ((10, 20), (5, 5), (5, 10)),
        ((20, 10), (5, 5), (10, 5)),
        ((10, 10), (5, 8), (8, 8)),
        ((7, 10), (3, 4), (3, 4)),  # 10 * 3 / 7 = 4.29
        ((7, 11), (3, 4), (3, 5)),  # 11 * 3 / 7 = 4.71
        ((2, 3), (8, 8), (8, 12)),
    ],
)
def test_an_image_is_resized_to_the_smallest_that_covers_the_size(size, least, expected):
    assert resize_to_cover(picture(*size), *least).shape == (*expected, 3)
