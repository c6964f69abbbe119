"""Names of sources, and the sources that need no files."""

import dataclasses
import itertools
import types

import numpy as np
import pytest
from sklearn import datasets

from vim_tf.config import DataConfig
from vim_tf.data import sources
from vim_tf.data.sources.base import SourceOptions
from vim_tf.data.sources.feature_names import FeatureNames
from vim_tf.errors import InputError


def refusal(name, split="train", height=16, width=16, **options):
    with pytest.raises(InputError) as caught:
        sources.open_source(name, split, height, width, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def elements(dataset, count=None):
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        assert (a["label"], a["key"]) == (b["label"], b["key"])


def test_an_unknown_source_is_refused_with_a_guess():
    assert "Did you mean digits?" in refusal("digit")
    assert "Did you mean folder?" in refusal("foldr:/x")
    assert "digits, photos, avatars, fonts, folder, tfrecord, parquet, webdataset, tfds" in refusal("zzz")


def test_a_source_without_its_path_or_with_a_needless_one_is_refused():
    assert "folder:<path>" in refusal("folder:")
    assert "folder:<path>" in refusal("folder")
    assert "nothing after" in refusal("digits:5")


def test_an_unknown_split_is_refused():
    assert "train, validation" in refusal("digits", split="test")


def test_digits_are_scikit_learns_scans_with_every_fifth_for_validation():
    scans = datasets.load_digits()
    train, validation = (sources.open_source("digits", split, 8, 8) for split in ("train", "validation"))
    assert (train.num_examples, validation.num_examples) == (1438, 359)
    assert train.num_classes == 10
    assert train.class_names == [str(digit) for digit in range(10)]
    assert (train.unreadable, train.name, train.split) == ([], "digits", "train")
    grey = np.round(scans.images / 16 * 255)
    for source, indices in ((train, np.arange(1797) % 5 != 4), (validation, np.arange(1797) % 5 == 4)):
        found = elements(source.ordered())
        np.testing.assert_array_equal([each["label"] for each in found], scans.target[indices])
        images = np.stack([each["image"] for each in found])
        assert images.dtype == np.uint8
        for channel in range(3):
            np.testing.assert_array_equal(images[..., channel], grey[indices])


def test_digits_come_in_the_requested_size():
    image = elements(sources.open_source("digits", "validation", 16, 24).ordered(), 1)[0]["image"]
    assert image.shape == (16, 24, 3)


def test_keys_are_unique_over_both_splits():
    for name in ("digits", "photos"):
        both = [sources.open_source(name, split, 8, 8) for split in ("train", "validation")]
        keys = np.concatenate([batch["key"] for source in both for batch in elements(source.ordered_batches(1000))])
        assert len(set(keys)) == len(keys) == sum(source.num_examples for source in both)


def test_photos_are_crops_of_disjoint_regions():
    china, flower = datasets.load_sample_images().images
    regions = {"train": slice(0, 384), "validation": slice(384, 640)}
    for split, columns in regions.items():
        source = sources.open_source("photos", split, 24, 32)
        assert source.class_names == ["china", "flower"]
        for element in elements(source.ordered(), 6):
            photo = (china, flower)[element["label"]][:, columns]
            windows = np.lib.stride_tricks.sliding_window_view(photo, (24, 32, 3))[:, :, 0]
            candidates = windows[:, :, 0, 0] == element["image"][0, 0]
            places = np.argwhere(candidates.all(-1))
            assert any((windows[row, column] == element["image"]).all() for row, column in places)


def test_photos_are_always_the_same_and_spread_over_the_region():
    first, second = (elements(sources.open_source("photos", "validation", 32, 32).ordered()) for _ in range(2))
    assert_same(first, second)
    assert len(first) == 1024
    assert np.bincount([each["label"] for each in first]).tolist() == [512, 512]
    assert len({each["image"].tobytes() for each in first}) > 1000


def test_photos_hold_crops_of_256_pixels_and_refuse_larger_ones():
    for split in ("train", "validation"):
        image = elements(sources.open_source("photos", split, 256, 256).ordered(), 1)[0]["image"]
        assert image.shape == (256, 256, 3)
    assert "427 x 256" in refusal("photos", "validation", 256, 257)
    assert "don't fit" in refusal("photos", "train", 428, 16)


@pytest.mark.parametrize("name", ["digits", "photos"])
def test_batches_hold_the_same_elements(name):
    source = sources.open_source(name, "validation", 8, 8)
    for batches, single in (
        (source.ordered_batches(50), source.ordered()),
        (source.shuffled_batches(50, 3, start=7), source.shuffled(3, start=7)),
    ):
        batches = elements(batches, 2)
        joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        rows = [{name: values[row] for name, values in joined.items()} for row in range(100)]
        assert_same(rows, elements(single, 100))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "photos"])
def test_shuffled_resumes_from_start_bitwise(name):
    source = sources.open_source(name, "validation", 8, 8)
    count = source.num_examples
    whole = elements(source.shuffled(3), count + 20)
    assert sorted(each["key"] for each in whole[:count]) == sorted(each["key"] for each in elements(source.ordered()))
    for start in (0, 7, count - 5, count + 3):
        assert_same(elements(source.shuffled(3, start=start), 12), whole[start : start + 12])
    other = elements(source.shuffled(4), 20)
    assert [each["key"] for each in other] != [each["key"] for each in whole[:20]]


def test_build_source_passes_on_every_field_of_the_config(monkeypatch):
    seen = []
    opened = types.SimpleNamespace()
    monkeypatch.setattr(
        sources, "open_source", lambda *arguments, **options: seen.append((arguments, options)) or opened
    )
    config = DataConfig(
        "folder:/x",
        validation_fraction=0.25,
        max_unreadable_fraction=0.5,
        shuffle_buffer=77,
        max_pixels=99,
        image_feature="img",
        label_feature="kind",
        key_feature="id",
        map_labels=True,
        split_names=False,
    )
    assert sources.build_source(config, "train", 16, 32).name == "folder:/x"
    assert sources.build_source(dataclasses.replace(config, name="cats"), "train", 16, 32).name == "cats"
    assert seen[0] == seen[1]
    arguments, options = seen[0]
    assert arguments == ("folder:/x", "train", 16, 32)
    names = FeatureNames("img", "kind", "id")
    assert SourceOptions(**options) == SourceOptions(0.25, 0.5, 77, 99, names, True, False)
    assert options.keys() == {field.name for field in dataclasses.fields(SourceOptions)}
