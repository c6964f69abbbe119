"""Attention with a hand-written gradient, against the plain formula that TensorFlow differentiates."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.formulas import assert_close, normal, plain_attention, value_and_gradients
from vim_tf.models.cpu import attend


class TestAttend:
    # From 128 positions on, causal attention uses blocks; 130 can't be divided into four.
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

    def test_half_precision_keeps_its_type(self):
        projected = tf.cast(normal(1, 8, 3 * 8), tf.bfloat16)
        outputs, gradient = value_and_gradients(lambda x: attend(x, 2), projected)
        assert outputs.dtype == gradient.dtype == tf.bfloat16
        exact = value_and_gradients(lambda x: plain_attention(x, 2, False), tf.cast(projected, tf.float32))
        assert_close([tf.cast(outputs, tf.float32), tf.cast(gradient, tf.float32)], exact, tolerance=0.03)
