"""`.keras` files: each model comes back with its constructor's arguments, its weights and its outputs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vim_tf.devices.precision import precision
from vim_tf.models.discriminators import StyleGAN2Discriminator
from vim_tf.models.language_model import LanguageModel
from vim_tf.models.linear_probe import LinearProbe
from vim_tf.models.palette import PaletteTokenizer
from vim_tf.models.tokenizer import VQGAN, ViTVQGAN

TRANSFORMER = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
QUANTIZER = {"kind": "vq", "codebook_size": 16, "codebook_dim": 4, "l2_normalize": False}
TOKENS = tf.constant([[0, 1, 2, 3], [3, 2, 4, 0]])
IMAGES = tf.random.stateless_uniform([2, 8, 12, 3], [1, 2])


def tokenizer():
    return ViTVQGAN(8, 12, 4, encoder=TRANSFORMER, decoder=TRANSFORMER, quantizer=QUANTIZER), (IMAGES,)


def convolutional_tokenizer():
    cnn = {"channels": 4, "channel_multipliers": (1, 2), "blocks_per_level": 1, "latent_channels": 4}
    quantizer = {"kind": "residual", "codebook_size": 16, "codebook_dim": 4, "depth": 2}
    return VQGAN(8, 12, 2, cnn=cnn, quantizer=quantizer, pixels="rgb"), (IMAGES,)


def language_model():
    model = LanguageModel(2, 2, 1, 5, 3, **TRANSFORMER, dropout=0.1, label_dropout=0.2, features_block=0)
    return model, (TOKENS, tf.constant([0, 3]))


def discriminator():
    model = StyleGAN2Discriminator(8, 12, channel_multiplier=1 / 256, max_channels=6, minibatch_stddev_group=2)
    return model, (IMAGES,)


def palette_tokenizer():
    return PaletteTokenizer(8, 12, 2, 3, codebook_size=5), (IMAGES,)


def linear_probe():
    inputs = {"pixels": IMAGES[:, 0, 0], "latents": IMAGES[:, 0, 0, :2]}
    return LinearProbe({"pixels": 3, "latents": 2}, num_classes=4), (inputs,)


MODELS = [tokenizer, convolutional_tokenizer, language_model, discriminator, palette_tokenizer, linear_probe]


@pytest.fixture(scope="module", params=MODELS, ids=lambda make: make.__name__)
def trip(request, tmp_path_factory):
    """A model with weights that no initializer would give, what was loaded from its file, and inputs."""
    model, inputs = request.param()
    model.build()
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model.save(path)
    return model, keras.saving.load_model(path), inputs


def test_the_config_is_the_same(trip):
    model, loaded, _ = trip
    assert loaded.get_config() == model.get_config()


def test_every_weight_is_the_same(trip):
    model, loaded, _ = trip
    assert [weight.path for weight in loaded.weights] == [weight.path for weight in model.weights]
    for weight, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(weight, other, err_msg=weight.path)


def test_the_outputs_are_the_same(trip):
    model, loaded, inputs = trip
    for output, other in zip(*(keras.tree.flatten(one(*inputs)) for one in (model, loaded)), strict=True):
        np.testing.assert_array_equal(output, other)


@pytest.mark.parametrize("make", [tokenizer, convolutional_tokenizer, language_model, discriminator])
def test_a_half_precision_model_stays_one_where_float32_is_the_default(make, tmp_path):
    with precision("mixed_bfloat16"):
        model, inputs = make()
        model.build()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")

    def types(model):
        return [(type(layer), layer.compute_dtype) for layer in model._flatten_layers()]

    assert types(loaded) == types(model)
    assert {"bfloat16", "float32"} == {dtype for _, dtype in types(loaded)}
    for output, other in zip(*(keras.tree.flatten(one(*inputs)) for one in (model, loaded)), strict=True):
        np.testing.assert_array_equal(output, other)


@pytest.mark.parametrize("make", MODELS)
def test_the_config_is_enough_to_build_a_model_of_the_same_weights(make):
    model, _ = make()
    model.build()
    twin = type(model).from_config(model.get_config())
    twin.build()
    assert [weight.shape for weight in twin.weights] == [weight.shape for weight in model.weights]
