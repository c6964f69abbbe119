"""Operations with gradients of their own, beside the plain formula that TensorFlow differentiates."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from vim_tf.models.cpu.attention import attend, gelu, softmax


def value_and_gradients(function, *inputs):
    """Outputs, and gradients of a sum that weighs every element differently."""
    inputs = [tf.convert_to_tensor(each) for each in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
        total = tf.reduce_sum(
            tf.cast(outputs, tf.float32)
            * tf.reshape(tf.cos(tf.range(tf.size(outputs), dtype=tf.float32)), outputs.shape)
        )
    return [outputs, *tape.gradient(total, inputs)]


def assert_close(one, other, tolerance=1e-5):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def plain_attention(projected, num_heads, causal):
    batch, length, width = projected.shape
    heads = tf.transpose(tf.reshape(projected, [batch, length, 3, num_heads, -1]), [2, 0, 3, 1, 4])
    scores = tf.matmul(heads[0], heads[1], transpose_b=True) / tf.sqrt(float(heads.shape[-1]))
    if causal:
        scores += tf.linalg.band_part(tf.ones([length, length]), -1, 0) * 1e9 - 1e9
    mixed = tf.matmul(tf.nn.softmax(scores), heads[2])
    return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [batch, length, width // 3])


class TestAttend:
    # From 128 positions on, causal attention goes in blocks; 130 can't be cut into four.
    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize("length", [5, 128, 130, 132])
    def test_values_and_gradients_are_those_of_the_plain_formula(self, length, causal):
        projected = normal(2, length, 3 * 2 * 4)
        ours = value_and_gradients(lambda x: attend(x, 2, causal), projected)
        assert_close(ours, value_and_gradients(lambda x: plain_attention(x, 2, causal), projected))

    def test_one_head_of_two_positions_by_hand(self):
        # Query 1 scores 0 and log 3 against the keys 0 and log 3, so weighs the values 4 and 8 by 1/4 and 3/4.
        projected = tf.constant([[[0.0, 0.0, 4.0], [1.0, np.log(3.0), 8.0]]])
        np.testing.assert_allclose(attend(projected, 1)[0, :, 0], [6.0, 7.0], rtol=1e-6)
        np.testing.assert_allclose(attend(projected, 1, causal=True)[0, :, 0], [4.0, 7.0], rtol=1e-6)

    def test_later_positions_leave_blocks_bitwise_equal(self):
        projected = normal(1, 128, 3 * 8)
        changed = projected.copy()
        changed[:, 70:] += 1
        one, other = (attend(tf.constant(each), 2, causal=True).numpy() for each in (projected, changed))
        np.testing.assert_array_equal(one[:, :70], other[:, :70])
        assert (one[:, 70:] != other[:, 70:]).all(axis=-1).all()

    def test_compiled_equals_uncompiled(self):
        projected = normal(2, 128, 3 * 8)
        compiled = tf.function(lambda x: value_and_gradients(lambda y: attend(y, 2, True), x), jit_compile=True)
        assert_close(compiled(tf.constant(projected)), value_and_gradients(lambda x: attend(x, 2, True), projected))

    def test_half_precision_keeps_its_type_and_the_softmax_is_float32(self):
        projected = tf.cast(normal(1, 8, 3 * 8), tf.bfloat16)
        outputs, gradient = value_and_gradients(lambda x: attend(x, 2), projected)
        assert outputs.dtype == gradient.dtype == tf.bfloat16
        assert softmax(projected).dtype == tf.float32
        exact = value_and_gradients(lambda x: plain_attention(x, 2, False), tf.cast(projected, tf.float32))
        assert_close([tf.cast(outputs, tf.float32), tf.cast(gradient, tf.float32)], exact, tolerance=0.03)


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
