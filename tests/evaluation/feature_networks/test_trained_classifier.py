"""Training and storing the small classifier."""

import logging

import numpy as np
import pytest

from vim_tf.data.sources.folder import FOLDER
from vim_tf.evaluation.feature_networks import ClassifierNetwork, trained_classifier


@pytest.fixture
def source(fakes):
    return fakes.ArraySource(fakes.flat_images(np.arange(16)), np.arange(16), split="train")


@pytest.fixture
def messages(caplog):
    caplog.set_level(logging.INFO, logger="absl")
    return lambda: [record.getMessage() for record in caplog.records]


def test_it_is_trained_on_the_source_and_says_so(source):
    network = trained_classifier(source, steps=2, seed=5)
    assert network.num_classes == 16
    trained_on = network.description["trained_on"]
    assert (trained_on["source"], trained_on["split"], trained_on["num_images"]) == ("patterns", "train", 16)
    assert (network.description["steps"], network.description["seed"]) == (2, 5)


def test_a_stored_network_is_used_again(source, tmp_path, monkeypatch):
    network = trained_classifier(source, 2, 5, str(tmp_path / "network"))
    monkeypatch.setattr(ClassifierNetwork, "train_on_batches", None)
    again = trained_classifier(source, 2, 5, str(tmp_path / "network"))
    assert again.checksum == network.checksum


@pytest.mark.slow
def test_a_stored_network_of_other_settings_is_replaced(source, tmp_path):
    trained_classifier(source, 2, 5, str(tmp_path))
    trained_classifier(source, 2, 6, str(tmp_path))
    assert ClassifierNetwork.load(str(tmp_path)).description["seed"] == 6


@pytest.mark.slow
def test_a_network_of_images_that_changed_is_replaced(source, tmp_path):
    """Renaming a class changes no number of images or classes, but the labels' order."""
    trained_classifier(source, 2, 5, str(tmp_path))
    source.labels = 15 - source.labels
    source.class_names = source.class_names[::-1]
    expected = trained_classifier(source, 2, 5)
    assert trained_classifier(source, 2, 5, str(tmp_path)).checksum == expected.checksum


@pytest.mark.slow
def test_a_network_of_files_that_changed_is_replaced(source, tmp_path, monkeypatch):
    images = tmp_path / "images"
    images.mkdir()
    source.opened_by(FOLDER, str(images))
    trained_classifier(source, 2, 5, str(tmp_path / "network"))
    (images / "a.png").write_bytes(b"1")
    source.images = 255 - source.images
    expected = trained_classifier(source, 2, 5)
    assert trained_classifier(source, 2, 5, str(tmp_path / "network")).checksum == expected.checksum


def test_no_labels_leave_it_out_in_one_line(fakes, messages):
    source = fakes.ArraySource(fakes.flat_images([1, 2]), [-1, -1], num_classes=0)
    assert trained_classifier(source, 2, 0) is None
    assert [message for message in messages() if "has no labels" in message] == messages()
    assert len(messages()) == 1


def test_images_under_8_pixels_leave_it_out(fakes, messages):
    source = fakes.ArraySource(fakes.flat_images([1, 2])[:, :6, :6], [1, 2])
    assert trained_classifier(source, 2, 0) is None
    assert "under 8 px" in messages()[0]


def test_images_without_a_label_are_not_trained_on(fakes):
    source = fakes.ArraySource(fakes.flat_images([1, 2, 3]), [1, -1, 3])
    network = trained_classifier(source, 1, 0)
    assert np.isfinite(network.logits(source.images)).all()
