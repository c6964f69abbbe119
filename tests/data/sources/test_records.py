"""TFRecord files and TensorFlow Datasets."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from vim_tf.data import sources
from vim_tf.data.images import examination
from vim_tf.data.sources.base import MemorySource
from vim_tf.errors import InputError


def open_source(name, split="train", **options):
    return sources.open_source(str(name), split, 6, 6, **options)


def refusal(name, split="train", **options):
    with pytest.raises(InputError) as caught:
        open_source(name, split, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def elements(dataset, count=None):
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        assert (a["label"], a["key"]) == (b["label"], b["key"])


@pytest.fixture
def encoded(pictures):
    """60 files; file i is grey of level i, and one is a TIFF."""
    return [pictures.encode(pictures.flat(i), "TIFF" if i == 9 else "PNG") for i in range(60)]


@pytest.fixture
def shards(pictures, encoded, tmp_path):
    """Glob of three shards of 20 examples, one of them compressed; labels are i % 3."""
    for shard in range(3):
        numbers = range(20 * shard, 20 * shard + 20)
        path = f"{tmp_path}/part-{shard}.tfrecord" + (".gz" if shard == 1 else "")
        keys = [f"key{i}".encode() for i in numbers]
        pictures.examples(path, [encoded[i] for i in numbers], [i % 3 for i in numbers], keys)
    return f"tfrecord:{tmp_path}/part-*"


@pytest.fixture(params=["in memory", "streamed"])
def storage(request, monkeypatch):
    if request.param == "streamed":
        monkeypatch.setattr(examination, "MEMORY_LIMIT_BYTES", 0)
    return request.param


def test_records_are_read_with_label_and_key(shards, storage):
    train, validation = open_source(shards), open_source(shards, "validation")
    assert isinstance(train, MemorySource) == (storage == "in memory")
    assert train.num_classes == validation.num_classes == 3
    assert train.class_names == ["0", "1", "2"]
    found = [elements(source.ordered()) for source in (train, validation)]
    assert [len(each) for each in found] == [train.num_examples, validation.num_examples]
    assert 1 <= len(found[1]) <= 15
    triples = [(int(e["image"][0, 0, 0]), int(e["label"]), e["key"].decode()) for each in found for e in each]
    assert sorted(triples) == [(i, i % 3, f"key{i}") for i in range(60)]


def test_streamed_and_remembered_examples_are_the_same_and_in_file_order(shards, monkeypatch):
    in_memory = open_source(shards)
    expected = elements(in_memory.ordered())
    del in_memory
    monkeypatch.setattr(examination, "MEMORY_LIMIT_BYTES", 0)
    streamed = open_source(shards)
    assert_same(elements(streamed.ordered()), expected)
    numbers = [int(e["image"][0, 0, 0]) for e in expected]
    assert numbers == sorted(numbers)
    assert streamed.ordered().element_spec["image"].shape == (6, 6, 3)


@pytest.mark.slow
@pytest.mark.parametrize("shuffle_buffer", [7, 1000])
def test_shuffled_resumes_from_start_bitwise(shards, storage, shuffle_buffer):
    source = open_source(shards, shuffle_buffer=shuffle_buffer)
    count = source.num_examples
    whole = elements(source.shuffled(3), 3 * count)
    keys = [[e["key"] for e in whole[start : start + count]] for start in (0, count, 2 * count)]
    assert all(len(set(epoch)) == count for epoch in keys)
    assert len({tuple(epoch) for epoch in keys}) > 1
    for start in (1, 2 * count - 5):
        assert_same(elements(source.shuffled(3, start=start), 8), whole[start : start + 8])
    assert [e["key"] for e in elements(source.shuffled(5), count)] != keys[0]


@pytest.fixture
def global_seed():
    """Function that sets TensorFlow's global seed, which is unset before and after."""
    yield tf.random.set_seed
    tf.random.set_seed(None)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 5])
def test_the_order_does_not_depend_on_the_global_seed(shards, monkeypatch, global_seed, seed):
    """0 is the default of `training.seed`, and TensorFlow compares seeds with it."""
    monkeypatch.setattr(examination, "MEMORY_LIMIT_BYTES", 0)
    source, keys = open_source(shards, shuffle_buffer=7), []
    for each in (None, seed):
        global_seed(each)
        keys.append([example["key"] for example in elements(source.shuffled(3), 20)])
    assert keys[0] == keys[1]


@pytest.mark.slow
def test_the_buffer_mixes_within_files(shards, monkeypatch):
    monkeypatch.setattr(examination, "MEMORY_LIMIT_BYTES", 0)
    source = open_source(shards)
    numbers = [int(e["image"][0, 0, 0]) for e in elements(source.shuffled(0), source.num_examples)]
    within_first = [number for number in numbers if number < 20]
    assert within_first != sorted(within_first)


def test_keys_are_made_up_where_there_are_none_and_survive_a_move(pictures, encoded, tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder / "a").mkdir(parents=True)
        (tmp_path / folder / "b").mkdir()
        pictures.examples(f"{tmp_path}/{folder}/a/x.tfrecord", encoded[:3])
        pictures.examples(f"{tmp_path}/{folder}/b/x.tfrecord", encoded[3:5])
    keys = [
        [
            e["key"]
            for e in elements(open_source(f"tfrecord:{tmp_path}/{folder}/*/*", validation_fraction=0.0).ordered())
        ]
        for folder in ("here", "there")
    ]
    assert (
        keys[0]
        == keys[1]
        == [b"a/x.tfrecord:0", b"a/x.tfrecord:1", b"a/x.tfrecord:2", b"b/x.tfrecord:0", b"b/x.tfrecord:1"]
    )


def test_records_without_labels_are_unlabelled(pictures, encoded, tmp_path):
    pictures.examples(f"{tmp_path}/x.tfrecord", encoded[:4])
    source = open_source(f"tfrecord:{tmp_path}/x.tfrecord", validation_fraction=0.0)
    assert (source.num_classes, source.class_names) == (0, [])
    assert [e["label"] for e in elements(source.ordered())] == [-1] * 4


def test_a_placeholder_names_the_splits_and_both_agree_on_the_classes(pictures, encoded, tmp_path):
    pictures.examples(f"{tmp_path}/train-0.tfrecord", encoded[:4], [0, 1, 0, 1])
    pictures.examples(f"{tmp_path}/validation-0.tfrecord.gz", encoded[4:6], [0, 4])
    name = f"tfrecord:{tmp_path}/{{split}}-*"
    train, validation = open_source(name), open_source(name, "validation")
    assert (train.num_examples, validation.num_examples) == (4, 2)
    assert train.num_classes == validation.num_classes == 5


def test_unreadable_records_are_named_or_left_out(pictures, encoded, tmp_path, storage):
    pictures.examples(
        f"{tmp_path}/x.tfrecord", [encoded[0], b"text", encoded[2], b"", encoded[4][:-20]], [0, 0, 1, 1, 2]
    )
    name = f"tfrecord:{tmp_path}/x.tfrecord"
    message = refusal(name)
    assert "3 of 5" in message
    for number in (1, 3, 4):
        assert f"x.tfrecord:{number}: " in message
    source = open_source(name, validation_fraction=0.0, max_unreadable_fraction=0.6)
    assert [(e["image"][0, 0, 0], e["label"]) for e in elements(source.ordered())] == [(0, 0), (2, 1)]
    assert len(source.unreadable) == 3
    assert source.num_classes == 3  # a class without readable images keeps its place


def test_bad_record_files_are_refused(pictures, encoded, tmp_path):
    assert "no file matches" in refusal(f"tfrecord:{tmp_path}/*.tfrecord")
    assert f"{tmp_path}/train-*" in refusal(f"tfrecord:{tmp_path}/{{split}}-*")
    (tmp_path / "empty.tfrecord").write_bytes(b"")
    assert "no record" in refusal(f"tfrecord:{tmp_path}/empty.tfrecord")
    (tmp_path / "other.tfrecord").write_bytes(b"this is no record file at all")
    assert "other.tfrecord" in refusal(f"tfrecord:{tmp_path}/other.tfrecord")
    pictures.examples(f"{tmp_path}/good.tfrecord", encoded[:3], [0, 1, 2])
    whole = (tmp_path / "good.tfrecord").read_bytes()
    (tmp_path / "cut.tfrecord").write_bytes(whole[:-30])
    assert "record 2 of" in refusal(f"tfrecord:{tmp_path}/cut.tfrecord")
    pictures.examples(f"{tmp_path}/negative.tfrecord", encoded[:3], [0, -1, 2])
    assert "labels" in refusal(f"tfrecord:{tmp_path}/negative.tfrecord")


class TinyShapes(tfds.core.GeneratorBasedBuilder):
    """60 grey squares."""

    VERSION = tfds.core.Version("1.0.0")
    SPLITS = {"train": 40, "test": 20}

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["low", "high"]),
            "note": tfds.features.Text(),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.SPLITS}

    def _generate_examples(self, split):
        for i in range(self.SPLITS[split]):
            number = i + (100 if split == "test" else 0)
            yield number, {"image": np.full((6, 6, 3), number, np.uint8), "label": i % 2, "note": "nothing"}


class TinyTrainOnly(TinyShapes):
    """40 grey squares without a split to validate on."""

    SPLITS = {"train": 40}


class TinyTestOnly(TinyShapes):
    """Squares without a split to train on."""

    SPLITS = {"test": 4}


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """The folder where tfds looks, set like users do, by the environment variable."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    return str(tmp_path)


def prepare(builder_class, data_dir, num_shards=2):
    builder = builder_class(data_dir=data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=num_shards))


@pytest.mark.slow
def test_a_tfds_data_set_is_read_with_its_own_splits_and_names(data_dir, monkeypatch):
    monkeypatch.setattr(examination, "MEMORY_LIMIT_BYTES", 0)
    prepare(TinyShapes, data_dir)
    train, validation = open_source("tfds:tiny_shapes"), open_source("tfds:tiny_shapes", "validation")
    assert train.class_names == validation.class_names == ["low", "high"]
    assert (train.num_examples, validation.num_examples) == (40, 20)
    for source, first in ((train, 0), (validation, 100)):
        found = elements(source.ordered())
        assert sorted((int(e["image"][0, 0, 0]), int(e["label"])) for e in found) == [
            (first + i, i % 2) for i in range(source.num_examples)
        ]
        assert len({e["key"] for e in found}) == len(found)
        whole = elements(source.shuffled(1), 50)
        assert_same(elements(source.shuffled(1, start=45), 5), whole[45:])


def test_a_tfds_data_set_without_a_validation_split_is_divided(data_dir):
    prepare(TinyTrainOnly, data_dir)
    both = [open_source("tfds:tiny_train_only", split) for split in ("train", "validation")]
    levels = [int(e["image"][0, 0, 0]) for source in both for e in elements(source.ordered())]
    assert sorted(levels) == list(range(40))
    assert all(source.num_examples for source in both)


def test_a_tfds_data_set_without_a_training_split_is_refused(data_dir):
    prepare(TinyTestOnly, data_dir)
    assert "no split train, only test" in refusal("tfds:tiny_test_only")


def test_an_unknown_tfds_data_set_is_refused_in_one_line(data_dir):
    message = refusal("tfds:no_such_data_set")
    assert message.startswith("--data.source=tfds:no_such_data_set can't be prepared")
    assert len(message) < 500


def test_a_tfds_data_set_whose_download_fails_is_refused_in_one_line(data_dir, monkeypatch):
    def fail(self, **arguments):
        raise ConnectionError("no route\n to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    assert "no route to host" in refusal("tfds:mnist")


class TinySpeech(TinyShapes):
    """No images."""

    def _info(self):
        features = {"text": tfds.features.Text()}
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _generate_examples(self, split):
        yield 0, {"text": "words"}


def test_a_tfds_data_set_without_images_is_refused(data_dir):
    prepare(TinySpeech, data_dir, num_shards=1)
    assert "has no feature with encoded images, only text" in refusal("tfds:tiny_speech")
