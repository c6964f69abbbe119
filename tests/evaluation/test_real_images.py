"""Where the feature network comes from."""

import logging

import numpy as np
import pytest

from vim_tf.errors import InputError
from vim_tf.evaluation import real_images
from vim_tf.evaluation.features import FeatureNetwork


@pytest.fixture
def source(fakes):
    return fakes.ArraySource(fakes.flat_images(np.arange(16)), np.arange(16), split="train")


@pytest.fixture
def messages(caplog):
    caplog.set_level(logging.INFO, logger="absl")
    return lambda: [record.getMessage() for record in caplog.records]


def test_it_is_trained_on_the_source_and_says_so(source):
    network = real_images.trained_feature_network(source, steps=2, seed=5)
    assert network.num_classes == 16
    trained_on = network.description["trained_on"]
    assert (trained_on["source"], trained_on["split"], trained_on["num_images"]) == ("patterns", "train", 16)
    assert (network.description["steps"], network.description["seed"]) == (2, 5)


def test_a_stored_network_is_taken_again(source, tmp_path, monkeypatch):
    network = real_images.trained_feature_network(source, 2, 5, str(tmp_path / "network"))
    monkeypatch.setattr(FeatureNetwork, "train_on_batches", None)
    again = real_images.trained_feature_network(source, 2, 5, str(tmp_path / "network"))
    assert again.checksum == network.checksum


def test_a_stored_network_of_other_settings_is_replaced(source, tmp_path):
    real_images.trained_feature_network(source, 2, 5, str(tmp_path))
    real_images.trained_feature_network(source, 2, 6, str(tmp_path))
    assert FeatureNetwork.load(str(tmp_path)).description["seed"] == 6


def test_no_labels_leave_it_out_in_one_line(fakes, messages):
    source = fakes.ArraySource(fakes.flat_images([1, 2]), [-1, -1], num_classes=0)
    assert real_images.trained_feature_network(source, 2, 0) is None
    assert [message for message in messages() if "has no labels" in message] == messages()
    assert len(messages()) == 1


def test_images_under_8_pixels_leave_it_out(fakes, messages):
    source = fakes.ArraySource(fakes.flat_images([1, 2])[:, :6, :6], [1, 2])
    assert real_images.trained_feature_network(source, 2, 0) is None
    assert "under 8 px" in messages()[0]


def test_images_without_a_label_are_not_trained_on(fakes):
    source = fakes.ArraySource(fakes.flat_images([1, 2, 3]), [1, -1, 3])
    network = real_images.trained_feature_network(source, 1, 0)
    assert np.isfinite(network.logits(source.images)).all()


def test_activations_cover_the_whole_source(fakes, source):
    features, logits, labels = real_images.activations(fakes.BrightnessNetwork(), source, batch_size=5)
    np.testing.assert_allclose(features[:, 0], np.arange(16) / 15, rtol=1e-6)
    assert logits.shape == (16, 16)
    assert labels.tolist() == list(range(16))


def test_activations_of_nothing_are_refused(fakes):
    source = fakes.ArraySource(np.zeros([0, 16, 16, 3], np.uint8), [])
    with pytest.raises(InputError, match="patterns has no images in its validation split"):
        real_images.activations(fakes.BrightnessNetwork(), source, 5)
