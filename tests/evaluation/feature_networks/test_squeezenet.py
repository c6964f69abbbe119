"""SqueezeNet as a feature network, with random weights, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tests import squeezenet_by_numpy as by_numpy
from vim_tf.devices.strategies import build_strategy
from vim_tf.errors import InputError
from vim_tf.evaluation.feature_networks import load_feature_network
from vim_tf.evaluation.metrics.names import METRICS
from vim_tf.losses import frozen


@pytest.fixture(scope="module")
def arrays():
    return by_numpy.random_arrays()


@pytest.fixture(scope="module")
def weights(arrays, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("weights") / "squeezenet.npz")
    frozen.write_weights(path, arrays)
    return path


@pytest.fixture(scope="module")
def network(weights):
    return load_feature_network("squeezenet", weights)


def test_features_and_logits_are_what_numpy_computes(network, arrays):
    images = np.random.default_rng(0).integers(0, 256, [2, 227, 227, 3]).astype(np.uint8)
    expected = by_numpy.activations(arrays, by_numpy.caffe(images.astype(float)))
    features, logits = network.activations(images)
    np.testing.assert_allclose(features, expected["fire9"].mean(axis=(1, 2)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(logits, expected["logits"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (300, 400)])
def test_images_of_other_sizes_are_resized_with_antialiasing(network, size):
    images = np.random.default_rng(0).integers(0, 256, [2, *size, 3]).astype(np.uint8)
    resized = tf.image.resize(images, [227, 227], "bilinear", antialias=True)
    expected = network.forward(resized)[0]
    np.testing.assert_allclose(network.features(images), expected, rtol=1e-4, atol=1e-5)


def test_replicas_share_a_batch_and_give_what_one_gives(network, weights):
    images = np.random.default_rng(0).integers(0, 256, [5, 24, 24, 3]).astype(np.uint8)
    with build_strategy("mirrored").scope():
        shared = load_feature_network("squeezenet", weights)
    for found, expected in zip(shared.activations(images, 3), network.activations(images, 3), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_its_metrics_are_named_after_it_and_known(network):
    names = network.metric_names
    assert names == ("squeezenet_frechet_distance", "squeezenet_classifier_score", "squeezenet_kernel_distance")
    for name in names:
        assert {f"{stage}/{name}" for stage in ("reconstruction", "generation", "real")} <= METRICS.keys()
    assert METRICS["generation/squeezenet_frechet_distance"].title == "Samples: SqueezeNet Fréchet distance"
    assert METRICS["generation/squeezenet_frechet_distance"].real == "real/squeezenet_frechet_distance"


def test_its_checksum_is_that_of_its_weights(network, arrays):
    assert network.conditions["checksum"] == frozen.checksum(arrays)
    assert network.conditions["num_features"] == 512


def test_no_path_says_how_to_make_the_file():
    with pytest.raises(
        InputError, match=r"--format=squeezenet and give the file as --evaluation\.feature_network_path"
    ):
        load_feature_network("squeezenet", "")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        InputError, match=r"--evaluation\.feature_network_path=.*none\.npz can't be read.*; make it with"
    ):
        load_feature_network("squeezenet", str(tmp_path / "none.npz"))
