"""Statistics of real images with Beam, through the command."""

import numpy as np
import pytest

from vim_tf import config as configs
from vim_tf import measure_reference
from vim_tf.data import sources
from vim_tf.errors import InputError
from vim_tf.evaluation.feature_networks import ClassifierNetwork
from vim_tf.evaluation.image_sets import ReferenceSets
from vim_tf.evaluation.reference_file import ReferenceFile
from vim_tf.storage import npz


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Folder of a small classifier of 8 x 8 pixels."""
    folder = str(tmp_path_factory.mktemp("network"))
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, [20, 8, 8, 3]).astype(np.uint8)
    ClassifierNetwork.train(pictures, random.integers(0, 2, 20), 2, 2, 0, batch_size=8).save(folder)
    return folder


def measured(images, network, output, **settings):
    evaluation = configs.EvaluationConfig(feature_network_path=network, batch_size=3, kept_features=10)
    settings = {"data": images.config(), "split": "train", "height": 8, "width": 8, "num_shards": 3} | settings
    return measure_reference.run(configs.MeasureReferenceCommand(evaluation=evaluation, output=str(output), **settings))


@pytest.mark.slow
def test_parts_merge_into_what_one_process_measures(images, network, tmp_path):
    assert measured(images, network, tmp_path / "train.npz") == 13
    references = ReferenceSets(ClassifierNetwork.load(network))
    expected = references.of(sources.build_source(images.config(), "train", 8, 8))
    found, facts = ReferenceFile(str(tmp_path / "train.npz"), (8, 8)).measured(references)
    np.testing.assert_allclose(found.statistics.mean, expected.statistics.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.statistics.covariance, expected.statistics.covariance, rtol=1e-5, atol=1e-6)
    assert found.statistics.classifier_score == pytest.approx(expected.statistics.classifier_score, rel=1e-6)
    assert found.label_accuracy == expected.label_accuracy
    assert facts == {
        "source": images.source,
        "split": "train",
        "height": 8,
        "width": 8,
        "num_images": 13,
        "resize_rule": facts["resize_rule"],
    }


@pytest.mark.slow
def test_the_sample_is_one_of_all_parts_and_the_parts_are_removed(images, network, tmp_path):
    measured(images, network, tmp_path / "train.npz")
    sample = npz.read(str(tmp_path / "train.npz"))["sample"]
    assert len(np.unique(sample, axis=0)) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["train.npz"]


def test_a_folder_at_the_outputs_path_is_refused_before_the_work(images, network, tmp_path):
    with pytest.raises(InputError, match="is a folder: give a file name"):
        measured(images, network, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_too_many_files_that_are_no_images_leave_nothing_behind(images, network, tmp_path):
    data = images.config(max_unreadable_fraction=0.01)
    with pytest.raises(InputError, match="2.jpg"):
        measured(images, network, tmp_path / "train.npz", data=data)
    assert not (tmp_path / "train.npz").exists()


def test_a_classifier_must_be_trained_already(images):
    with pytest.raises(InputError, match="feature_network_path is needed"):
        configs.MeasureReferenceCommand(data=images.config(), output="x.npz")
