"""The adversarial losses: PyTorch's values and hand-worked cases. The discriminator's R1 values are with its tests."""

import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.losses.adversarial import (
    adaptive_weight,
    adversarial_factor,
    discriminator_loss,
    generator_loss,
    lecam_loss,
    r1_penalty,
)

REFERENCES = pathlib.Path(__file__).parents[1] / "references"


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCES / "adversarial_losses.npz") as arrays:
        return dict(arrays)


KINDS = ("non_saturating", "hinge", "least_squares")


@pytest.mark.parametrize("shape", [[6], [1, 2, 3]], ids=["per_image", "per_patch"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_loss_agrees_with_pytorch(reference, kind, shape):
    fake = tf.reshape(tf.constant(reference["fake"]), shape)
    with tf.GradientTape() as tape:
        tape.watch(fake)
        loss = generator_loss(fake, kind)
    assert float(loss) == pytest.approx(float(reference[f"{kind}/generator"]), rel=1e-5)
    expected = np.reshape(reference[f"{kind}/generator_gradient"], shape)
    np.testing.assert_allclose(tape.gradient(loss, fake), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [[6], [1, 2, 3]], ids=["per_image", "per_patch"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_discriminator_loss_agrees_with_pytorch(reference, kind, shape):
    real, fake = (tf.reshape(tf.constant(reference[name]), shape) for name in ("real", "fake"))
    with tf.GradientTape() as tape:
        tape.watch([real, fake])
        loss = discriminator_loss(real, fake, kind)
    gradients = tape.gradient(loss, [real, fake])
    assert float(loss) == pytest.approx(float(reference[f"{kind}/discriminator"]), rel=1e-5)
    for name, gradient in zip(("real", "fake"), gradients, strict=True):
        expected = np.reshape(reference[f"{kind}/discriminator_{name}_gradient"], shape)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


def test_hinge_and_least_squares_by_hand():
    real, fake = tf.constant([2.0, 0.0]), tf.constant([-3.0, 1.0])
    assert float(discriminator_loss(real, fake, "hinge")) == pytest.approx((0 + 1) / 2 + (0 + 2) / 2)
    assert float(generator_loss(fake, "hinge")) == pytest.approx(1.0)
    assert float(discriminator_loss(real, fake, "least_squares")) == pytest.approx((1 + 1) / 4 + (9 + 1) / 4)
    assert float(generator_loss(fake, "least_squares")) == pytest.approx((16 + 0) / 4)


def test_the_lecam_penalty_agrees_with_pytorch(reference):
    real, fake = tf.constant(reference["real"]), tf.constant(reference["fake"])
    means = tf.constant([0.7, -0.4])
    with tf.GradientTape() as tape:
        tape.watch([real, fake, means])
        loss = lecam_loss(real, fake, means[0], means[1])
    of_real, of_fake, of_means = tape.gradient(loss, [real, fake, means])
    assert float(loss) == pytest.approx(float(reference["lecam"]), rel=1e-5)
    np.testing.assert_allclose(of_real, reference["lecam_real_gradient"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(of_fake, reference["lecam_fake_gradient"], rtol=1e-5, atol=1e-7)
    assert of_means is None


def test_the_lecam_penalty_by_hand():
    # 3 is 2 above the fake mean of 1; -1 is 3 below the real mean of 2.
    loss = lecam_loss(tf.constant([3.0, 0.0]), tf.constant([-1.0, 5.0]), tf.constant(2.0), tf.constant(1.0))
    assert float(loss) == pytest.approx(4 / 2 + 9 / 2)


def test_the_adaptive_weight_is_the_ratio_of_the_lengths_up_to_its_limit():
    assert float(adaptive_weight(tf.constant(3.0), tf.constant(2.0 - 1e-4), 10.0)) == pytest.approx(1.5)
    assert float(adaptive_weight(tf.constant(3.0), tf.constant(0.0), 10.0)) == 10.0


@pytest.mark.parametrize(("step", "factor"), [(0, 0.0), (4, 0.0), (5, 0.0), (7, 0.5), (9, 1.0), (20, 1.0)])
def test_the_adversarial_term_rises_over_its_warmup(step, factor):
    assert float(adversarial_factor(tf.constant(step, tf.int64), 5, 4)) == pytest.approx(factor)


@pytest.mark.parametrize(("step", "factor"), [(4, 0.0), (5, 1.0)])
def test_without_a_warmup_it_counts_at_once(step, factor):
    found = adversarial_factor(tf.constant(step, tf.int64), 5, 0)
    assert (float(found), found.dtype) == (factor, tf.float32)


def test_a_discriminator_that_cannot_tell_loses_two_log_two():
    assert float(discriminator_loss(tf.zeros([3]), tf.zeros([3]), "non_saturating")) == pytest.approx(2 * math.log(2))
    assert float(generator_loss(tf.zeros([3]), "non_saturating")) == pytest.approx(math.log(2))


def test_a_fooled_discriminator_costs_the_generator_nothing():
    assert float(generator_loss(tf.constant([50.0]), "non_saturating")) == pytest.approx(0, abs=1e-6)


def test_a_generator_whose_images_are_recognized_still_gets_a_gradient():
    fake = tf.constant([-50.0])
    with tf.GradientTape() as tape:
        tape.watch(fake)
        loss = generator_loss(fake, "non_saturating")
    assert float(tape.gradient(loss, fake)[0]) == pytest.approx(-1)


def test_extreme_logits_stay_finite():
    assert float(discriminator_loss(tf.constant([-1e4]), tf.constant([1e4]), "non_saturating")) == pytest.approx(2e4)


def test_the_r1_penalty_of_a_linear_discriminator_is_the_length_of_its_weights():
    weights = tf.reshape(tf.range(12.0), [2, 2, 3])
    penalty = r1_penalty(lambda images: tf.reduce_sum(images * weights, axis=[1, 2, 3]), tf.ones([5, 2, 2, 3]))
    assert float(penalty) == pytest.approx(sum(number**2 for number in range(12)))


def test_the_r1_penalty_of_patches_is_that_of_their_mean():
    # Two logits whose weights are 1 and 3 everywhere: their mean has weight 2 on each of 12 values.
    def discriminator(images):
        total = tf.reduce_sum(images, axis=[1, 2, 3])
        return tf.stack([total, 3 * total], axis=1)[:, None]

    assert discriminator(tf.ones([5, 2, 2, 3])).shape == (5, 1, 2)
    assert float(r1_penalty(discriminator, tf.ones([5, 2, 2, 3]))) == pytest.approx(2**2 * 12)


def test_the_r1_penalty_is_a_mean_over_images():
    # The gradient of |x|^2 / 2 is x: lengths 4 * 1 and 4 * 9.
    images = tf.constant([1.0, 3.0])[:, None, None, None] * tf.ones([2, 2, 2, 1])
    penalty = r1_penalty(lambda images: tf.reduce_sum(images**2 / 2, axis=[1, 2, 3]), images)
    assert float(penalty) == pytest.approx((4 + 36) / 2)
