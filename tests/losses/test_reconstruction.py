"""Pixel losses: PyTorch's values, and what makes the logit-Laplace loss a likelihood."""

import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import trapezoid

from vim_tf.losses.reconstruction import l1_loss, l2_loss, logit_laplace_loss

REFERENCES = pathlib.Path(__file__).parents[1] / "references"


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCES / "reconstruction_losses.npz") as arrays:
        return dict(arrays)


def loss_at(image, location, log_scale, **settings):
    """The loss of one sub-pixel."""
    return float(logit_laplace_loss(*(tf.constant([[[[float(v)]]]]) for v in (image, location, log_scale)), **settings))


def test_l2_agrees_with_pytorch(reference):
    assert float(l2_loss(reference["images"], reference["reconstructions"])) == pytest.approx(float(reference["l2"]))


def test_l1_agrees_with_pytorch(reference):
    assert float(l1_loss(reference["images"], reference["reconstructions"])) == pytest.approx(float(reference["l1"]))


@pytest.mark.parametrize("loss", [l1_loss, l2_loss])
def test_equal_images_have_no_pixel_loss(loss):
    images = tf.random.stateless_uniform([2, 3, 3, 3], [1, 2])
    assert float(loss(images, images)) == 0


def test_logit_laplace_of_mapped_images_agrees_with_pytorch(reference):
    loss = logit_laplace_loss(reference["images"], reference["location"], reference["log_scale"], epsilon=0.1)
    assert float(loss) == pytest.approx(float(reference["mapped_logit_laplace"]), rel=1e-5)


def test_logit_laplace_agrees_with_pytorch(reference):
    loss = logit_laplace_loss(reference["images"], reference["location"], reference["log_scale"])
    assert float(loss) == pytest.approx(float(reference["logit_laplace"]), rel=1e-5)


@pytest.mark.parametrize("name", ["location", "log_scale"])
def test_logit_laplace_gradients_agree_with_pytorch(reference, name):
    arguments = {name: tf.constant(reference[name]) for name in ("location", "log_scale")}
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        loss = logit_laplace_loss(reference["images"], **arguments)
    np.testing.assert_allclose(
        tape.gradient(loss, arguments[name]), reference[f"{name}_gradient"], rtol=1e-4, atol=1e-6
    )


def test_logit_laplace_of_a_case_worked_by_hand():
    # logit(1/2) = 0, b = 1: |0 - 3| + log(2 * 1 * 1/2 * 1/2).
    assert loss_at(0.5, 3.0, 0.0) == pytest.approx(3 + math.log(0.5))


@pytest.mark.parametrize("image", [0.1, 0.5, 0.8])
def test_logit_laplace_is_least_at_the_logit_of_the_image(image):
    best = math.log(image / (1 - image))
    losses = [loss_at(image, best + offset, -1.0) for offset in (-0.5, -0.01, 0.0, 0.01, 0.5)]
    assert min(losses) == losses[2]


@pytest.mark.parametrize(("location", "log_scale"), [(0.0, 0.0), (1.5, -1.0), (-2.0, 0.5)])
def test_the_likelihood_of_all_images_adds_up_to_one(location, log_scale):
    """Integrated over logit(image) within 5 scales of the centre, which covers all but exp(-5) of a Laplace."""
    logits = np.linspace(location - 5 * math.exp(log_scale), location + 5 * math.exp(log_scale), 2001)
    images = 1 / (1 + np.exp(-logits))
    losses = tf.vectorized_map(
        lambda image: logit_laplace_loss(image, location, log_scale, margin=1e-6), tf.constant(images, tf.float32)
    )
    # d image = image (1 - image) d logit.
    total = trapezoid(np.exp(-losses) * images * (1 - images), logits)
    assert total == pytest.approx(1 - math.exp(-5), abs=1e-4)


def test_the_best_scale_is_the_distance():
    # d/db of distance / b + log b is zero at b = distance.
    losses = [loss_at(0.5, 0.5, math.log(0.5) + offset) for offset in (-0.1, 0.0, 0.1)]
    assert min(losses) == losses[1]


def test_a_log_scale_below_the_floor_counts_as_the_floor():
    assert loss_at(0.3, 0.0, -9.0) == loss_at(0.3, 0.0, -2.0)
    assert loss_at(0.3, 0.0, -9.0, min_log_scale=-4.0) == loss_at(0.3, 0.0, -4.0, min_log_scale=-4.0)
    assert loss_at(0.3, 0.0, -4.0, min_log_scale=-4.0) != loss_at(0.3, 0.0, -2.0)


def test_below_the_floor_the_scale_has_no_gradient():
    log_scale = tf.constant([[[[-9.0, -1.0]]]])
    with tf.GradientTape() as tape:
        tape.watch(log_scale)
        loss = logit_laplace_loss(tf.fill([1, 1, 1, 2], 0.5), tf.zeros([1, 1, 1, 2]), log_scale)
    gradient = tape.gradient(loss, log_scale).numpy().reshape(-1)
    # One of two elements, at distance 0.
    assert gradient.tolist() == [0.0, 0.5]


@pytest.mark.parametrize(("image", "edge"), [(0.0, 0.01), (1.0, 0.99)])
def test_black_and_white_are_moved_to_the_margin(image, edge):
    assert loss_at(image, 0.0, 0.0, margin=0.01) == pytest.approx(loss_at(edge, 0.0, 0.0, margin=0.01), rel=1e-5)
    assert math.isfinite(loss_at(image, 0.0, 0.0))
