"""Random views of an image."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from vim_tf.data import augmentation
from vim_tf.data.images.fit import fit_image


def views(augment, image, count):
    """uint8 [count, height, width, 3]: what the seeds (0, 0), (0, 1) ... make of an image."""

    def all_views(seeds):
        return tf.map_fn(lambda seed: augment(image, seed), seeds, fn_output_signature=tf.uint8)

    image = tf.constant(image)
    return tf.function(all_views)(np.stack([np.zeros(count), np.arange(count)], 1).astype(np.int64)).numpy()


def numbered(height, width):
    """An image whose level 16 * row + 2 * column shows the position, in three channels that differ."""
    levels = 16 * np.arange(height)[:, None] + 2 * np.arange(width)
    return np.stack([levels, levels + 64, levels + 128], axis=-1).astype(np.uint8)


def counts_of(found, candidates):
    """How often each candidate was found; nothing else may be."""
    hits = np.array([[np.array_equal(view, candidate) for candidate in candidates] for view in found])
    assert hits.sum(1).tolist() == [1] * len(found)
    return hits.sum(0)


def assert_even(counts):
    assert stats.chisquare(counts).pvalue > 0.01


def area(image, height, width):
    """The definition of a resize by area, in float64."""

    def shares(length, count):
        edges = np.arange(count + 1) * length / count
        pixels = np.arange(length)
        return np.clip(np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels), 0, None)

    rows, columns = shares(image.shape[0], height), shares(image.shape[1], width)
    sums = np.einsum("yh,xw,hwc->yxc", rows, columns, image.astype(np.float64))
    return sums / (rows.sum(1)[:, None, None] * columns.sum(1)[None, :, None])


def test_the_square_crop_lies_evenly_over_the_image_and_blocks_become_their_means():
    image = numbered(4, 6)
    # The crop has 4 x 4 pixels and its scale is 1, so that each pixel of the view is the mean of 2 x 2.
    augment = augmentation.RandomSquare(2, 2, 1.0, 1.0, flip=False)
    candidates = []
    for left in range(3):
        blocks = image[:, left : left + 4].reshape(2, 2, 2, 2, 3)
        candidates.append(blocks.mean(axis=(1, 3)))
    assert candidates[0][0, 0].tolist() == [9, 73, 137]  # (0 + 2 + 16 + 18) / 4
    assert_even(counts_of(views(augment, image, 600), candidates))


def test_the_last_crop_lies_evenly_over_the_resized_image():
    image = numbered(4, 4)
    augment = augmentation.RandomSquare(2, 2, 2.0, 2.0, flip=False)  # resized to 4 x 4: unchanged
    candidates = [image[row : row + 2, column : column + 2] for row in range(3) for column in range(3)]
    assert_even(counts_of(views(augment, image, 900), candidates))


def test_both_crops_and_the_flip_are_independent():
    image = numbered(3, 4)
    augment = augmentation.RandomSquare(2, 2, 1.5, 1.5, flip=True)  # 3 x 3 of the image, then 2 x 2 of that
    found = views(augment, image, 1600)
    places = {}
    for left in range(2):
        for row in range(2):
            for column in range(2):
                crop = image[row : row + 2, left + column : left + column + 2]
                for flipped in (crop, crop[:, ::-1]):
                    places.setdefault(flipped.tobytes(), [0, 0])[0] += 1
    for view in found:
        places[view.tobytes()][1] += 1
    ways, counts = np.array(list(places.values())).T
    assert ways.sum() == 16
    assert stats.chisquare(counts, ways * 100).pvalue > 0.01


def heights_of(found, slope):
    """Heights after the resize, told by how steep a ramp of `slope` levels along the image's width has become."""
    return np.round(3 * slope / (found[:, 0, 3, 0].astype(int) - found[:, 0, 0, 0])).astype(int)


def test_the_scale_is_uniform_over_whole_pixels():
    image = np.repeat(np.broadcast_to(20 * np.arange(12)[:, None], (12, 12, 1)), 3, axis=-1).astype(np.uint8)
    augment = augmentation.RandomSquare(4, 4, 1.5, 2.5, flip=False)
    heights = heights_of(views(augment, image, 1000), 20 * 12)
    counts = np.bincount(heights, minlength=11)
    assert counts[:6].sum() == 0
    assert_even(counts[6:])  # 4 * 1.5 = 6 to 4 * 2.5 = 10


def test_the_scale_is_at_most_that_of_the_crop():
    ramp = 30 * np.arange(7)
    augment = augmentation.RandomSquare(4, 4, 1.5, 2.5, flip=False)
    for side, expected in ((7, {6, 7}), (5, {5})):
        image = np.repeat(np.broadcast_to(ramp[:side, None], (side, side, 1)), 3, axis=-1).astype(np.uint8)
        assert set(heights_of(views(augment, image, 60), 30 * side)) == expected


def test_a_small_image_is_enlarged_to_the_models_size_as_in_encoding():
    image = numbered(3, 3)
    found = views(augmentation.RandomSquare(4, 4, 1.5, 2.5, flip=False), image, 5)
    np.testing.assert_array_equal(found, [fit_image(image, 4, 4)] * 5)


def test_an_image_of_the_models_size_stays_as_it_is():
    image = numbered(6, 6)
    found = views(augmentation.RandomSquare(6, 6, 1.125, 1.5, flip=False), image, 5)
    np.testing.assert_array_equal(found, [image] * 5)


def test_resizing_by_area_weighs_pixels_by_the_part_that_lies_inside():
    image = np.random.default_rng(0).integers(0, 256, (11, 11, 3), dtype=np.uint8)
    scaled = area(image, 7, 7)
    windows = np.stack([scaled[row : row + 5, column : column + 5] for row in range(3) for column in range(3)])
    for view in views(augmentation.RandomSquare(5, 5, 1.4, 1.4, flip=False), image, 30):
        errors = np.abs(windows - view).max(axis=(1, 2, 3))
        assert errors.min() < 0.501
        assert np.sort(errors)[1] > 20


def test_crops_have_the_aspect_ratio_of_the_model():
    image = numbered(4, 6)
    augment = augmentation.RandomSquare(2, 4, 1.5, 1.5, flip=False)  # crops of 3 x 6, which stay so
    candidates = [
        image[top : top + 2, column : column + 4] for top in range(3) for column in range(3)
    ]  # rows 0-2 or 1-3, then two of these three
    counts = counts_of(views(augment, image, 800), candidates).reshape(3, 3).sum(1)
    assert stats.chisquare(counts, [200, 400, 200]).pvalue > 0.01


def test_the_flip_reverses_the_columns_of_every_second_view():
    image = numbered(5, 6)
    plain, flipped = (views(augmentation.RandomSquare(3, 3, 1.0, 1.5, flip), image, 400) for flip in (False, True))
    is_flipped = np.array([not np.array_equal(a, b) for a, b in zip(plain, flipped, strict=True)])
    np.testing.assert_array_equal(flipped[is_flipped], plain[is_flipped][:, :, ::-1])
    assert stats.binomtest(int(is_flipped.sum()), 400).pvalue > 0.01


def test_flip_alone_changes_nothing_else():
    image = numbered(3, 4)
    assert_even(counts_of(views(augmentation.Flip(), image, 400), [image, image[:, ::-1]]))


def test_a_view_is_a_function_of_the_seed():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    augment = augmentation.RandomSquare(16, 16, 1.125, 1.5, flip=True)
    found = views(augment, image, 20)
    np.testing.assert_array_equal(found, views(augment, image, 20))
    np.testing.assert_array_equal(augment(image, tf.constant([0, 3], tf.int64)), found[3])
    assert len({view.tobytes() for view in found}) == 20


def test_views_stay_the_same_from_version_to_version():
    found = views(augmentation.RandomSquare(2, 2, 1.0, 2.0, flip=True), numbered(4, 6), 4)
    assert found[:, 0, :, 0].tolist() == [[11, 15], [8, 11], [2, 4], [31, 33]]


@pytest.mark.parametrize(
    ("crop", "flip", "kind", "takes_original"),
    [
        ("center", True, augmentation.Flip, False),
        ("random_square", False, augmentation.RandomSquare, True),
        ("random_square", True, augmentation.RandomSquare, True),
    ],
)
def test_names_make_their_augmentation(crop, flip, kind, takes_original):
    augment = augmentation.make_augment(crop, 8, 4, 1.125, 1.5, flip)
    assert isinstance(augment, kind)
    assert augment.takes_original is takes_original


def test_the_centre_without_flip_needs_no_augmentation():
    assert augmentation.make_augment("center", 8, 8, 1.125, 1.5, False) is None


def test_the_scales_are_rounded_to_pixels_as_in_the_paper():
    augment = augmentation.make_augment("random_square", 256, 256, 1.125, 1.5, True)
    assert (augment.min_height, augment.max_height) == (288, 384)
