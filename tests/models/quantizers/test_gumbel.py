"""The Gumbel quantizer by hand: what is drawn, what the seed and the temperature do, the prior."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.models.quantizers import GumbelQuantizer, gumbel

# Latent i of length 1 gives logits that are the logarithms of these probabilities.
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
CODEBOOK = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.fixture
def quantizer():
    quantizer = GumbelQuantizer(3, 2)
    quantizer.build()
    quantizer.logits_kernel.assign(np.log(PROBABILITIES))
    quantizer.codebook.assign(CODEBOOK)
    return quantizer


def test_without_a_seed_the_likeliest_code_is_taken(quantizer):
    outputs = quantizer(tf.constant([[[1.0, 0.0], [0.0, 1.0]]]))
    np.testing.assert_array_equal(outputs.tokens, [[0, 2]])
    np.testing.assert_array_equal(outputs.quantized, [[[1, 2], [5, 6]]])


def test_codes_are_drawn_as_often_as_the_logits_say(quantizer):
    latents = tf.tile(tf.constant([[[1.0, 0.0]]]), [40, 500, 1])
    tokens = quantizer(latents, seed=tf.constant([3, 4])).tokens
    shares = np.bincount(tokens.numpy().ravel(), minlength=3) / 20_000
    # Four standard deviations of the largest one are 0.014.
    np.testing.assert_allclose(shares, PROBABILITIES[0], atol=0.014)


def test_the_sample_is_a_function_of_the_seed(quantizer):
    latents = tf.tile(tf.constant([[[1.0, 0.0]]]), [1, 200, 1])
    first, again, other = (quantizer(latents, seed=tf.constant([3, last])).tokens.numpy() for last in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_temperature_changes_the_gradient_but_not_the_sample(quantizer):
    latents, seed = tf.tile(tf.constant([[[1.0, 0.0]]]), [1, 50, 1]), tf.constant([3, 4])
    results = []
    for temperature in (0.5, 2.0):
        with tf.GradientTape() as tape:
            tape.watch(latents)
            outputs = quantizer(latents, seed=seed, temperature=tf.constant(temperature))
        results.append((outputs.tokens.numpy(), outputs.quantized.numpy(), tape.gradient(outputs.quantized, latents)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert np.abs(results[0][2] - results[1][2]).max() > 0.1


def test_the_gradient_of_the_codebook_goes_only_to_the_chosen_codes(quantizer):
    with tf.GradientTape() as tape:
        outputs = quantizer(tf.constant([[[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]]))
    gradient = tf.convert_to_tensor(tape.gradient(outputs.quantized, quantizer.codebook.value))
    np.testing.assert_array_equal(gradient, [[1, 1], [0, 0], [2, 2]])


def test_prior_loss_is_zero_for_equally_likely_codes(quantizer):
    assert float(quantizer(tf.zeros([2, 4, 2])).losses["prior_loss"]) == pytest.approx(0.0, abs=1e-6)


def test_prior_loss_is_the_mean_divergence_from_equally_likely_codes(quantizer):
    divergences = (PROBABILITIES * np.log(PROBABILITIES * 3)).sum(-1)
    loss = quantizer(tf.constant([[[1.0, 0.0], [0.0, 1.0]]])).losses["prior_loss"]
    assert float(loss) == pytest.approx(divergences.mean(), rel=1e-5)


def test_prior_loss_of_a_certain_code_is_the_logarithm_of_their_number(quantizer):
    loss = quantizer(tf.constant([[[100.0, 0.0]]]), seed=tf.constant([0, 1]), temperature=0.1).losses["prior_loss"]
    assert float(loss) == pytest.approx(math.log(3), rel=1e-5)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_the_noise_is_finite_at_both_ends(monkeypatch, uniform):
    monkeypatch.setattr(gumbel, "stateless_uniform", lambda shape, seed: tf.fill(shape, uniform))
    assert np.isfinite(gumbel.gumbel_noise([2], None)).all()
