"""EfficientNet-Lite0 with random tensors of PyTorch's names, against NumPy."""

import numpy as np
import pytest

from tests import efficientnet_by_numpy as by_numpy
from vim_tf.interop.efficientnet import convert_tensors
from vim_tf.models.efficientnet import EfficientNetLite0, blocks, efficientnet_shapes


@pytest.fixture(scope="module")
def tensors():
    return by_numpy.random_tensors()


def test_features_and_logits_are_what_numpy_computes_with_normalisations_of_their_own(tensors):
    network = EfficientNetLite0()
    network.build()
    network.assign(convert_tensors(tensors))
    # Odd and even sides, so that strides meet both paddings.
    pixels = np.random.default_rng(1).normal(size=(2, 43, 64, 3)).astype("float32")
    expected = by_numpy.outputs(tensors, pixels)
    assert expected[0].std() > 0.1
    for found, wanted in zip(network(pixels), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    assert network.trainable_variables == []


def test_it_has_as_many_weights_as_the_published_one_without_its_scales():
    # 4,652,008 are published, among them a scale for each of the 21,008 channels that are normalised.
    normalised = 32 + sum(block.hidden * (2 if number else 1) + block.outputs for number, block in enumerate(blocks()))
    assert normalised + 1280 == 21_008
    assert sum(np.prod(shape) for shape in efficientnet_shapes().values()) == 4_652_008 - 21_008
