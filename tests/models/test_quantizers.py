"""Latents to tokens and back: PyTorch's values, hand-worked cases, where gradients go."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.models.quantizers import VectorQuantizer, normalize, restart_unused_codes

REFERENCES = pathlib.Path(__file__).parents[1] / "references"


def quantizer_with(codebook, l2_normalize=False):
    quantizer = VectorQuantizer(*np.shape(codebook), l2_normalize=l2_normalize)
    quantizer.build()
    quantizer.codebook.assign(np.asarray(codebook, "float32"))
    return quantizer


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCES / "quantizer.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("form", ["plain", "normalized"])
class TestAgainstPyTorch:
    def outputs(self, reference, form):
        quantizer = quantizer_with(reference["codebook"], l2_normalize=form == "normalized")
        return quantizer, quantizer(tf.constant(reference["latents"]))

    def test_tokens_are_the_nearest_codes(self, reference, form):
        quantizer, outputs = self.outputs(reference, form)
        np.testing.assert_array_equal(outputs.tokens, reference[f"{form}/tokens"])
        np.testing.assert_array_equal(quantizer.tokens(reference["latents"]), reference[f"{form}/tokens"])

    @pytest.mark.parametrize("name", ["quantized", "codebook_loss", "commitment_loss"])
    def test_values_agree(self, reference, form, name):
        _, outputs = self.outputs(reference, form)
        np.testing.assert_allclose(getattr(outputs, name), reference[f"{form}/{name}"], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("name", ["quantized", "codebook_loss", "commitment_loss"])
    def test_gradients_agree(self, reference, form, name):
        quantizer = quantizer_with(reference["codebook"], l2_normalize=form == "normalized")
        latents = tf.constant(reference["latents"])
        with tf.GradientTape() as tape:
            tape.watch(latents)
            output = getattr(quantizer(latents), name)
            scalar = tf.reduce_sum(output * reference[f"{form}/probe"]) if name == "quantized" else output
        gradients = tape.gradient(
            scalar, [latents, quantizer.codebook.value], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        for of, gradient in zip(("latents", "codebook"), gradients, strict=True):
            gradient = tf.convert_to_tensor(gradient)
            np.testing.assert_allclose(gradient, reference[f"{form}/{name}/{of}"], rtol=1e-4, atol=1e-6, err_msg=of)


CODEBOOK = [[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]


def test_latents_on_codes_come_back_unchanged_with_zero_loss():
    quantizer = quantizer_with(CODEBOOK)
    latents = tf.constant([[[0.0, 2.0], [-3.0, 0.0], [1.0, 0.0]]])
    outputs = quantizer(latents)
    np.testing.assert_array_equal(outputs.tokens, [[1, 2, 0]])
    np.testing.assert_array_equal(outputs.quantized, latents)
    assert float(outputs.codebook_loss) == float(outputs.commitment_loss) == 0.0


def test_losses_are_means_over_every_number():
    # (2, 0) is 1 away from (1, 0); (0, 2) lies on its code: 1 / 4 numbers.
    outputs = quantizer_with(CODEBOOK)(tf.constant([[[2.0, 0.0], [0.0, 2.0]]]))
    assert float(outputs.codebook_loss) == pytest.approx(0.25)
    assert float(outputs.commitment_loss) == pytest.approx(0.25)


def test_the_nearest_code_is_not_the_one_of_largest_product():
    # Of (1.2, 0.1), code 0 is 0.2 away; the product with (5, 5) would be larger.
    assert quantizer_with([[1.0, 0.0], [5.0, 5.0]]).tokens([[[1.2, 0.1]]]).numpy() == [[0]]


def test_normalized_lookup_looks_at_directions_only():
    quantizer = quantizer_with([[1.0, 0.0], [0.1, 0.1]], l2_normalize=True)
    np.testing.assert_array_equal(quantizer.tokens([[[9.0, 8.0], [0.009, 0.001]]]), [[1, 0]])


def test_normalized_lookup_gives_codes_of_length_one():
    codes = quantizer_with([[3.0, 4.0], [0.1, 0.0]], l2_normalize=True).lookup(np.array([[0, 1]]))
    np.testing.assert_allclose(codes, [[[0.6, 0.8], [1.0, 0.0]]], rtol=1e-6)


def test_of_equally_near_codes_the_lowest_wins():
    assert quantizer_with([[5.0, 5.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]).tokens([[[0.0, 0.0]]]).numpy() == [[1]]


def test_a_zero_vector_stays_zero():
    np.testing.assert_array_equal(normalize(tf.zeros([1, 3])), np.zeros([1, 3]))


def gradients_of(name):
    quantizer = quantizer_with(CODEBOOK)
    latents = tf.constant([[[2.0, 0.5], [0.1, 2.5]]])
    with tf.GradientTape() as tape:
        tape.watch(latents)
        output = tf.reduce_sum(getattr(quantizer(latents), name))
    return tape.gradient(output, [latents, quantizer.codebook.value])


def test_codebook_loss_sends_no_gradient_to_the_latents():
    of_latents, of_codebook = gradients_of("codebook_loss")
    assert of_latents is None
    assert np.any(tf.convert_to_tensor(of_codebook))


def test_commitment_loss_sends_no_gradient_to_the_codebook():
    of_latents, of_codebook = gradients_of("commitment_loss")
    assert of_codebook is None
    # 2 (latent - code) / 4 numbers.
    np.testing.assert_allclose(of_latents, [[[0.5, 0.25], [0.05, 0.25]]], rtol=1e-5)


def test_the_gradient_passes_straight_through_to_the_latents():
    of_latents, of_codebook = gradients_of("quantized")
    np.testing.assert_array_equal(of_latents, np.ones([1, 2, 2]))
    assert of_codebook is None


def test_half_precision_latents_are_compared_in_float32():
    # In float16, 2048 + 1 is 2048: both codes would look equally near.
    quantizer = quantizer_with([[2048.0, 0.0], [2048.0, 1.0]])
    assert quantizer.tokens(tf.constant([[[2048.0, 1.0]]], tf.float16)).numpy() == [[1]]


class TestRestartOfUnusedCodes:
    CODEBOOK = np.array([[1.0], [2.0], [3.0]], "float32")
    CANDIDATES = np.array([[10.0], [20.0], [30.0]], "float32")

    def restart(self, unused_steps, counts, limit):
        result = restart_unused_codes(
            tf.constant(self.CODEBOOK),
            tf.constant(unused_steps),
            tf.constant(counts),
            tf.constant(self.CANDIDATES),
            limit,
        )
        return [array.numpy().reshape(-1).tolist() for array in result]

    def test_use_sets_the_counter_to_zero_and_idleness_adds_one(self):
        codebook, unused_steps = self.restart([2, 2, 0], [1, 0, 0], limit=5)
        assert codebook == [1, 2, 3]
        assert unused_steps == [0, 3, 1]

    def test_a_code_is_restarted_at_the_limit_and_counted_afresh(self):
        codebook, unused_steps = self.restart([1, 2, 0], [0, 0, 4], limit=3)
        assert codebook == [1, 20, 3]
        assert unused_steps == [2, 0, 0]

    def test_use_in_the_last_moment_saves_a_code(self):
        codebook, unused_steps = self.restart([2, 2, 2], [0, 1, 0], limit=3)
        assert codebook == [10, 2, 30]
        assert unused_steps == [0, 0, 0]
