"""The residual quantizer by hand: levels, their order, sums, losses, restarts."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.models.quantizers import ResidualQuantizer

CODEBOOK = [[8.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, 0.0]]


def quantizer_of(depth):
    quantizer = ResidualQuantizer(4, 2, depth)
    quantizer.build()
    quantizer.codebook.assign(CODEBOOK)
    return quantizer


def test_each_level_codes_the_residual_of_those_before():
    # (9, 3) - (8, 0) = (1, 3), nearest (0, 3); residual (1, 0).
    outputs = quantizer_of(3)(tf.constant([[[9.0, 3.0]]]))
    np.testing.assert_array_equal(outputs.tokens, [[0, 1, 2]])
    np.testing.assert_array_equal(outputs.quantized, [[[9, 3]]])


def test_the_levels_of_a_position_are_adjacent():
    tokens = quantizer_of(2).tokens([[[9.0, 0.0], [0.0, 3.0]], [[1.0, 3.0], [8.0, 3.0]]])
    np.testing.assert_array_equal(tokens, [[0, 2, 1, 3], [1, 2, 0, 1]])


def test_lookup_adds_up_the_levels():
    codes = quantizer_of(2).lookup(np.array([[0, 2, 1, 3], [1, 1, 3, 3]]))
    np.testing.assert_array_equal(codes, [[[9, 0], [0, 3]], [[0, 6], [0, 0]]])


def test_latents_on_codes_come_back_unchanged_and_further_levels_add_nothing():
    latents = tf.constant([[[8.0, 0.0], [0.0, 3.0]]])
    outputs = quantizer_of(3)(latents)
    np.testing.assert_array_equal(outputs.tokens, [[0, 3, 3, 1, 3, 3]])
    np.testing.assert_array_equal(outputs.quantized, latents)
    assert float(outputs.losses["codebook_loss"]) == float(outputs.losses["commitment_loss"]) == 0.0


def test_losses_are_means_over_the_partial_sums():
    # (8, 2.5): the residuals are (0, 2.5) after (8, 0), and (0, -0.5) after (0, 3): (6.25 / 2 + 0.25 / 2) / 2 levels.
    losses = quantizer_of(2)(tf.constant([[[8.0, 2.5]]])).losses
    assert float(losses["codebook_loss"]) == pytest.approx(1.625)
    assert float(losses["commitment_loss"]) == pytest.approx(1.625)


def gradients_of(name):
    quantizer, latents = quantizer_of(2), tf.constant([[[8.0, 2.5]]])
    with tf.GradientTape() as tape:
        tape.watch(latents)
        outputs = quantizer(latents)
        scalar = tf.reduce_sum(outputs.quantized if name == "quantized" else outputs.losses[name])
    return tape.gradient(scalar, [latents, quantizer.codebook.value])


def test_codebook_loss_sends_no_gradient_to_the_latents():
    of_latents, of_codebook = gradients_of("codebook_loss")
    assert of_latents is None
    # The first code is in both sums, the second in one: 2 (sum - latent) / (2 numbers * 2 levels).
    expected = [[0, (-2.5 + 0.5) / 2], [0, 0.5 / 2], [0, 0], [0, 0]]
    np.testing.assert_allclose(tf.convert_to_tensor(of_codebook), expected, rtol=1e-6)


def test_commitment_loss_sends_no_gradient_to_the_codebook():
    of_latents, of_codebook = gradients_of("commitment_loss")
    assert of_codebook is None
    np.testing.assert_allclose(of_latents, [[[0, (2.5 - 0.5) / 2]]], rtol=1e-6)


def test_the_gradient_passes_straight_through_to_the_latents():
    of_latents, of_codebook = gradients_of("quantized")
    np.testing.assert_array_equal(of_latents, np.ones([1, 1, 2]))
    assert of_codebook is None


def test_with_one_level_it_is_vector_quantization():
    latents = tf.constant([[[8.0, 2.5], [0.4, 1.0]]])
    outputs = quantizer_of(1)(latents)
    np.testing.assert_array_equal(outputs.tokens, [[0, 3]])
    assert float(outputs.losses["commitment_loss"]) == pytest.approx((2.5**2 + 0.4**2 + 1.0**2) / 4)


def test_codes_can_be_restarted_at_the_residual_of_any_level():
    candidates = quantizer_of(2).restart_candidates(tf.constant([[[9.0, 3.0], [0.0, 2.0]]]))
    np.testing.assert_array_equal(candidates, [[9, 3], [1, 3], [0, 2], [0, -1]])


def test_only_unused_codes_become_their_candidates():
    quantizer = quantizer_of(2)
    quantizer.restart(np.array([False, False, True, False]), np.full((4, 2), 7.0, "float32"))
    np.testing.assert_array_equal(quantizer.codebook, [[8, 0], [0, 3], [7, 7], [0, 0]])


def test_codes_of_length_one_are_refused():
    with pytest.raises(ValueError, match="l2_normalize must be off"):
        ResidualQuantizer(4, 2, 2, l2_normalize=True)


def test_a_depth_of_zero_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        ResidualQuantizer(4, 2, 0)
