"""Reference sets: measured once, kept on disk, and read from files of other projects."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.data.sources.folder import FOLDER
from vim_tf.errors import InputError
from vim_tf.evaluation import conditions
from vim_tf.evaluation.image_sets import ReferenceSets
from vim_tf.storage import npz

# Height and width of the images of `source`.
SIZE = (16, 16)


@pytest.fixture
def source(fakes):
    labels = np.arange(32) % 16
    return fakes.ArraySource(fakes.patch_images(32), labels)


@pytest.fixture
def counting(fakes):
    """A network that counts the images it is given."""

    class Counting(fakes.BrightnessNetwork):
        num_seen = 0

        def activations(self, images, batch_size=256):
            self.num_seen += len(images)
            return super().activations(images, batch_size)

    return Counting


def moments(measured):
    return measured.statistics.mean, measured.statistics.covariance


def test_a_set_goes_through_the_network_once(source, counting):
    references = ReferenceSets(counting())
    assert references.of(source) is references.of(source)
    assert references.network.num_seen == 32


def test_statistics_on_disk_are_those_that_were_measured(source, counting, tmp_path):
    first = ReferenceSets(counting(), folder=str(tmp_path)).of(source)
    later = ReferenceSets(counting(), folder=str(tmp_path))
    again = later.of(source)
    assert later.network.num_seen == 0
    for array, expected in zip(moments(again), moments(first), strict=True):
        np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(again.statistics.sample, first.statistics.sample)
    assert again.label_accuracy == first.label_accuracy
    assert again.statistics.classifier_score == first.statistics.classifier_score


def test_another_network_or_another_number_of_kept_features_is_measured_again(source, counting, tmp_path):
    ReferenceSets(counting(), folder=str(tmp_path)).of(source)
    other = counting()
    other.checksum = "4567"
    for references in (
        ReferenceSets(other, folder=str(tmp_path)),
        ReferenceSets(counting(), kept_features=20, folder=str(tmp_path)),
    ):
        references.of(source)
        assert references.network.num_seen == 32
    assert len(list(tmp_path.iterdir())) == 3


def test_images_of_another_size_are_measured_again(source, fakes, tmp_path):
    """As with two models of one source whose references share a folder."""

    class OfAnySize(fakes.BrightnessNetwork):
        def forward(self, images):
            return super().forward(tf.image.resize(images, [16, 16]))

    def measured(source, folder):
        return moments(ReferenceSets(OfAnySize(), folder=folder).of(source))

    half = fakes.ArraySource(source.images[:, ::2, 4:12], source.labels)
    measured(source, str(tmp_path))
    for array, expected in zip(measured(half, str(tmp_path)), measured(half, None), strict=True):
        np.testing.assert_array_equal(array, expected)
    different = conditions.differences(conditions.image_set(source, 32), conditions.image_set(half, 32))
    assert different == ["height is 16 against 8", "width is 16 against 8"]


def test_changed_files_are_measured_again(source, counting, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(b"1")
    source.opened_by(FOLDER, str(images))
    ReferenceSets(counting(), folder=str(tmp_path / "kept")).of(source)
    (images / "b.png").write_bytes(b"2")
    references = ReferenceSets(counting(), folder=str(tmp_path / "kept"))
    references.of(source)
    assert references.network.num_seen == 32


def test_the_file_on_disk_has_the_moments_under_the_names_that_others_read(source, fakes, tmp_path):
    references = fakes.references(folder=str(tmp_path))
    references.of(source)
    arrays = npz.read(references.path(source))
    features = fakes.BrightnessNetwork().features(source.images).astype(float)
    np.testing.assert_allclose(arrays["mu"], features.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(arrays["sigma"], np.cov(features, rowvar=False), rtol=1e-6)


def test_an_empty_split_is_refused(fakes):
    source = fakes.ArraySource(np.zeros([0, 16, 16, 3], np.uint8), [])
    with pytest.raises(InputError, match="patterns has no images in its validation split"):
        fakes.references().of(source)
