"""Features of images, and the linear heads over them."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.models.language_model import LanguageModel
from vim_tf.models.linear_probe import ImageFeatures, build_linear_probe
from vim_tf.models.palette import PaletteTokenizer

COLORS = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [1.0, 1.0, 1.0]]
IMAGES = tf.random.stateless_uniform([3, 4, 4, 3], [0, 1])


@pytest.fixture(scope="module")
def tokenizer():
    model = PaletteTokenizer(4, 4, 2, 2, len(COLORS))
    model.build()
    model.palette.assign(COLORS)
    return model


@pytest.fixture(scope="module")
def language_model():
    model = LanguageModel(2, 2, 1, 4, 3, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=16, label_dropout=0.1)
    model.build()
    return model


def test_pixels_latents_and_blocks_have_the_values_of_the_models(tokenizer, language_model):
    features = ImageFeatures(tokenizer, language_model, ("pixels", "latents", "blocks"))
    tokens = features.encode(IMAGES)
    values = features.of(IMAGES, tokens)
    assert features.sizes == {"pixels": 48, "latents": 12, "block_00": 8, "block_01": 8, "block_02": 8}
    assert {name: tuple(value.shape) for name, value in values.items()} == {
        name: (3, size) for name, size in features.sizes.items()
    }
    np.testing.assert_array_equal(values["pixels"], np.reshape(IMAGES, [3, 48]))
    np.testing.assert_array_equal(values["latents"], np.reshape(tokenizer.lookup(tokens), [3, 12]))
    blocks = language_model.block_features(tokens)
    for index, name in enumerate(features.block_names):
        np.testing.assert_array_equal(values[name], blocks[:, index])


def test_latents_can_be_averaged_over_the_positions(tokenizer):
    features = ImageFeatures(tokenizer, None, ("latents",), latents="averaged")
    assert features.sizes == {"latents": 3}
    values = features.of(IMAGES, tf.constant([[1, 1, 1, 3], [0, 0, 0, 0], [2, 3, 3, 2]]))
    np.testing.assert_allclose(values["latents"], [[1, 0.25, 0.25], [0, 0, 0], [0.75, 0.75, 0.75]])


def test_without_a_language_model_there_are_no_blocks(tokenizer):
    features = ImageFeatures(tokenizer, None, ("pixels", "blocks"))
    assert features.block_names == []
    assert features.sizes == {"pixels": 48}


def test_a_head_standardizes_its_feature_and_is_linear():
    probe = build_linear_probe({"a": 2, "b": 1}, num_classes=2)
    probe.standardize({"a": [1.0, 2.0], "b": [0.0]}, {"a": [2.0, 4.0], "b": [1.0]})
    probe.heads[0].kernel.assign([[1.0, 0.0], [10.0, 1.0]])
    probe.heads[0].bias.assign([0.5, 0.0])
    # (5 - 1) / 2 = 2 and (6 - 2) / 4 = 1.
    logits = probe({"a": tf.constant([[5.0, 6.0]]), "b": tf.constant([[7.0]])})
    np.testing.assert_allclose(logits["a"], [[12.5, 1.0]])
    np.testing.assert_allclose(logits["b"], [[0.0, 0.0]])


def test_only_kernels_and_biases_are_trained():
    probe = build_linear_probe({"a": 2, "b": 1}, num_classes=3)
    trained = {id(weight) for weight in probe.trainable_variables}
    assert trained == {id(weight) for head in probe.heads for weight in (head.kernel, head.bias)}
