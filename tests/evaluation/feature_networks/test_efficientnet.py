"""EfficientNet-Lite0 as a feature network, with random weights, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tests import efficientnet_by_numpy as by_numpy
from vim_tf.errors import InputError
from vim_tf.evaluation.feature_networks import load_feature_network
from vim_tf.evaluation.metrics.names import METRICS
from vim_tf.interop.efficientnet import convert_tensors
from vim_tf.losses import frozen


@pytest.fixture(scope="module")
def tensors():
    return by_numpy.random_tensors()


@pytest.fixture(scope="module")
def network(tensors, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("weights") / "efficientnet.npz")
    frozen.write_weights(path, convert_tensors(tensors))
    return load_feature_network("efficientnet_lite0", path)


def test_images_are_resized_and_enter_it_from_about_minus_one_to_one(network, tensors):
    images = np.random.default_rng(0).integers(0, 256, [1, 20, 30, 3]).astype(np.uint8)
    resized = tf.image.resize(images, [224, 224], "bilinear", antialias=True).numpy()
    expected = by_numpy.outputs(tensors, (resized - 127) / 128)
    for found, wanted in zip(network.activations(images), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-3)


def test_its_metrics_are_named_after_it_and_known(network):
    assert network.metric_names.frechet == "efficientnet_lite0_frechet_distance"
    for name in network.metric_names:
        assert {f"{stage}/{name}" for stage in ("reconstruction", "generation", "real")} <= METRICS.keys()


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(InputError, match=r"none\.npz can't be read.*make it with .*--format=efficientnet_lite0"):
        load_feature_network("efficientnet_lite0", str(tmp_path / "none.npz"))
