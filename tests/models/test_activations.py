"""Activations: the normal distribution's values, and float32 inside for inputs of any type."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tests.models.formulas import value_and_gradients
from vim_tf.models.activations import gelu, softmax


class TestGelu:
    def test_is_the_normal_distribution_functions_multiple(self):
        x = np.linspace(-6, 6, 49)
        expected = x * stats.norm.cdf(x)
        np.testing.assert_allclose(gelu(tf.constant(x, tf.float32)), expected, atol=1e-6)

    def test_half_precision_rounds_only_the_result(self):
        x = tf.cast(np.linspace(-6, 6, 49), tf.bfloat16)
        outputs = gelu(x)
        assert outputs.dtype == tf.bfloat16
        wide = tf.cast(x, tf.float32).numpy()
        np.testing.assert_allclose(tf.cast(outputs, tf.float32), wide * stats.norm.cdf(wide), rtol=2**-8, atol=1e-6)

    def test_gradient_is_the_derivative(self):
        x = tf.constant(np.linspace(-6, 6, 49), tf.float32)
        _, gradient = value_and_gradients(gelu, x)
        expected = stats.norm.cdf(x) + x.numpy() * stats.norm.pdf(x)
        np.testing.assert_allclose(gradient, expected * np.cos(np.arange(49)), atol=2e-6)


class TestSoftmax:
    SCORES = np.array([[0.0, np.log(3.0), 5.0], [-2.0, 1.0, 0.5]], "float32")

    def test_masked_places_have_no_weight_by_hand(self):
        weights = softmax(self.SCORES[:1], np.array([True, True, False]))
        np.testing.assert_allclose(weights, [[0.25, 0.75, 0.0]], rtol=1e-6)

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
    def test_is_float32_whatever_the_type(self, dtype):
        scores = tf.cast(self.SCORES, dtype)
        weights = softmax(scores)
        assert weights.dtype == tf.float32
        np.testing.assert_allclose(weights, special.softmax(tf.cast(scores, tf.float32).numpy(), axis=-1), rtol=1e-6)
