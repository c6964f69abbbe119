"""Reference sets from files, as projects share them."""

import io
import zipfile

import numpy as np
import pytest

from vim_tf.errors import InputError
from vim_tf.evaluation import conditions
from vim_tf.evaluation.image_sets import ReferenceSets
from vim_tf.evaluation.reference_file import ReferenceFile
from vim_tf.storage import npz

# Height and width of the images of `source`.
SIZE = (16, 16)


@pytest.fixture
def source(fakes):
    return fakes.ArraySource(fakes.patch_images(32), np.arange(32) % 16)


def moments(measured):
    return measured.statistics.mean, measured.statistics.covariance


def test_a_batch_of_images_in_a_file_is_measured_as_the_images_are(source, fakes, tmp_path):
    path = str(tmp_path / "batch.npz")
    np.savez(path, arr_0=source.images, arr_1=source.labels)
    measured, facts = ReferenceFile(path, SIZE).measured(fakes.references())
    expected = fakes.references().of(source)
    for array, other in zip(moments(measured), moments(expected), strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-12)
    assert facts["num_images"] == 32 and facts["file"] == "batch.npz" and len(facts["sha256"]) == 64


def test_moments_in_a_file_are_taken_as_they_are(fakes, tmp_path):
    path = str(tmp_path / "moments.npz")
    covariance = np.diag([1.0, 2.0, 3.0, 4.0])
    np.savez(path, mu=np.arange(4.0), sigma=covariance)
    measured, facts = ReferenceFile(path, SIZE).measured(fakes.references())
    np.testing.assert_allclose(measured.statistics.covariance, covariance, rtol=1e-12)
    assert facts["num_images"] == "not stated"


def test_a_kept_set_is_a_whole_reference_for_the_network_that_made_it(source, fakes, tmp_path):
    references = fakes.references(folder=str(tmp_path))
    expected, path = references.of(source), references.path(source)
    measured, facts = ReferenceFile(path, SIZE).measured(references)
    np.testing.assert_array_equal(measured.statistics.sample, expected.statistics.sample)
    assert measured.label_accuracy == expected.label_accuracy
    assert facts == conditions.image_set(source, 32)
    with pytest.raises(
        InputError, match="on images of 16 x 16 px, but the model's have 8 x 24 px: .*--height=8 --width=24"
    ):
        ReferenceFile(path, (8, 24)).measured(references)
    references.network.checksum = "4567"
    with pytest.raises(InputError, match="made with the feature network 0123, not 4567"):
        ReferenceFile(path, SIZE).measured(references)


@pytest.mark.parametrize("described", ["{", "[]", "{}", '{"images": {}, "feature_network": "0123"}'])
def test_a_kept_set_with_another_description_is_named(described, source, fakes, tmp_path):
    references = fakes.references(folder=str(tmp_path))
    references.of(source)
    path = references.path(source)
    np.savez(path, **(npz.read(path) | {"described": np.array(described)}))
    with pytest.raises(InputError, match="is damaged or from another version .*: measure it again"):
        ReferenceFile(path, SIZE).measured(references)


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
        ReferenceFile(path, SIZE).measured(fakes.references())


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_files_that_are_not_archives_are_named(content, fakes, tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="file.npz can't be read as an .npz file"):
        ReferenceFile(str(path), SIZE).measured(fakes.references())


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"no array",
        lambda content: content[:20],
        lambda content: content.replace(b"'shape'", b"'shope'"),
    ],
)
def test_images_in_a_file_that_are_not_an_array_are_named(damage, source, fakes, tmp_path):
    content = io.BytesIO()
    np.save(content, source.images)
    path = str(tmp_path / "file.npz")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", damage(content.getvalue()))
    with pytest.raises(InputError, match="file.npz can't be read as an .npz file"):
        ReferenceFile(path, SIZE).measured(fakes.references())


def test_what_fails_in_the_network_is_not_blamed_on_the_file(source, fakes, tmp_path):
    class Broken(fakes.BrightnessNetwork):
        def activations(self, images, batch_size=256):
            raise ValueError("a bug")

    path = str(tmp_path / "file.npz")
    np.savez(path, arr_0=source.images)
    with pytest.raises(ValueError, match="^a bug$"):
        ReferenceFile(path, SIZE).measured(ReferenceSets(Broken()))


@pytest.mark.parametrize("name", ["arr_0", "mu"])
def test_a_damaged_compressed_file_is_named(name, source, fakes, tmp_path):
    path = tmp_path / "file.npz"
    np.savez_compressed(path, **{name: source.images, "sigma": np.eye(4)})
    content = bytearray(path.read_bytes())
    content[60:400] = bytes(340)
    path.write_bytes(content)
    with pytest.raises(InputError, match="file.npz"):
        ReferenceFile(str(path), SIZE).measured(fakes.references())


def test_a_missing_file_is_named(fakes, tmp_path):
    with pytest.raises(InputError, match="nowhere.npz can't be read"):
        ReferenceFile(str(tmp_path / "nowhere.npz"), SIZE).measured(fakes.references())


def test_pickled_objects_are_not_read(fakes, tmp_path):
    path = str(tmp_path / "file.npz")
    np.savez(path, mu=np.array([{"a": 1}], dtype=object), sigma=np.eye(4))
    with pytest.raises(InputError, match="can't be read as an .npz file: Object arrays cannot be loaded"):
        ReferenceFile(path, SIZE).measured(fakes.references())


def test_a_cut_off_batch_is_named(fakes, tmp_path):
    content = io.BytesIO()
    np.save(content, np.zeros([9, 16, 16, 3], np.uint8))
    path = str(tmp_path / "cut.npz")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", content.getvalue()[:-100])
    with pytest.raises(InputError, match="arr_0 is cut off after 8 of 9 rows"):
        ReferenceFile(path, SIZE).measured(fakes.references())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": [0, np.nan, 0, 0], "sigma": np.eye(4)}, "mu holds NaN or infinity"),
        ({"mu": np.zeros(4), "sigma": np.full([4, 4], np.inf)}, "sigma holds NaN or infinity"),
        ({"mu": np.zeros(4), "sigma": np.eye(3)}, r"sigma has the shape \[3, 3\], not \[4, 4\]"),
        ({"mu": np.zeros([1, 4]), "sigma": np.eye(4)}, r"mu has the shape \[1, 4\], not \[4\]"),
        ({"mu": np.array(["a"] * 4), "sigma": np.eye(4)}, "can't be used: "),
        ({"arr_0": np.zeros([1, 16, 16, 3], np.uint8)}, "arr_0 holds 1 images, and a distance needs at least 2"),
    ],
)
def test_a_file_without_a_finite_distance_is_refused_without_a_network(arrays, message, tmp_path):
    path = str(tmp_path / "file.npz")
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message) as refusal:
        ReferenceFile(path, SIZE)
    assert "file.npz" in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("mu", np.full(4, np.nan)),
        ("sample", np.zeros([3, 2], np.float32)),
        ("sample_priorities", np.array([np.nan])),
        ("probability_sum", np.full(16, np.inf)),
        ("num_images", np.int64(1)),
    ],
)
def test_a_kept_set_that_was_damaged_is_refused_and_measured_again_when_it_is_gone(
    name, values, source, fakes, tmp_path
):
    references = fakes.references(folder=str(tmp_path))
    expected, path = references.of(source), references.path(source)
    np.savez(path, **(npz.read(path) | {name: values}))
    with pytest.raises(InputError, match="is damaged or from another version"):
        ReferenceFile(path, SIZE)
    with pytest.raises(InputError, match=r"\.npz is damaged .*: delete it to measure the images again"):
        fakes.references(folder=str(tmp_path)).of(source)
    (tmp_path / path).unlink()
    again = fakes.references(folder=str(tmp_path)).of(source)
    np.testing.assert_array_equal(again.statistics.mean, expected.statistics.mean)
