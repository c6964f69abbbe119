"""The PatchGAN discriminator: PyTorch's values, what each logit sees, and lower precisions."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from vim_tf import config as configs
from vim_tf.errors import InputError
from vim_tf.models.discriminators import (
    PatchGANDiscriminator,
    StyleGAN2Discriminator,
    build_discriminator,
    minibatch_stddev,
)

REFERENCE = pathlib.Path(__file__).parents[1] / "references" / "patchgan.npz"
IMAGES = tf.random.stateless_uniform([4, 32, 24, 3], [1, 2])


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


def named_weights(discriminator):
    """{name in the reference: variable}; every layer of VQGAN's chain but its activations."""
    names = {}
    for index, conv in enumerate(discriminator.convs):
        position = 3 * index - 1 if index else 0
        names |= {f"main.{position}.{'bias' if weight is conv.bias else 'weight'}": weight for weight in conv.weights}
    for index, norm in enumerate(discriminator.norms, start=1):
        names |= {f"main.{3 * index}.weight": norm.gamma, f"main.{3 * index}.bias": norm.beta}
    last = 3 * len(discriminator.norms) + 2
    return names | {f"main.{last}.weight": discriminator.logit.kernel, f"main.{last}.bias": discriminator.logit.bias}


def ours(array):
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


@pytest.fixture(scope="module")
def discriminator(reference):
    discriminator = PatchGANDiscriminator(70, 48, channels=3, num_layers=4)
    discriminator.build()
    names = named_weights(discriminator)
    assert {f"weight:{name}" for name in names} == {name for name in reference if name.startswith("weight:")}
    for name, weight in names.items():
        weight.assign(ours(reference[f"weight:{name}"]))
    return discriminator


@pytest.fixture
def small():
    return built(PatchGANDiscriminator(32, 24, channels=4, num_layers=2))


def built(discriminator):
    discriminator.build()
    random = np.random.default_rng(0)
    for weight in discriminator.weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    return discriminator


class TestAgainstPyTorch:
    def test_logits_agree(self, discriminator, reference):
        assert reference["logits"].shape == (1, 2, 1)
        np.testing.assert_allclose(discriminator(reference["images"]), reference["logits"], rtol=1e-4, atol=1e-5)

    def test_gradients_agree(self, discriminator, reference):
        gradients = {name.removeprefix("gradient:") for name in reference if name.startswith("gradient:")}
        weights = {name: weight.value for name, weight in named_weights(discriminator).items() if name in gradients}
        assert len(weights) == 14
        images = tf.constant(reference["images"])
        with tf.GradientTape() as tape:
            tape.watch(images)
            total = tf.reduce_sum(discriminator(images) * reference["probe"])
        of_images, *of_weights = tape.gradient(total, [images, *weights.values()])
        expected = [ours(reference[f"gradient:{name}"]) for name in weights]
        for name, gradient, wanted in zip(
            ["images", *weights], [of_images, *of_weights], [reference["images_gradient"], *expected], strict=True
        ):
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-4 * scale, err_msg=name)


def test_the_default_has_vqgans_channels():
    discriminator = PatchGANDiscriminator(64, 64)
    assert [conv.filters for conv in discriminator.convs] == [64, 128, 256, 512]
    assert [conv.strides[0] for conv in discriminator.convs] == [2, 2, 2, 1]
    assert [norm.groups for norm in discriminator.norms] == [32, 32, 32]


def test_fresh_kernels_have_a_deviation_of_one_fiftieth():
    discriminator = PatchGANDiscriminator(32, 32, channels=16, num_layers=2)
    discriminator.build()
    assert float(keras.ops.std(discriminator.convs[2].kernel)) == pytest.approx(0.02, rel=0.05)


def test_no_image_affects_the_logits_of_another(small):
    np.testing.assert_allclose(small(IMAGES)[1:2], small(IMAGES[1:2]), rtol=1e-4, atol=1e-5)


def test_a_logit_sees_70_pixels(monkeypatch):
    # Normalisation makes every logit depend on every pixel; here only the convolutions' reach counts.
    monkeypatch.setattr(keras.layers.GroupNormalization, "call", lambda self, inputs: inputs)
    discriminator = PatchGANDiscriminator(160, 160, channels=1, num_layers=3)
    discriminator.build()
    for conv in [*discriminator.convs, discriminator.logit]:
        conv.kernel.assign(np.ones(conv.kernel.shape))
    images = tf.ones([1, 160, 160, 3])
    with tf.GradientTape() as tape:
        tape.watch(images)
        logit = discriminator(images)[0, 9, 9]
    seen = np.flatnonzero(np.any(tape.gradient(logit, images)[0] != 0, axis=(1, 2)))
    assert seen.max() - seen.min() + 1 == len(seen) == 70


class TestSmallImages:
    def test_the_smallest_image_gives_one_logit(self):
        discriminator = PatchGANDiscriminator(24, 24, channels=1, num_layers=3)
        discriminator.build()
        assert discriminator(tf.zeros([2, 24, 24, 3])).shape == (2, 1, 1)

    def test_smaller_ones_are_refused(self):
        with pytest.raises(InputError, match="at least 24 x 24 px, not 32 x 23.*patch_layers"):
            PatchGANDiscriminator(32, 23, num_layers=3)


class TestMixedPrecision:
    @pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
    def policy(self, request):
        return request.param

    @pytest.mark.parametrize(
        "make",
        [
            lambda **dtype: PatchGANDiscriminator(32, 24, channels=4, num_layers=2, **dtype),
            lambda **dtype: StyleGAN2Discriminator(32, 24, 1 / 64, 16, minibatch_stddev_group=2, **dtype),
        ],
        ids=["patchgan", "stylegan2"],
    )
    def test_logits_are_float32_and_near_those_of_full_precision(self, make, policy):
        full, mixed = built(make(dtype="float32")), built(make(dtype=policy))
        logits = mixed(IMAGES)
        assert logits.dtype == tf.float32
        assert not np.array_equal(logits, full(IMAGES))
        scale = np.abs(full(IMAGES)).max()
        np.testing.assert_allclose(logits, full(IMAGES), atol=0.05 * scale)

    def test_what_lies_between_has_the_compute_dtype(self, policy, monkeypatch):
        inputs = {}
        for kind in (PatchGANDiscriminator(32, 24, 4, 2, dtype=policy), style(policy)):
            kind.build()
            for layer in kind._flatten_layers(include_self=False):
                watch(monkeypatch, layer, inputs)
            kind(IMAGES)
        assert len(inputs) > 10
        wrong = {name for name, dtype in inputs.items() if dtype != policy.removeprefix("mixed_")}
        assert wrong == {"logit"}

    def test_the_minibatch_deviation_sees_what_float16_would_round_off(self):
        # In float16 the constant 1e-8 is 0, and so are the squares of these deviations, except for a few bits.
        features = tf.constant([0.0, 2e-3], tf.float16)[:, None, None, None]
        deviation = minibatch_stddev(features, 2)[..., 1]
        assert deviation.dtype == tf.float16
        np.testing.assert_allclose(deviation[:, 0, 0], [1e-3, 1e-3], rtol=0.02)


def style(policy):
    return StyleGAN2Discriminator(32, 24, 1 / 64, 16, minibatch_stddev_group=2, dtype=policy)


def watch(monkeypatch, layer, inputs):
    call = layer.call

    def watched(tensor):
        inputs[layer.name] = tensor.dtype.name
        return call(tensor)

    monkeypatch.setattr(layer, "call", watched)


class TestBuildDiscriminator:
    def test_the_kind_chooses(self):
        section = configs.DiscriminatorConfig(kind="patchgan", patch_channels=2, patch_layers=1)
        discriminator = build_discriminator(
            configs.TokenizerModelConfig(height=16, width=8, patch_size=8, discriminator=section)
        )
        assert isinstance(discriminator, PatchGANDiscriminator)
        assert discriminator(tf.zeros([3, 16, 8, 3])).shape == (3, 6, 2)
        assert [conv.filters for conv in discriminator.convs] == [2, 4]

    def test_stylegan2_is_the_default(self):
        section = configs.DiscriminatorConfig(channel_multiplier=1 / 1024, max_channels=4)
        discriminator = build_discriminator(
            configs.TokenizerModelConfig(height=16, width=8, patch_size=8, discriminator=section)
        )
        assert isinstance(discriminator, StyleGAN2Discriminator)


def test_a_file_brings_back_arguments_weights_and_logits(small, tmp_path):
    small.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == small.get_config()
    assert (loaded.height, loaded.width, loaded.channels, loaded.num_layers) == (32, 24, 4, 2)
    np.testing.assert_array_equal(loaded(IMAGES), small(IMAGES))
