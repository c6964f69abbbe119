"""The StyleGAN2 discriminator: PyTorch's values, hand-worked cases of its parts."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from vim_tf import config as configs
from vim_tf.losses.adversarial import r1_penalty
from vim_tf.models.discriminators import (
    DownsamplingBlock,
    EqualizedConv,
    EqualizedDense,
    StyleGAN2Discriminator,
    blur,
    build_discriminator,
    minibatch_stddev,
)

REFERENCES = pathlib.Path(__file__).parents[1] / "references"


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCES / "discriminator.npz") as arrays:
        return dict(arrays)


def layers_of(discriminator):
    """{name in the reference: layer}."""
    layers = {name: getattr(discriminator, name) for name in ("from_rgb", "last_conv", "hidden", "logit")}
    for index, block in enumerate(discriminator.blocks):
        layers |= {f"blocks/{index}/{name}": getattr(block, name) for name in ("conv", "conv_down", "skip")}
    return layers


@pytest.fixture(scope="module")
def discriminator(reference):
    """Sides 10 and 12, then 5 and 6, then 3: strides meet even and odd sizes."""
    discriminator = StyleGAN2Discriminator(10, 12, 48 / 16384, max_channels=6, minibatch_stddev_group=2)
    discriminator.build()
    for name, layer in layers_of(discriminator).items():
        for weight in layer.weights:
            weight.assign(reference[f"{name}/{weight.name}"])
    return discriminator


class TestAgainstPyTorch:
    def test_logits_agree(self, discriminator, reference):
        np.testing.assert_allclose(discriminator(reference["images"]), reference["logits"], rtol=1e-4, atol=1e-5)

    def test_r1_penalty_agrees(self, discriminator, reference):
        penalty = r1_penalty(discriminator, tf.constant(reference["images"]))
        assert float(penalty) == pytest.approx(float(reference["r1_penalty"]), rel=1e-4)

    def test_the_gradient_of_the_r1_penalty_agrees(self, discriminator, reference):
        named = {
            f"r1/{name}/{weight.name}": weight.value
            for name, layer in layers_of(discriminator).items()
            for weight in layer.weights
        }
        with tf.GradientTape() as tape:
            penalty = r1_penalty(discriminator, tf.constant(reference["images"]))
        gradients = tape.gradient(penalty, list(named.values()), unconnected_gradients=tf.UnconnectedGradients.ZERO)
        assert len(named) == len([name for name in reference if name.startswith("r1/")])
        for name, gradient in zip(named, gradients, strict=True):
            scale = np.abs(reference[name]).max()
            np.testing.assert_allclose(gradient, reference[name], rtol=1e-3, atol=1e-4 * max(scale, 1), err_msg=name)


class TestMinibatchStddev:
    def test_identical_images_add_next_to_nothing(self):
        features = tf.repeat(tf.random.stateless_normal([1, 2, 3, 4], [1, 2]), 4, axis=0)
        # The root of 1e-8, which keeps the gradient finite.
        np.testing.assert_allclose(minibatch_stddev(features, 4)[..., 4], np.full([4, 2, 3], 1e-4), rtol=1e-3)

    def test_the_added_map_is_the_mean_deviation_of_the_group(self):
        # 0 and 2 deviate by 1, 0 and 6 by 3: the mean over the two channels is 2.
        features = tf.constant([[0.0, 0.0], [2.0, 6.0]])[:, None, None]
        np.testing.assert_allclose(minibatch_stddev(features, 2)[:, 0, 0], [[0, 0, 2], [2, 6, 2]], atol=1e-5)

    def test_groups_are_neighbours(self):
        features = tf.constant([0.0, 2.0, 10.0, 16.0])[:, None, None, None]
        np.testing.assert_allclose(minibatch_stddev(features, 2)[:, 0, 0, 1], [1, 1, 3, 3], rtol=1e-5)

    def test_halves_computed_apart_equal_the_whole(self):
        features = tf.random.stateless_normal([8, 3, 2, 5], [1, 2])
        halves = [minibatch_stddev(half, 4) for half in tf.split(features, 2)]
        np.testing.assert_array_equal(tf.concat(halves, axis=0), minibatch_stddev(features, 4))

    def test_the_gradient_of_identical_images_is_finite(self):
        features = tf.ones([4, 2, 2, 3])
        with tf.GradientTape() as tape:
            tape.watch(features)
            total = tf.reduce_sum(minibatch_stddev(features, 4)[..., 3])
        assert np.all(np.isfinite(tape.gradient(total, features)))


class TestBlur:
    def test_a_constant_stays_inside_and_fades_at_the_edges(self):
        blurred = blur(tf.ones([1, 8, 8, 2])).numpy()[0]
        np.testing.assert_allclose(blurred[1:6, 1:6], np.ones([5, 5, 2]), rtol=1e-6)
        # One tap of weight 1/8 hangs over the upper edge, two of (1 + 3)/8 over the lower one.
        np.testing.assert_allclose(blurred[[0, 7], 4, 0], [7 / 8, 4 / 8], rtol=1e-6)

    def test_a_point_becomes_the_filter_on_its_own_channel(self):
        point = np.zeros([1, 8, 8, 2], "float32")
        point[0, 4, 4, 1] = 64
        blurred = blur(tf.constant(point)).numpy()[0]
        np.testing.assert_allclose(blurred[2:6, 2:6, 1], np.outer([1, 3, 3, 1], [1, 3, 3, 1]), rtol=1e-6)
        assert not np.any(blurred[..., 0])
        assert blurred.sum() == pytest.approx(64)

    @pytest.mark.parametrize(("height", "width"), [(8, 9), (5, 6)])
    def test_a_stride_of_two_is_every_second_pixel(self, height, width):
        images = tf.random.stateless_normal([2, height, width, 3], [1, 2])
        np.testing.assert_allclose(blur(images, strides=2), blur(images)[:, ::2, ::2], rtol=1e-5, atol=1e-6)


def test_equalized_weights_are_scaled_when_used():
    conv = EqualizedConv(1, kernel_size=3)
    conv.build((None, 3, 3, 4))
    conv.kernel.assign(np.ones([3, 3, 4, 1]))
    # 9 * 4 ones times 1 / sqrt(9 * 4).
    assert float(conv(tf.ones([1, 3, 3, 4]))[0, 1, 1, 0]) == pytest.approx(6.0)
    dense = EqualizedDense(1)
    dense.build((None, 16))
    dense.kernel.assign(np.ones([16, 1]))
    assert float(dense(tf.ones([1, 16]))[0, 0]) == pytest.approx(4.0)


def test_channels_follow_the_resolution_up_to_the_limit():
    section = configs.DiscriminatorConfig(channel_multiplier=1 / 16, max_channels=48)
    discriminator = build_discriminator(
        configs.TokenizerModelConfig(height=64, width=32, patch_size=8, discriminator=section)
    )
    # 1024 / 64, then 1024 / 32 and, of 64 and 128, the limit.
    assert discriminator.from_rgb.filters == 16
    assert [block.filters for block in discriminator.blocks] == [32, 48, 48]
    assert discriminator.last_conv.kernel.shape == (3, 3, 48 + 1, 48)
    # 64 x 32 was halved down to 8 x 4.
    assert discriminator.hidden.kernel.shape == (8 * 4 * 48, 48)


def test_a_group_of_one_turns_the_minibatch_deviation_off():
    discriminator = StyleGAN2Discriminator(8, 8, 1 / 1024, max_channels=4, minibatch_stddev_group=1)
    discriminator.build()
    images = tf.random.stateless_uniform([3, 8, 8, 3], [1, 2])
    np.testing.assert_allclose(discriminator(images)[:1], discriminator(images[:1]), rtol=1e-5)


def test_images_of_other_groups_do_not_matter(discriminator, reference):
    images = reference["images"].copy()
    images[2:] = 0.5
    np.testing.assert_array_equal(discriminator(images)[:2], discriminator(reference["images"])[:2])


class TestDownsamplingBlock:
    @pytest.mark.parametrize("branch", ["conv_down", "skip"])
    @pytest.mark.parametrize("size", [8, 9])
    def test_each_branch_is_centred_on_the_two_pixels_that_its_output_stands_for(self, branch, size):
        block = DownsamplingBlock(1)
        block.build((None, size, size, 1))
        # The first convolution passes its input on, the others sum what they see; one branch is off.
        kernels = {"conv": np.zeros([3, 3, 1, 1]), "conv_down": np.zeros([3, 3, 1, 1]), "skip": np.zeros([1, 1, 1, 1])}
        kernels["conv"][1, 1] = 1
        kernels[branch][:] = 1
        for name, kernel in kernels.items():
            getattr(block, name).kernel.assign(kernel)
        inputs = tf.ones([1, size, size, 1])
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = block(inputs)[0, 1, 1, 0]
        seen = tape.gradient(output, inputs).numpy()[0, :, :, 0]
        assert np.average(np.arange(size), weights=seen.sum(axis=0)) == pytest.approx(2.5)
        assert np.average(np.arange(size), weights=seen.sum(axis=1)) == pytest.approx(2.5)

    @pytest.mark.parametrize(("size", "halved"), [(8, 4), (9, 5), (5, 3)])
    def test_odd_sides_are_rounded_up(self, size, halved):
        block = DownsamplingBlock(2)
        block.build((None, size, size, 3))
        assert block(tf.ones([1, size, size, 3])).shape == (1, halved, halved, 2)
