"""Inception networks from files, with stand-ins that have known outputs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.inception_stand_in import InceptionStandIn
from vim_tf.devices.strategies import build_strategy
from vim_tf.errors import InputError
from vim_tf.evaluation.feature_networks.inception import KerasInceptionNetwork, SavedModelNetwork


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("inception") / "model")
    tf.saved_model.save(InceptionStandIn(), path)
    return path


def save(tmp_path, **settings):
    tf.saved_model.save(InceptionStandIn(**settings), str(tmp_path / "model"))
    return str(tmp_path / "model")


def test_images_enter_it_from_minus_one_to_one(folder):
    network = SavedModelNetwork(folder, is_inception=True)
    images = np.stack([np.full([20, 30, 3], value, np.uint8) for value in (0, 128, 255)])
    features, logits = network.activations(images, batch_size=2)
    assert (features.shape, logits.shape) == ((3, 2048), (3, 1008))
    np.testing.assert_allclose(features[:, 7], [-1, 0, 127 / 128], atol=1e-6)
    np.testing.assert_allclose(logits[:, 9], [1, 0, (127 / 128) ** 2], atol=1e-6)


def test_images_are_resized_bilinearly_without_antialiasing(folder):
    images = np.random.default_rng(0).integers(0, 256, [2, 40, 56, 3]).astype(np.uint8)
    expected = (tf.image.resize(images, [299, 299], "bilinear", antialias=False) - 128) / 128
    features = SavedModelNetwork(folder, is_inception=True).features(images)
    np.testing.assert_allclose(features[:, 0], tf.reduce_mean(expected, axis=[1, 2, 3]), atol=1e-5)


def test_a_saved_model_that_cannot_be_called_is_taken_by_its_signature(folder, tmp_path):
    module = tf.Module()
    module.inner = InceptionStandIn()
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": module.inner.__call__})
    images = np.full([2, 20, 30, 3], 255, np.uint8)
    found, expected = (SavedModelNetwork(path, True).features(images) for path in (str(tmp_path / "model"), folder))
    np.testing.assert_array_equal(found, expected)


def test_only_the_inception_graph_gives_an_fid(folder):
    assert SavedModelNetwork(folder, is_inception=True).metric_names == ("fid", "inception_score", "kid")
    other = SavedModelNetwork(folder, is_inception=False)
    assert other.metric_names == ("frechet_distance", "classifier_score", "kernel_distance")


def test_its_checksum_is_that_of_its_weights(folder, tmp_path):
    changed = InceptionStandIn()
    changed.scale.assign(2.0)
    tf.saved_model.save(changed, str(tmp_path / "changed"))
    checksums = [SavedModelNetwork(path, False).checksum for path in (folder, folder, str(tmp_path / "changed"))]
    assert checksums[0] == checksums[1] != checksums[2]


def test_replicas_share_a_batch_and_give_what_one_gives(folder):
    images = np.random.default_rng(0).integers(0, 256, [5, 24, 24, 3]).astype(np.uint8)
    strategy = build_strategy("mirrored")
    with strategy.scope():
        shared = SavedModelNetwork(folder, is_inception=True)
    single = SavedModelNetwork(folder, is_inception=True)
    for found, expected in zip(shared.activations(images, 3), single.activations(images, 3), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_network_of_another_size_is_not_inception(tmp_path):
    path = save(tmp_path, num_features=100, num_classes=10)
    with pytest.raises(InputError, match="has 100 features and 10 classes; TF-GAN's Inception graph has 2048 and 1008"):
        SavedModelNetwork(path, is_inception=True)
    assert SavedModelNetwork(path, is_inception=False).num_features == 100


def test_other_outputs_are_named(tmp_path):
    with pytest.raises(InputError, match="must have the outputs pool_3 and logits; it has a, b"):
        SavedModelNetwork(save(tmp_path, names=("a", "b")), is_inception=False)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere can't be loaded as a SavedModel"):
        SavedModelNetwork(str(tmp_path / "nowhere"), is_inception=True)


def test_a_handle_that_cannot_be_downloaded_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    # Nothing listens on port 9 of this machine.
    with pytest.raises(InputError, match="bring it here and give --evaluation.feature_network_path=<folder>"):
        SavedModelNetwork("http://127.0.0.1:9/tfgan/eval/inception/1", is_inception=True)


@pytest.mark.slow
def test_keras_inception_gives_what_its_layers_give(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.applications.InceptionV3(weights=None, classifier_activation=None)
    model.save_weights(str(tmp_path / "inception.weights.h5"))
    images = np.random.default_rng(0).integers(0, 256, [2, 299, 299, 3]).astype(np.uint8)
    network = KerasInceptionNetwork(str(tmp_path / "inception.weights.h5"))
    features, logits = network.activations(images)
    inner = keras.Model(model.input, model.get_layer("avg_pool").output)
    pixels = keras.applications.inception_v3.preprocess_input(images.astype("float32"))
    np.testing.assert_allclose(features, inner(pixels, training=False), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, model(pixels, training=False), rtol=1e-4, atol=1e-5)
    assert not network.is_inception


def test_keras_inception_without_its_weights_says_how_to_get_them(tmp_path):
    with pytest.raises(InputError, match="copy it here and give --evaluation.feature_network_path=<file>"):
        KerasInceptionNetwork(str(tmp_path / "missing.h5"))
