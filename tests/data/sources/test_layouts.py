"""TFRecord files as others write them, and which files belong to a source."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.data import sources
from vim_tf.data.sources import containers
from vim_tf.data.sources.base import SourceOptions
from vim_tf.data.sources.feature_names import FeatureNames
from vim_tf.data.sources.records import TFRECORD
from vim_tf.errors import InputError


def write(path, examples):
    """Writes dicts of bytes, int or float as tf.train.Examples."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for values in examples:
            features = {}
            for name, value in values.items():
                if isinstance(value, bytes):
                    features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                elif isinstance(value, int):
                    features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
                else:
                    features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


@pytest.fixture
def encoded(pictures):
    """8 PNG files; file i is grey of level i."""
    return [pictures.encode(pictures.flat(i), "PNG") for i in range(8)]


def slim(encoded, number):
    """An example as TF-slim writes ImageNet: labels from 1 on."""
    label = 1 + number % 2
    return {
        "image/encoded": encoded[number],
        "image/format": b"png",
        "image/class/label": label,
        "image/class/text": [b"tench", b"goldfish, carp"][label - 1],
        "image/height": 8,
    }


def open_source(name, **options):
    return sources.open_source(name, "train", 8, 8, **({"validation_fraction": 0.0} | options))


@pytest.mark.parametrize("memory", [1 << 30, 0], ids=["in memory", "streamed"])
def test_the_records_of_tf_slim_are_read_with_labels_and_the_names_of_their_classes(
    memory, encoded, tmp_path, monkeypatch, warnings_logged
):
    monkeypatch.setattr("vim_tf.data.images.examination.MEMORY_LIMIT_BYTES", memory)
    write(tmp_path / "x.tfrecord", [slim(encoded, number) for number in range(8)])
    source = open_source(f"tfrecord:{tmp_path}/x.tfrecord")
    found = list(source.ordered().as_numpy_iterator())
    assert [(int(e["image"][0, 0, 0]), int(e["label"])) for e in found] == [(n, 1 + n % 2) for n in range(8)]
    assert source.class_names == ["0", "tench", "goldfish, carp"]
    assert warnings_logged[-1].endswith("no training image has the class 0")
    mapped = open_source(f"tfrecord:{tmp_path}/x.tfrecord", map_labels=True)
    assert (mapped.class_names, mapped.label_values) == (["tench", "goldfish, carp"], [1, 2])
    assert [int(e["label"]) for e in mapped.ordered().as_numpy_iterator()] == [0, 1] * 4
    assert mapped.labels.tolist() == [0, 1] * 4


def test_features_can_be_named(encoded, tmp_path):
    write(tmp_path / "x", [{"photo": encoded[n], "kind": n, "number": 100 + n} for n in range(3)])
    source = open_source(f"tfrecord:{tmp_path}/x", features=FeatureNames("photo", "kind", "number"))
    found = [(e["key"], int(e["label"])) for e in source.ordered().as_numpy_iterator()]
    assert found == [(b"100", 0), (b"101", 1), (b"102", 2)]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"picture": b"x", "kind": 1}, "none of kind, picture is known to be the image; set it with --data.image_fea"),
        ({"image": b"x", "label": b"cat"}, "feature label is bytes; labels are integers"),
        ({"image": b"x", "key": 0.5}, "feature key is float; keys are bytes or integers"),
        ({"image": 5}, "feature image is int64; the image must be an encoded file, bytes"),
    ],
)
def test_features_of_no_known_name_or_kind_are_refused(values, said, tmp_path):
    write(tmp_path / "x", [values])
    with pytest.raises(InputError) as caught:
        open_source(f"tfrecord:{tmp_path}/x")
    assert str(caught.value).startswith(f"--data.source=tfrecord:{tmp_path}/x: {tmp_path}/x: ")
    assert said in str(caught.value)


def test_a_record_without_the_image_says_which_feature_it_lacks(encoded, tmp_path):
    write(tmp_path / "x", [{"image": encoded[0]}, {"other": encoded[1]}])
    found = TFRECORD.find_files(f"{tmp_path}/x", SourceOptions())
    records = list(found.container.records(f"{tmp_path}/x"))
    assert [record.problem for record in records] == ["", "no bytes in feature image"]


def test_a_label_that_only_later_records_have_is_found_as_before(encoded, tmp_path):
    count = containers._RECORDS_SEEN + 1
    write(tmp_path / "x", [{"image": encoded[0]}] * count + [{"image": encoded[1], "label": 0}])
    with pytest.raises(InputError, match="labels must be 0 or above in all records or missing in all of them"):
        open_source(f"tfrecord:{tmp_path}/x")


def test_files_of_several_splits_in_one_glob_are_refused_unless_names_mean_nothing(encoded, tmp_path):
    for split in ("train", "val"):
        write(tmp_path / f"{split}-0.tfrecord", [{"image": encoded[0]}, {"image": encoded[1]}])
    name = f"tfrecord:{tmp_path}/*.tfrecord"
    with pytest.raises(InputError, match="if these are splits, write {split}"):
        open_source(name)
    assert open_source(name, has_split_names=False).num_examples == 4
    assert open_source(f"tfrecord:{tmp_path}/train-*").num_examples == 2


def test_sparse_labels_are_refused_or_mapped(encoded, tmp_path):
    labels = [2006656, 512, 2006656, 7]
    write(tmp_path / "x", [{"image": encoded[n], "label": label} for n, label in enumerate(labels)])
    with pytest.raises(InputError, match="the largest label is 2006656.*--data.map_labels"):
        open_source(f"tfrecord:{tmp_path}/x")
    source = open_source(f"tfrecord:{tmp_path}/x", map_labels=True)
    assert (source.class_names, source.label_values) == (["7", "512", "2006656"], [7, 512, 2006656])
    np.testing.assert_array_equal([e["label"] for e in source.ordered().as_numpy_iterator()], [2, 1, 2, 0])


def test_what_names_features_of_a_source_without_records_is_refused(tmp_path):
    with pytest.raises(InputError, match="--data.label_feature has no effect on --data.source=digits: it has no"):
        open_source("digits", features=FeatureNames(label="kind"))
    with pytest.raises(InputError, match="--data.map_labels has no effect on --data.source=folder:"):
        open_source(f"folder:{tmp_path}", map_labels=True)
