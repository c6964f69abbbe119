"""The adversarial losses: PyTorch's values and hand-worked cases. The discriminator's R1 values are with its tests."""

import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.losses.adversarial import discriminator_loss, generator_loss, r1_penalty

REFERENCES = pathlib.Path(__file__).parents[1] / "references"


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCES / "adversarial_losses.npz") as arrays:
        return dict(arrays)


def test_the_generator_loss_agrees_with_pytorch(reference):
    fake = tf.constant(reference["fake"])
    with tf.GradientTape() as tape:
        tape.watch(fake)
        loss = generator_loss(fake)
    assert float(loss) == pytest.approx(float(reference["generator"]), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, fake), reference["generator_gradient"], rtol=1e-5, atol=1e-7)


def test_the_discriminator_loss_agrees_with_pytorch(reference):
    real, fake = tf.constant(reference["real"]), tf.constant(reference["fake"])
    with tf.GradientTape() as tape:
        tape.watch([real, fake])
        loss = discriminator_loss(real, fake)
    of_real, of_fake = tape.gradient(loss, [real, fake])
    assert float(loss) == pytest.approx(float(reference["discriminator"]), rel=1e-5)
    np.testing.assert_allclose(of_real, reference["discriminator_real_gradient"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(of_fake, reference["discriminator_fake_gradient"], rtol=1e-5, atol=1e-7)


def test_a_discriminator_that_cannot_tell_loses_two_log_two():
    assert float(discriminator_loss(tf.zeros([3]), tf.zeros([3]))) == pytest.approx(2 * math.log(2))
    assert float(generator_loss(tf.zeros([3]))) == pytest.approx(math.log(2))


def test_a_fooled_discriminator_costs_the_generator_nothing():
    assert float(generator_loss(tf.constant([50.0]))) == pytest.approx(0, abs=1e-6)


def test_a_generator_that_is_found_out_still_gets_a_gradient():
    fake = tf.constant([-50.0])
    with tf.GradientTape() as tape:
        tape.watch(fake)
        loss = generator_loss(fake)
    assert float(tape.gradient(loss, fake)[0]) == pytest.approx(-1)


def test_extreme_logits_stay_finite():
    assert float(discriminator_loss(tf.constant([-1e4]), tf.constant([1e4]))) == pytest.approx(2e4)


def test_the_r1_penalty_of_a_linear_discriminator_is_the_length_of_its_weights():
    weights = tf.reshape(tf.range(12.0), [2, 2, 3])
    penalty = r1_penalty(lambda images: tf.reduce_sum(images * weights, axis=[1, 2, 3]), tf.ones([5, 2, 2, 3]))
    assert float(penalty) == pytest.approx(sum(number**2 for number in range(12)))


def test_the_r1_penalty_is_a_mean_over_images():
    # The gradient of |x|^2 / 2 is x: lengths 4 * 1 and 4 * 9.
    images = tf.constant([1.0, 3.0])[:, None, None, None] * tf.ones([2, 2, 2, 1])
    penalty = r1_penalty(lambda images: tf.reduce_sum(images**2 / 2, axis=[1, 2, 3]), images)
    assert float(penalty) == pytest.approx((4 + 36) / 2)
