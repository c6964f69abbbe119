"""Fills canvases larger than the grid that a language model was trained on, with a sliding window."""

import numpy as np

from vim_tf.errors import InputError
from vim_tf.ranges import Range


def window_starts(canvas, window, stride):
    """Start positions of the windows along one side.

    Args:
        canvas: int, positions of the canvas, at least `window`.
        window: int, positions of a window.
        stride: int in [1, window], between two windows; the last one ends with the canvas and can overlap more.

    Returns:
        list of int, ascending, from 0 to canvas - window.

    Raises:
        InputError: the window is larger than the canvas, or strides would leave gaps between windows.
    """
    Range(1, canvas, f"the canvas has {canvas} positions").check("window", window)
    Range(1, window, "a larger one would leave gaps between windows").check("stride", stride)
    return [*range(0, canvas - window, stride), canvas - window]


def fill_canvas(tokens, known, grid_height, grid_width, stride, draw):
    """Draws the unknown tokens of canvases, window by window in raster order.

    A token is drawn in the first window that holds it, given those before it in the window's raster order, as in
    training; it doesn't depend on anything outside the window.

    Args:
        tokens: int32 [n, canvas height, canvas width, depth]; any value where they aren't known.
        known: bool [n, canvas height, canvas width], positions whose tokens are kept.
        grid_height, grid_width: int, size of the model's grid; at most that of the canvas.
        stride: (int, int), positions between two windows, down and to the right.
        draw: function of window number int, tokens int32 [n, grid_height * grid_width * depth], and known bool of that
            shape to tokens of that shape.

    Returns:
        int32 [n, canvas height, canvas width, depth].

    Raises:
        InputError: a size or stride is out of range, or `known` isn't of the canvases' shape.
    """
    tokens, known = np.array(tokens), np.array(known, bool)
    if known.shape != tokens.shape[:3]:
        raise InputError(f"known has shape {list(known.shape)}, but the canvases have {list(tokens.shape[:3])}")
    n, height, width, depth = tokens.shape
    number = 0
    for top in window_starts(height, grid_height, stride[0]):
        for left in window_starts(width, grid_width, stride[1]):
            window = (slice(None), slice(top, top + grid_height), slice(left, left + grid_width))
            if not known[window].all():
                mask = np.repeat(known[window].reshape(n, -1), depth, axis=1)
                drawn = draw(number, tokens[window].reshape(n, -1), mask)
                tokens[window] = drawn.reshape(n, grid_height, grid_width, depth)
                known[window] = True
            number += 1
    return tokens


def decode_canvas(tokens, grid_height, grid_width, stride, decode):
    """Pixels of canvases: windows are decoded one by one and blended where they overlap.

    A pixel's weight in a window grows with its distance from the window's edge, so that no seam is visible.

    Args:
        tokens: int32 [n, canvas height, canvas width, depth].
        grid_height, grid_width: int, size of the tokenizer's grid.
        stride: (int, int), positions between two windows.
        decode: function of tokens int32 [n, grid_height * grid_width * depth] to images float32 [n, height, width, 3].

    Returns:
        float32 [n, height, width, 3], in the range of `decode`.
    """
    n, canvas_height, canvas_width, _ = tokens.shape
    total = weights = None
    for top in window_starts(canvas_height, grid_height, stride[0]):
        for left in window_starts(canvas_width, grid_width, stride[1]):
            window = tokens[:, top : top + grid_height, left : left + grid_width].reshape(n, -1)
            images = np.asarray(decode(window))
            patch_height, patch_width = images.shape[1] // grid_height, images.shape[2] // grid_width
            if total is None:
                total = np.zeros([n, canvas_height * patch_height, canvas_width * patch_width, 3], np.float32)
                weights = np.zeros([*total.shape[1:3], 1], np.float32)
            weight = np.outer(_tent(images.shape[1]), _tent(images.shape[2]))[..., None].astype(np.float32)
            rows = slice(top * patch_height, top * patch_height + images.shape[1])
            columns = slice(left * patch_width, left * patch_width + images.shape[2])
            total[:, rows, columns] += weight * images
            weights[rows, columns] += weight
    return total / weights


def _tent(size):
    """Weights that rise to the middle and fall again: float64 [size], above 0."""
    positions = np.arange(size) + 0.5
    return np.minimum(positions, size - positions)
