"""Losses of tokens and labels: PyTorch's values and hand-worked cases."""

import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.losses.token import classification_loss, cross_entropy_loss

REFERENCES = pathlib.Path(__file__).parents[1] / "references"


def test_cross_entropy_and_its_gradient_agree_with_pytorch():
    with np.load(REFERENCES / "cross_entropy.npz") as reference:
        logits = tf.constant(reference["logits"])
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = cross_entropy_loss(reference["tokens"], logits)
        assert float(loss) == pytest.approx(float(reference["loss"]), rel=1e-5)
        np.testing.assert_allclose(tape.gradient(loss, logits), reference["gradient"], rtol=1e-4, atol=1e-6)


def test_equal_logits_cost_the_log_of_the_codebook_size():
    loss = cross_entropy_loss(np.array([[0, 3]]), tf.zeros([1, 2, 8]))
    assert float(loss) == pytest.approx(math.log(8))


def test_a_confident_correct_prediction_costs_nothing():
    assert float(cross_entropy_loss(np.array([[1]]), tf.constant([[[0.0, 100.0]]]))) == pytest.approx(0, abs=1e-6)


def test_a_confident_wrong_prediction_costs_its_margin():
    assert float(cross_entropy_loss(np.array([[0]]), tf.constant([[[0.0, 100.0]]]))) == pytest.approx(100)


def test_half_precision_logits_are_summed_in_float32():
    loss = cross_entropy_loss(np.zeros([1, 1], int), tf.zeros([1, 1, 1000], tf.float16))
    assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(math.log(1000), rel=1e-5)


def test_classification_costs_the_log_probability_of_the_label():
    """Probabilities 1/4 and 3/4; labels 1 and 0."""
    logits = tf.constant([[0.0, math.log(3)], [0.0, math.log(3)]])
    loss = classification_loss(tf.constant([1, 0]), logits)
    assert float(loss) == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_an_unlabelled_example_costs_nothing_and_has_no_gradient():
    logits = tf.zeros([4, 2])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = classification_loss(tf.constant([-1, 0, -1, -1]), logits)
    assert float(loss) == pytest.approx(math.log(2) / 4)
    np.testing.assert_allclose(tape.gradient(loss, logits), [[0, 0], [-0.125, 0.125], [0, 0], [0, 0]])
