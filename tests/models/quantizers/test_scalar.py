"""Fixed grids by hand: every code and its token, roundings, entropies."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.models.quantizers import FiniteScalarQuantizer, LookupFreeQuantizer
from vim_tf.models.quantizers.scalar import code_entropy_loss


def fsq(*levels):
    return FiniteScalarQuantizer(math.prod(levels), len(levels), levels)


def latents_near(codes, levels):
    """Latents that tanh takes close to the codes, as far as it can."""
    levels = np.array(levels)
    half_range, offset = (levels - 1) * (1 - 1e-3) / 2, np.where(levels % 2 == 0, 0.5, 0.0)
    ratio = np.clip((codes * (levels // 2) + offset) / half_range, -0.999, 0.999)
    return (np.arctanh(ratio) - np.tan(offset / half_range)).astype("float32")


class TestFiniteScalar:
    @pytest.mark.parametrize("levels", [(3, 5), (2, 4), (8, 5, 4, 3, 2), (7,)])
    def test_every_token_comes_back_from_its_code(self, levels):
        quantizer = fsq(*levels)
        tokens = np.arange(math.prod(levels), dtype="int32")[None]
        codes = quantizer.lookup(tokens).numpy()
        assert len(np.unique(codes[0], axis=0)) == tokens.size
        outputs = quantizer(latents_near(codes, levels))
        np.testing.assert_array_equal(outputs.tokens, tokens)
        np.testing.assert_array_equal(outputs.quantized, codes)

    def test_an_odd_number_of_values_lies_around_zero(self):
        np.testing.assert_array_equal(fsq(5).lookup([np.arange(5)])[0, :, 0], [-1, -0.5, 0, 0.5, 1])

    def test_an_even_number_of_values_has_one_more_below_zero(self):
        np.testing.assert_array_equal(fsq(4).lookup([np.arange(4)])[0, :, 0], [-1, -0.5, 0, 0.5])

    def test_the_first_dimension_is_the_least_significant_digit(self):
        np.testing.assert_array_equal(fsq(3, 4).lookup([[0, 1, 3]])[0], [[-1, -1], [0, -1], [-1, -0.5]])

    def test_a_zero_latent_is_the_middle_value(self):
        np.testing.assert_array_equal(fsq(8, 5)(tf.zeros([1, 1, 2])).quantized, [[[0, 0]]])

    def test_large_latents_reach_the_outermost_values(self):
        codes = fsq(8, 5)(tf.constant([[[-50.0, -50.0], [50.0, 50.0]]])).quantized
        np.testing.assert_array_equal(codes, [[[-1, -1], [0.75, 1]]])

    def test_the_gradient_is_that_of_the_bounded_latent(self):
        latents = tf.constant([[[0.3]]])
        with tf.GradientTape() as tape:
            tape.watch(latents)
            quantized = fsq(5)(latents).quantized
        slope = 0.999 * (1 - math.tanh(0.3) ** 2)
        np.testing.assert_allclose(tape.gradient(quantized, latents), [[[slope]]], rtol=1e-5)

    def test_it_has_no_losses_and_no_weights(self):
        quantizer = fsq(8, 5)
        assert quantizer(tf.zeros([1, 1, 2])).losses == {}
        assert quantizer.weights == []

    @pytest.mark.parametrize("size", [(41, 2), (40, 3)])
    def test_a_codebook_of_another_size_is_refused(self, size):
        with pytest.raises(ValueError, match="make 40 codes of 2 dimensions"):
            FiniteScalarQuantizer(*size, (8, 5))


def lfq(bits, temperature=1.0):
    return LookupFreeQuantizer(2**bits, bits, temperature)


class TestLookupFree:
    @pytest.mark.parametrize("bits", [1, 2, 5, 10])
    def test_every_token_comes_back_from_its_code(self, bits):
        tokens = np.arange(2**bits, dtype="int32")[None]
        codes = lfq(bits).lookup(tokens)
        np.testing.assert_array_equal(np.abs(codes), np.ones([1, 2**bits, bits]))
        np.testing.assert_array_equal(lfq(bits).tokens(0.3 * codes), tokens)

    def test_the_first_dimension_is_the_lowest_bit(self):
        np.testing.assert_array_equal(lfq(3).tokens([[[2.0, -1.0, -1.0], [-1.0, -0.1, 0.1]]]), [[1, 4]])
        np.testing.assert_array_equal(lfq(3).lookup([[1, 4]]), [[[1, -1, -1], [-1, -1, 1]]])

    def test_a_zero_is_an_unset_bit_everywhere(self):
        outputs = lfq(2)(tf.zeros([1, 1, 2]))
        np.testing.assert_array_equal(outputs.tokens, [[0]])
        np.testing.assert_array_equal(outputs.quantized, [[[-1, -1]]])

    def test_latents_on_codes_come_back_unchanged_with_zero_commitment_loss(self):
        latents = tf.constant([[[1.0, -1.0], [-1.0, -1.0]]])
        outputs = lfq(2)(latents)
        np.testing.assert_array_equal(outputs.quantized, latents)
        assert float(outputs.losses["commitment_loss"]) == 0.0

    def test_commitment_loss_is_a_mean_over_every_number(self):
        # 0.5 and 2 away from their signs.
        assert float(lfq(2)(tf.constant([[[0.5, -3.0]]])).losses["commitment_loss"]) == pytest.approx(4.25 / 2)

    def test_the_gradient_passes_straight_through_to_the_latents(self):
        latents = tf.constant([[[0.5, -3.0]]])
        with tf.GradientTape() as tape:
            tape.watch(latents)
            quantized = lfq(2)(latents).quantized
        np.testing.assert_array_equal(tape.gradient(quantized, latents), np.ones([1, 1, 2]))

    def test_a_codebook_of_another_size_is_refused(self):
        with pytest.raises(ValueError, match="4 dimensions make 16 codes, not 15"):
            LookupFreeQuantizer(15, 4, 1.0)


def explicit_entropy_loss(latents, temperature):
    """The same by the softmax over every code, in float64."""
    bits = latents.shape[-1]
    codes = 2.0 * (np.arange(2**bits)[:, None] >> np.arange(bits) & 1) - 1
    logits = 2 * latents.reshape(-1, bits).astype("float64") @ codes.T / temperature
    logits -= logits.max(-1, keepdims=True)
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    probabilities = np.exp(log_probabilities)
    mean = probabilities.mean(0)
    mean = mean[mean > 0]
    return -(probabilities * log_probabilities).sum(-1).mean() + (mean * np.log(mean)).sum()


class TestEntropyLoss:
    @pytest.mark.parametrize("bits", [1, 2, 7, 10])
    @pytest.mark.parametrize("temperature", [0.01, 1.0, 10.0])
    def test_it_equals_the_softmax_over_every_code(self, bits, temperature):
        latents = np.random.default_rng(bits).normal(size=(3, 40, bits)).astype("float32")
        loss = code_entropy_loss(tf.constant(latents), temperature)
        expected = explicit_entropy_loss(latents, temperature)
        np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-5)

    def test_it_is_smallest_where_each_latent_is_sure_and_every_code_is_used(self):
        codes = lfq(4).lookup(np.arange(16)[None])
        assert float(code_entropy_loss(codes, 0.01)) == pytest.approx(-4 * math.log(2), rel=1e-6)

    def test_it_is_zero_where_all_latents_are_alike(self):
        for scale in (0.0, 0.1, 100.0):
            latents = tf.fill([2, 8, 6], scale)
            assert float(code_entropy_loss(latents, 1.0)) == pytest.approx(0.0, abs=1e-5)

    def test_sure_latents_have_finite_gradients(self):
        latents = tf.constant([[1e3, -1e3, 0.0], [1e-3, 1.0, -5.0]])
        with tf.GradientTape() as tape:
            tape.watch(latents)
            loss = code_entropy_loss(latents, 0.01)
        assert np.isfinite(tape.gradient(loss, latents)).all()

    def test_codes_that_share_bits_but_never_meet_are_told_apart(self):
        # Both bits are set half of the time, but always together: log 2 nats of the mean, not 2 log 2.
        latents = tf.constant([[5.0, 5.0], [-5.0, -5.0]])
        assert float(code_entropy_loss(latents, 0.01)) == pytest.approx(-math.log(2), rel=1e-5)
