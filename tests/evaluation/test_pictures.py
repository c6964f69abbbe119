"""Grids of images, worked out by hand on tiny images."""

import numpy as np
import pytest

from vim_tf.evaluation import pictures
from vim_tf.evaluation.pictures import GAP_COLOR


def single_pixels(*values):
    """uint8 [len(values), 1, 1, 3]."""
    return np.repeat(np.array(values, np.uint8)[:, None, None, None], 3, axis=3)


def test_enlarging_repeats_pixels():
    image = np.stack([single_pixels(1, 2)[:, 0, 0], single_pixels(3, 4)[:, 0, 0]])
    assert pictures.enlarge(image, 2)[..., 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


@pytest.mark.parametrize(
    ("height", "width", "factor"), [(16, 16, 4), (8, 8, 8), (64, 64, 1), (256, 512, 1), (28, 40, 2)]
)
def test_tiny_images_are_enlarged_and_large_ones_are_not(height, width, factor):
    assert pictures.enlargement(height, width) == factor


def test_a_grid_goes_row_by_row_and_leaves_the_rest_grey():
    grid = pictures.grid(single_pixels(1, 2, 3), num_columns=2, gap=0)
    assert grid[..., 0].tolist() == [[1, 2], [3, GAP_COLOR]]


def test_a_grid_has_a_gap_around_each_image():
    g = GAP_COLOR
    grid = pictures.grid(single_pixels(1, 2), num_columns=2, gap=2)
    assert grid[..., 0].tolist() == [[g] * 6, [g, 1, g, g, 2, g], [g] * 6]


def test_a_grid_enlarges_images_but_not_gaps():
    grid = pictures.grid(single_pixels(1), num_columns=1, gap=2, factor=2)
    assert grid.shape == (4, 4, 3)
    assert grid[1:3, 1:3].min() == grid[1:3, 1:3].max() == 1


def test_float_images_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        pictures.grid(np.zeros([1, 2, 2, 3], np.float32), 1)


def test_error_is_the_amplified_difference_and_clipped():
    triplets = pictures.side_by_side(single_pixels(10, 0, 200), single_pixels(20, 255, 190))
    assert triplets[:, 0, 0, 0].tolist() == [10, 20, 40, 0, 255, 255, 200, 190, 40]


def cells(picture, size):
    """Value of each cell of a grid of flat images."""
    step = size + 2
    return picture.image[1::step, 1::step, 0].tolist()


def flat(values, size):
    return np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), size, size, 3))


def test_reconstructions_are_below_their_images():
    rows = pictures.ReconstructionRows(max_images=3)
    rows.update(flat([10, 20], 4), flat([11, 20], 4))
    rows.update(flat([30, 40], 4), flat([30, 40], 4))
    picture = rows.picture()
    assert cells(picture, 4) == [[10, 20, 30], [11, 20, 30], [4, 0, 0]]
    assert picture.row_labels == ("input", "output", "error")


def test_wide_images_come_in_bands():
    rows = pictures.ReconstructionRows(max_images=16)
    rows.update(flat([1, 2, 3, 4, 5], 300), flat([1, 2, 3, 4, 5], 300))
    picture = rows.picture()
    assert cells(picture, 300) == [
        [1, 2, 3, 4],
        [1, 2, 3, 4],
        [0] * 4,
        [5] + [128] * 3,
        [5] + [128] * 3,
        [0] + [128] * 3,
    ]
    assert picture.row_labels == ("input", "output", "error") * 2


def test_samples_are_in_one_row_per_label_regardless_of_batches():
    rows = pictures.SampleRows(num_rows=3, row_length=4, num_columns=2)
    rows.update(np.arange(5), flat(np.arange(5), 2))
    rows.update(np.arange(5, 12), flat(np.arange(5, 12), 2))
    picture = rows.picture(["a", "b", "c"])
    assert cells(picture, 2) == [[0, 1], [4, 5], [8, 9]]
    assert picture.row_labels == ("a", "b", "c")


def test_many_labels_are_shown_in_part():
    rows = pictures.SampleRows(num_rows=100, row_length=1, num_columns=10)
    rows.update(np.arange(100), flat(np.arange(100), 2))
    picture = rows.picture([str(label) for label in range(100)])
    assert len(picture.row_labels) == 20
    assert (picture.row_labels[0], picture.row_labels[-1]) == ("0", "99")
    assert "20 of 100 labels" in picture.caption


def test_large_samples_are_shown_in_part():
    rows = pictures.SampleRows(num_rows=10, row_length=10, num_columns=10)
    rows.update(np.arange(100), flat(np.arange(100), 512))
    assert rows.picture(list("0123456789")).image.size < 3 * 4_500_000


def test_rows_get_their_text_on_the_left_and_stay_as_they_are():
    image = pictures.grid(np.zeros([3, 20, 20, 3], np.uint8), num_columns=1)
    labelled = pictures.with_row_labels(image, ["i", "", "Katzen und Hunde"])
    column = labelled[:, : -image.shape[1]]
    np.testing.assert_array_equal(labelled[:, -image.shape[1] :], image)
    first, second, third = (column[row * 22 : (row + 1) * 22] for row in range(3))
    assert first.min() < 64 and third.min() < 64
    np.testing.assert_array_equal(second, GAP_COLOR)
    # The text ends at the images: the short one leaves the left of its row free.
    np.testing.assert_array_equal(first[:, : column.shape[1] // 2], GAP_COLOR)


def test_a_long_text_is_cut_and_letters_of_any_script_are_accepted():
    image = pictures.grid(np.zeros([2, 8, 8, 3], np.uint8), num_columns=1)
    labelled = pictures.with_row_labels(image, ["x" * 500, "\N{CJK UNIFIED IDEOGRAPH-72AC}\n\u202e"])
    assert 100 < labelled.shape[1] - image.shape[1] <= 252
