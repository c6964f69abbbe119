"""Reference sets: measured once, kept on disk, and read from files of other projects."""

import io
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.errors import InputError
from vim_tf.evaluation import conditions
from vim_tf.evaluation.image_sets import ReferenceSets, file_reference, read_arrays

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


def test_another_network_or_another_number_of_kept_features_is_measured_anew(source, counting, tmp_path):
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


def test_images_of_another_size_are_measured_anew(source, fakes, tmp_path):
    """As two models of one source have them, whose references share a folder."""

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


def test_changed_files_are_measured_anew(source, counting, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(b"1")
    source.location = f"folder:{images}"
    ReferenceSets(counting(), folder=str(tmp_path / "kept")).of(source)
    (images / "b.png").write_bytes(b"2")
    references = ReferenceSets(counting(), folder=str(tmp_path / "kept"))
    references.of(source)
    assert references.network.num_seen == 32


def test_the_file_on_disk_has_the_moments_under_the_names_that_others_read(source, fakes, tmp_path):
    references = fakes.references(folder=str(tmp_path))
    references.of(source)
    arrays = read_arrays(references.path(source))
    features = fakes.BrightnessNetwork().features(source.images).astype(float)
    np.testing.assert_allclose(arrays["mu"], features.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(arrays["sigma"], np.cov(features, rowvar=False), rtol=1e-6)


def test_an_empty_split_is_refused(fakes):
    source = fakes.ArraySource(np.zeros([0, 16, 16, 3], np.uint8), [])
    with pytest.raises(InputError, match="patterns has no images in its validation split"):
        fakes.references().of(source)


def test_a_batch_of_images_in_a_file_is_measured_as_the_images_are(source, fakes, tmp_path):
    path = str(tmp_path / "batch.npz")
    np.savez(path, arr_0=source.images, arr_1=source.labels)
    measured, facts = file_reference(path, fakes.references(), SIZE)
    expected = fakes.references().of(source)
    for array, other in zip(moments(measured), moments(expected), strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-12)
    assert facts["num_images"] == 32 and facts["file"] == "batch.npz" and len(facts["sha256"]) == 64


def test_moments_in_a_file_are_taken_as_they_are(fakes, tmp_path):
    path = str(tmp_path / "moments.npz")
    covariance = np.diag([1.0, 2.0, 3.0, 4.0])
    np.savez(path, mu=np.arange(4.0), sigma=covariance)
    measured, facts = file_reference(path, fakes.references(), SIZE)
    np.testing.assert_allclose(measured.statistics.covariance, covariance, rtol=1e-12)
    assert facts["num_images"] == "not stated"


def test_a_kept_set_is_a_whole_reference_for_the_network_that_made_it(source, fakes, tmp_path):
    references = fakes.references(folder=str(tmp_path))
    expected, path = references.of(source), references.path(source)
    measured, facts = file_reference(path, references, SIZE)
    np.testing.assert_array_equal(measured.statistics.sample, expected.statistics.sample)
    assert measured.label_accuracy == expected.label_accuracy
    assert facts == conditions.image_set(source, 32)
    with pytest.raises(
        InputError, match="of images of 16 x 16 px, and the model's are of 8 x 24: .*--height=8 --width=24"
    ):
        file_reference(path, references, (8, 24))
    references.network.checksum = "4567"
    with pytest.raises(InputError, match="made by the feature network 0123, not by 4567"):
        file_reference(path, references, SIZE)


@pytest.mark.parametrize("described", ["{", "[]", "{}", '{"images": {}, "feature_network": "0123"}'])
def test_a_kept_set_that_describes_itself_otherwise_is_named(described, source, fakes, tmp_path):
    references = fakes.references(folder=str(tmp_path))
    references.of(source)
    path = references.path(source)
    np.savez(path, **(read_arrays(path) | {"described": np.array(described)}))
    with pytest.raises(InputError, match="is damaged or of another version .*: measure it again"):
        file_reference(path, references, SIZE)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, "holds moments of 3 features; the feature network has 4"),
        ({"x": np.zeros(3)}, "holds x; it needs the images arr_0, or mu and sigma"),
        ({"arr_0": np.zeros([2, 8, 8, 3])}, "arr_0 must be uint8 .images, height, width, 3., not float64"),
        ({"arr_0": np.zeros([2, 8, 8], np.uint8)}, "arr_0 must be uint8"),
    ],
)
def test_files_of_another_form_are_named(arrays, message, fakes, tmp_path):
    path = str(tmp_path / "file.npz")
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message):
        file_reference(path, fakes.references(), SIZE)


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_files_that_are_no_archive_are_named(content, fakes, tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="file.npz can't be read as an .npz file"):
        file_reference(str(path), fakes.references(), SIZE)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"no array",
        lambda content: content[:20],
        lambda content: content.replace(b"'shape'", b"'shope'"),
    ],
)
def test_images_in_a_file_that_are_no_array_are_named(damage, source, fakes, tmp_path):
    content = io.BytesIO()
    np.save(content, source.images)
    path = str(tmp_path / "file.npz")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", damage(content.getvalue()))
    with pytest.raises(InputError, match="file.npz can't be read as an .npz file"):
        file_reference(path, fakes.references(), SIZE)


def test_what_fails_in_the_network_is_not_blamed_on_the_file(source, fakes, tmp_path):
    class Broken(fakes.BrightnessNetwork):
        def activations(self, images, batch_size=256):
            raise ValueError("a bug")

    path = str(tmp_path / "file.npz")
    np.savez(path, arr_0=source.images)
    with pytest.raises(ValueError, match="^a bug$"):
        file_reference(path, ReferenceSets(Broken()), SIZE)


@pytest.mark.parametrize("name", ["arr_0", "mu"])
def test_a_damaged_compressed_file_is_named(name, source, fakes, tmp_path):
    path = tmp_path / "file.npz"
    np.savez_compressed(path, **{name: source.images, "sigma": np.eye(4)})
    content = bytearray(path.read_bytes())
    content[60:400] = bytes(340)
    path.write_bytes(content)
    with pytest.raises(InputError, match="file.npz"):
        file_reference(str(path), fakes.references(), SIZE)


def test_a_missing_file_is_named(fakes, tmp_path):
    with pytest.raises(InputError, match="nowhere.npz can't be read"):
        file_reference(str(tmp_path / "nowhere.npz"), fakes.references(), SIZE)


def test_pickled_objects_are_not_read(fakes, tmp_path):
    path = str(tmp_path / "file.npz")
    np.savez(path, mu=np.array([{"a": 1}], dtype=object), sigma=np.eye(4))
    with pytest.raises(InputError, match="no readable .npz file"):
        file_reference(path, fakes.references(), SIZE)


def test_a_cut_off_batch_is_named(fakes, tmp_path):
    content = io.BytesIO()
    np.save(content, np.zeros([9, 16, 16, 3], np.uint8))
    path = str(tmp_path / "cut.npz")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", content.getvalue()[:-100])
    with pytest.raises(InputError, match="arr_0 is cut off after 5 images"):
        file_reference(path, fakes.references(), SIZE)
