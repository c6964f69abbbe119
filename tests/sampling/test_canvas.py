"""Sliding windows: which window draws a token, and how windows blend."""

import numpy as np
import pytest

from vim_tf.errors import InputError
from vim_tf.sampling.canvas import decode_canvas, fill_canvas, window_starts


@pytest.mark.parametrize(
    ("canvas", "window", "stride", "expected"),
    [(4, 4, 2, [0]), (8, 4, 2, [0, 2, 4]), (7, 4, 2, [0, 2, 3]), (9, 4, 4, [0, 4, 5])],
)
def test_windows_cover_the_side_and_end_with_it(canvas, window, stride, expected):
    assert window_starts(canvas, window, stride) == expected


@pytest.mark.parametrize(
    ("canvas", "window", "stride", "message"),
    [
        (4, 4, 0, r"stride 0 is out of range: it must be in \[1, 4\]"),
        (8, 4, 5, r"stride 5 is out of range: it must be in \[1, 4\]"),
        (3, 4, 2, r"window 4 is out of range: it must be in \[1, 3\]"),
    ],
)
def test_windows_that_leave_gaps_are_refused(canvas, window, stride, message):
    with pytest.raises(InputError, match=message):
        window_starts(canvas, window, stride)


def test_known_must_have_the_shape_of_the_canvases():
    with pytest.raises(InputError, match=r"known has shape \[1, 4, 3\], but the canvases have \[1, 3, 4\]"):
        fill_canvas(np.zeros([1, 3, 4, 1], np.int32), np.zeros([1, 4, 3], bool), 2, 2, (1, 2), numbered)


def numbered(number, tokens, known):
    """Draws the window's number, plus one, for every unknown token."""
    return np.where(known, tokens, number + 1)


def test_a_position_is_drawn_by_the_first_window_that_holds_it():
    tokens = np.zeros([1, 3, 4, 1], np.int32)
    filled = fill_canvas(tokens, np.zeros([1, 3, 4], bool), 2, 2, (1, 2), numbered)
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4]]
    np.testing.assert_array_equal(filled[0, :, :, 0], expected)


def test_known_positions_are_kept_and_windows_without_unknown_ones_are_skipped():
    tokens = np.full([1, 2, 4, 1], 9, np.int32)
    known = np.array([[[True, True, True, False], [True, True, False, False]]])
    filled = fill_canvas(tokens, known, 2, 2, (2, 2), numbered)
    np.testing.assert_array_equal(filled[0, :, :, 0], [[9, 9, 9, 2], [9, 9, 2, 2]])


def test_a_window_sees_its_tokens_in_raster_order_depth_fastest():
    seen = []

    def draw(number, tokens, known):
        seen.append((tokens.copy(), known.copy()))
        return tokens

    tokens = np.arange(8, dtype=np.int32).reshape(1, 2, 2, 2)
    fill_canvas(tokens, np.array([[[True, False], [True, False]]]), 2, 2, (1, 1), draw)
    np.testing.assert_array_equal(seen[0][0], [range(8)])
    np.testing.assert_array_equal(seen[0][1], [[1, 1, 0, 0, 1, 1, 0, 0]])


def test_the_callers_arrays_are_not_changed():
    tokens, known = np.zeros([1, 2, 2, 1], np.int32), np.zeros([1, 2, 2], bool)
    fill_canvas(tokens, known, 2, 2, (1, 1), numbered)
    assert not tokens.any() and not known.any()


def constant(tokens):
    """Windows of 2 x 2 positions and 4 x 4 pixels, whose grey is their first token."""
    return np.broadcast_to(tokens[:, 0, None, None, None], [len(tokens), 4, 4, 3]).astype(np.float32)


def test_a_single_window_is_decoded_unchanged():
    tokens = np.arange(4, dtype=np.int32).reshape(1, 2, 2, 1)
    image = np.random.default_rng(0).uniform(size=[1, 4, 4, 3]).astype(np.float32)
    np.testing.assert_allclose(decode_canvas(tokens, 2, 2, (1, 1), lambda tokens: image), image, rtol=1e-6)


def test_overlapping_windows_blend_by_the_distance_from_their_edges():
    """Windows at columns 0 and 1 of three; pixels 2 and 3 are in both, with weights 1.5, 0.5 and 0.5, 1.5."""
    tokens = np.array([[[0], [8], [8]], [[8], [8], [8]]], np.int32)[None]
    decoded = decode_canvas(tokens, 2, 2, (1, 1), constant)
    assert decoded.shape == (1, 4, 6, 3)
    np.testing.assert_allclose(decoded[0, 0, :, 0], [0, 0, 8 * 0.25, 8 * 0.75, 8, 8], rtol=1e-6)


def test_windows_below_each_other_blend_too_with_patches_that_are_not_square():
    """Patches of 2 x 3 pixels; windows at rows 0 and 1 of three."""

    def decode(tokens):
        return np.broadcast_to(tokens[:, 0, None, None, None], [len(tokens), 4, 6, 3]).astype(np.float32)

    tokens = np.array([[[0], [8]], [[8], [8]], [[8], [8]]], np.int32)[None]
    decoded = decode_canvas(tokens, 2, 2, (1, 1), decode)
    assert decoded.shape == (1, 6, 6, 3)
    np.testing.assert_allclose(decoded[0, :, 0, 0], [0, 0, 8 * 0.25, 8 * 0.75, 8, 8], rtol=1e-6)
