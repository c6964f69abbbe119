"""ViT-VQGAN as a whole."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf import config as configs
from vim_tf.models.tokenizer import build_tokenizer

TRANSFORMER = configs.TransformerConfig(num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16)
SECTION = configs.TokenizerModelConfig(
    height=8,
    width=12,
    patch_size=4,
    encoder=TRANSFORMER,
    decoder=configs.TransformerConfig(num_layers=2, num_heads=1, hidden_dim=12, mlp_dim=16),
    quantizer=configs.QuantizerConfig(codebook_size=16, codebook_dim=4),
)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(SECTION)


@pytest.fixture(scope="module")
def images():
    return tf.random.stateless_uniform([3, 8, 12, 3], [1, 2])


@pytest.fixture(scope="module")
def outputs(tokenizer, images):
    return tokenizer(images)


def test_the_config_decides_every_size(tokenizer):
    encoder, decoder = tokenizer.encoder, tokenizer.decoder
    assert (tokenizer.height, tokenizer.width, tokenizer.grid_height, tokenizer.grid_width) == (8, 12, 2, 3)
    assert (tokenizer.codebook_size, tokenizer.depth) == (16, 1)
    assert (len(encoder.blocks), encoder.hidden_dim, encoder.blocks[0].num_heads, encoder.mlp_dim) == (1, 8, 2, 16)
    assert (len(decoder.blocks), decoder.hidden_dim, decoder.blocks[0].num_heads, decoder.mlp_dim) == (2, 12, 1, 16)
    assert tokenizer.quantizer.codebook.shape == (16, 4)


def test_the_encoder_sees_both_directions(tokenizer, images):
    """Its attention is not causal: the last patch reaches the first latent."""
    changed = tf.tensor_scatter_nd_update(images, [[0, 7, 11, 0]], [0.0])
    assert np.any(tokenizer.encoder(changed).numpy()[0, 0] != tokenizer.encoder(images).numpy()[0, 0])


def test_encode_gives_the_tokens_of_the_training_pass(tokenizer, images, outputs):
    tokens = tokenizer.encode(images)
    assert tokens.dtype == tf.int32
    np.testing.assert_array_equal(tokens, outputs.quantized.tokens)


def test_decode_gives_the_images_of_the_training_pass(tokenizer, outputs):
    np.testing.assert_allclose(tokenizer.decode(outputs.quantized.tokens), outputs.images, atol=1e-6)


def test_images_are_the_sigmoid_of_the_location(outputs):
    np.testing.assert_allclose(outputs.images, 1 / (1 + np.exp(-outputs.location.numpy())), rtol=1e-5)


def test_location_and_scale_are_different_maps(outputs):
    assert outputs.location.shape == outputs.log_scale.shape == (3, 8, 12, 3)
    assert not np.allclose(outputs.location, outputs.log_scale)


def test_quantized_latents_are_the_codes_of_the_tokens(tokenizer, images, outputs):
    codebook = tokenizer.quantizer.codebook.numpy()
    codes = codebook / np.linalg.norm(codebook, axis=-1, keepdims=True)
    np.testing.assert_allclose(
        tokenizer.quantized_latents(images), codes[outputs.quantized.tokens.numpy()], rtol=1e-5, atol=1e-6
    )


def test_the_reconstruction_error_reaches_the_encoder_through_the_codebook(tokenizer, images):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((tokenizer(images).images - images) ** 2)
    gradient = tape.gradient(loss, tokenizer.encoder.embedding.kernel.value)
    assert np.any(gradient.numpy())
