"""Which pixel belongs to which token, on a grid that is not square."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.models.vit import ViTDecoder, ViTEncoder

GRID_HEIGHT, GRID_WIDTH, PATCH = 2, 3, 2
HEIGHT, WIDTH = GRID_HEIGHT * PATCH, GRID_WIDTH * PATCH
NUM_TOKENS = GRID_HEIGHT * GRID_WIDTH
# Without blocks, no attention mixes the places: what a pixel reaches, it reaches through the layout alone.
SIZES = {
    "grid_height": GRID_HEIGHT,
    "grid_width": GRID_WIDTH,
    "patch_size": PATCH,
    "num_layers": 0,
    "num_heads": 2,
    "hidden_dim": 8,
    "mlp_dim": 8,
}
PIXELS = [(0, 0), (0, 5), (1, 2), (2, 1), (3, 3), (3, 5)]


def token_of(y, x):
    return y // PATCH * GRID_WIDTH + x // PATCH


@pytest.fixture(scope="module")
def encoder():
    encoder = ViTEncoder(**SIZES, output_dim=4)
    encoder.build()
    return encoder


@pytest.fixture(scope="module")
def decoder():
    decoder = ViTDecoder(**SIZES, input_dim=4, output_channels=2)
    decoder.build()
    return decoder


@pytest.mark.parametrize(("y", "x"), PIXELS)
def test_a_pixel_changes_the_latent_of_its_patch_alone(encoder, y, x):
    images = np.random.default_rng(0).uniform(size=(1, HEIGHT, WIDTH, 3)).astype("float32")
    changed = images.copy()
    changed[0, y, x] += 0.5
    moved = np.any(encoder(images).numpy() != encoder(changed).numpy(), axis=-1)[0]
    assert np.flatnonzero(moved).tolist() == [token_of(y, x)]


@pytest.mark.parametrize("token", range(NUM_TOKENS))
def test_a_latent_changes_the_pixels_of_its_patch_alone(decoder, token):
    quantized = np.random.default_rng(0).normal(size=(1, NUM_TOKENS, 4)).astype("float32")
    changed = quantized.copy()
    changed[0, token] += 0.5
    moved = np.any(decoder(quantized).numpy() != decoder(changed).numpy(), axis=-1)[0]
    expected = [[token_of(y, x) == token for x in range(WIDTH)] for y in range(HEIGHT)]
    np.testing.assert_array_equal(moved, expected)


def test_inside_a_patch_pixels_are_in_raster_order_with_channels_last(decoder):
    decoder.head_output.bias.assign(np.arange(PATCH * PATCH * 2))
    kernel = decoder.head_output.kernel.numpy()
    decoder.head_output.kernel.assign(0 * kernel)
    pixels = decoder(tf.zeros([1, NUM_TOKENS, 4])).numpy()[0]
    decoder.head_output.kernel.assign(kernel)
    expected = [[[(y % 2 * 2 + x % 2) * 2 + c for c in range(2)] for x in range(WIDTH)] for y in range(HEIGHT)]
    np.testing.assert_array_equal(pixels, expected)


def test_encoder_and_decoder_agree_on_the_order_inside_a_patch(encoder):
    """Only the weights of pixel (1, 0), green, are left: only those pixels have a gradient."""
    kernel = encoder.embedding.kernel.numpy()
    encoder.embedding.kernel.assign(kernel * (np.arange(12) == (1 * PATCH + 0) * 3 + 1)[:, None])
    images = tf.fill([1, HEIGHT, WIDTH, 3], 0.3)
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(encoder(images) * np.arange(1, 5, dtype="float32"))
    gradient = tape.gradient(total, images).numpy()[0]
    encoder.embedding.kernel.assign(kernel)
    used = np.zeros([HEIGHT, WIDTH, 3], bool)
    used[1::2, 0::2, 1] = True
    np.testing.assert_array_equal(gradient != 0, used)


def test_mid_grey_is_the_encoders_zero(encoder):
    """The embedding's weights see nothing of an image of 0.5 everywhere."""
    grey = tf.fill([1, HEIGHT, WIDTH, 3], 0.5)
    before = encoder(grey).numpy()
    kernel = encoder.embedding.kernel.numpy()
    encoder.embedding.kernel.assign(kernel * 10)
    np.testing.assert_array_equal(encoder(grey), before)
    encoder.embedding.kernel.assign(kernel)


def test_places_are_told_apart_by_learned_positions(encoder):
    latents = encoder(tf.fill([1, HEIGHT, WIDTH, 3], 0.2)).numpy()[0]
    assert len(np.unique(latents.round(6), axis=0)) == NUM_TOKENS
