"""The tokenizers as a whole."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from vim_tf import config as configs
from vim_tf.models.tokenizer import build_tokenizer, pixels_of_location

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


# -------------------------------------------------------------------------------------------------------- variants

QUANTIZERS = {
    "vq": {},
    "ema": {"kind": "ema"},
    "gumbel": {"kind": "gumbel"},
    "residual": {"kind": "residual", "l2_normalize": False, "depth": 3},
    "fsq": {"kind": "fsq", "fsq_levels": (4, 2, 2, 2), "codebook_size": 32},
    "lfq": {"kind": "lfq"},
}


def with_quantizer(name):
    return dataclasses.replace(SECTION, quantizer=dataclasses.replace(SECTION.quantizer, **QUANTIZERS[name]))


CNN = dataclasses.replace(
    SECTION,
    architecture="cnn",
    cnn=configs.CNNConfig(channels=4, channel_multipliers=(1, 1, 2), blocks_per_level=1, latent_channels=6),
)


@pytest.mark.parametrize("section", [*map(with_quantizer, QUANTIZERS), CNN], ids=[*QUANTIZERS, "cnn"])
def test_every_tokenizer_offers_the_same_small_interface(section, images):
    tokenizer = build_tokenizer(section)
    tokens = tokenizer.encode(images)
    assert tokens.shape == (3, 6 * tokenizer.depth)
    assert tokenizer.depth == section.quantizer.depth
    assert 0 <= tokens.numpy().min() and tokens.numpy().max() < tokenizer.codebook_size
    assert tokenizer.codebook_size == section.quantizer.codebook_size
    decoded = tokenizer.decode(tokens).numpy()
    assert decoded.shape == (3, 8, 12, 3)
    outputs = tokenizer(images)
    np.testing.assert_array_equal(outputs.quantized.tokens, tokens)
    np.testing.assert_allclose(decoded, outputs.images, atol=1e-6)
    assert set(outputs.quantized.losses) == set(tokenizer.quantizer.loss_names)


def test_a_decoder_of_pixels_predicts_three_maps_and_no_distribution(images):
    tokenizer = build_tokenizer(dataclasses.replace(SECTION, pixels="rgb"))
    outputs = tokenizer(images)
    assert (outputs.location, outputs.log_scale) == (None, None)
    raw = outputs.images.numpy()
    assert raw.shape == (3, 8, 12, 3)
    assert raw.min() < 0
    np.testing.assert_allclose(tokenizer.decode(outputs.quantized.tokens), np.clip(raw, 0, 1), atol=1e-6)


def test_mapped_pixels_are_mapped_back_from_the_mean():
    """With DALL-E's map to [0.1, 0.9], a mean of 0.1 is black and 0.9 is white."""
    location = np.log(np.array([0.1, 0.5, 0.9, 0.05]) / (1 - np.array([0.1, 0.5, 0.9, 0.05])))
    pixels = pixels_of_location(tf.constant(location, tf.float32), 0.1)
    np.testing.assert_allclose(pixels, [0.0, 0.5, 1.0, -0.0625], atol=1e-6)


def test_mapped_tokenizer_decodes_into_the_range_of_images(images):
    tokenizer = build_tokenizer(dataclasses.replace(SECTION, pixel_epsilon=0.1))
    outputs = tokenizer(images)
    np.testing.assert_allclose(outputs.images, (tf.sigmoid(outputs.location) - 0.1) / 0.8, rtol=1e-5, atol=1e-6)
    decoded = tokenizer.decode(outputs.quantized.tokens).numpy()
    assert decoded.min() >= 0 and decoded.max() <= 1


def test_rematerialized_blocks_give_the_same_gradients_and_form(images):
    plain, saving = build_tokenizer(SECTION), build_tokenizer(SECTION, rematerialize=True)
    saving.set_weights(plain.get_weights())
    assert plain.get_config() == saving.get_config()
    gradients = []
    for tokenizer in (plain, saving):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((tokenizer(images).images - images) ** 2)
        gradients.append(tape.gradient(loss, [weight.value for weight in tokenizer.trainable_weights]))
    for weight, one, other in zip(plain.trainable_weights, *gradients, strict=True):
        if one is not None:
            np.testing.assert_allclose(
                tf.convert_to_tensor(one), tf.convert_to_tensor(other), atol=1e-6, err_msg=weight.path
            )
