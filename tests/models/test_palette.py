"""The palette tokenizer, worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.models.palette import PaletteTokenizer

BLACK, RED, GREY, WHITE = [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [1.0, 1.0, 1.0]


def tokenizer(colors, height=4, width=4, grid_height=2, grid_width=2):
    model = PaletteTokenizer(height, width, grid_height, grid_width, len(colors))
    model.build()
    model.palette.assign(colors)
    return model


def image_of(small, rows=2, columns=2):
    """float32 [1, height, width, 3]: each colour of a small image as a block of rows x columns pixels."""
    return np.asarray(small, np.float32).repeat(rows, axis=0).repeat(columns, axis=1)[None]


def test_tokens_are_the_nearest_colours_in_raster_order():
    image = image_of([[RED, WHITE], [[0.1, 0.0, 0.05], [0.4, 0.6, 0.5]]])
    np.testing.assert_array_equal(tokenizer([BLACK, RED, GREY, WHITE]).encode(image), [[1, 3, 0, 2]])


def test_a_cell_has_the_mean_colour_of_its_pixels():
    """Left: black and white in equal parts. Right: one red pixel of four."""
    image = np.zeros([1, 2, 4, 3], np.float32)
    image[0, 0, :2] = 1.0
    image[0, 1, 3] = RED
    model = tokenizer([BLACK, RED, GREY, WHITE], height=2, width=4, grid_height=1, grid_width=2)
    np.testing.assert_array_equal(model.small(image), [[GREY, [0.25, 0.0, 0.0]]])
    np.testing.assert_array_equal(model.encode(image), [[2, 0]])


def test_of_equally_near_colours_the_first_is_taken():
    """0.25 is halfway between 0 and 0.5; 0.5 is there twice."""
    model = tokenizer([GREY, BLACK, GREY])
    image = image_of([[[0.25] * 3, GREY], [BLACK, WHITE]])
    np.testing.assert_array_equal(model.encode(image), [[0, 0, 1, 0]])


def test_decoding_fills_each_cell_with_its_colour():
    model = tokenizer([BLACK, RED, WHITE], height=2, width=6, grid_height=1, grid_width=2)
    expected = [[[*[RED] * 3, *[WHITE] * 3]] * 2]
    np.testing.assert_array_equal(model.decode(tf.constant([[1, 2]])), np.reshape(expected, [1, 2, 6, 3]))


def test_images_of_palette_colours_come_back_unchanged():
    colors = np.random.default_rng(0).integers(0, 256, [16, 3]).astype(np.float32) / 256
    model = tokenizer(colors, height=8, width=12, grid_height=2, grid_width=3)
    image = image_of(colors[np.random.default_rng(1).integers(0, 16, [2, 3])], 4, 4)
    np.testing.assert_array_equal(model.decode(model.encode(image)), image)


def test_latents_are_the_colours_of_the_tokens():
    model = tokenizer([BLACK, RED, WHITE])
    image = image_of([[[0.9, 0.2, 0.0], BLACK], [WHITE, [0.8, 0.9, 0.9]]])
    np.testing.assert_array_equal(model.quantized_latents(image), [[RED, BLACK, WHITE, WHITE]])
    np.testing.assert_array_equal(model.lookup(tf.constant([[2, 0, 1, 1]])), [[WHITE, BLACK, RED, RED]])


@pytest.mark.parametrize("name", ["encode", "decode", "lookup", "quantized_latents"])
def test_a_graph_computes_the_same_as_eager_execution(name):
    model = tokenizer([BLACK, RED, GREY, WHITE])
    images = tf.random.stateless_uniform([3, 4, 4, 3], [0, 1])
    inputs = images if name in ("encode", "quantized_latents") else model.encode(images)
    function = getattr(model, name)
    np.testing.assert_array_equal(tf.function(function)(inputs), function(inputs))
