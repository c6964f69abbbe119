"""Parquet files in the layouts that others write."""

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from vim_tf.config import DataConfig
from vim_tf.data import sources
from vim_tf.data.sources import parquet as parquet_files
from vim_tf.data.sources.feature_names import RECOGNISED, FeatureNames
from vim_tf.errors import InputError


@pytest.fixture
def encoded(pictures):
    """6 PNG files; file i is grey of level i."""
    return [pictures.encode(pictures.flat(i), "PNG") for i in range(6)]


def write(path, features=None, **columns):
    """A table, with Hugging Face's description of its features; returns its path."""
    table = pa.table(columns)
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, str(path))
    return str(path)


def elements(config):
    return list(sources.build_source(config, "train", 8, 8).ordered().as_numpy_iterator())


def test_a_hugging_face_set_has_the_names_of_its_classes_with_any_column_names(encoded, tmp_path):
    features = {
        "photo": {"_type": "Image"},
        "species": {"_type": "ClassLabel", "names": ["cat", "dog", "emu"]},
        "width": {"_type": "Value", "dtype": "int32"},
    }
    photos = [{"bytes": image, "path": f"{number}.png"} for number, image in enumerate(encoded)]
    path = write(tmp_path / "x.parquet", features, width=[8] * 6, species=[0, 1] * 3, photo=photos)
    config = DataConfig(f"parquet:{path}", validation_fraction=0.0)
    source = sources.build_source(config, "train", 8, 8)
    assert source.class_names == ["cat", "dog", "emu"]
    assert source.labels.tolist() == [0, 1] * 3
    assert [int(e["image"][0, 0, 0]) for e in source.ordered().as_numpy_iterator()] == list(range(6))


def test_cifar_100_has_two_labels_of_which_one_must_be_chosen(encoded, tmp_path):
    path = write(tmp_path / "x.parquet", img=encoded, fine_label=[7, 8, 9] * 2, coarse_label=[1, 2] * 3)
    with pytest.raises(InputError) as caught:
        elements(DataConfig(f"parquet:{path}"))
    assert str(caught.value) == (
        f"--data.source=parquet:{path}: {path}: each of fine_label, coarse_label may be the label; choose one with "
        "--data.label_feature (there are img, fine_label, coarse_label)"
    )
    config = DataConfig(f"parquet:{path}", label_feature="coarse_label", validation_fraction=0.0)
    assert [int(e["label"]) for e in elements(config)] == [1, 2] * 3


def test_one_other_label_is_taken(encoded, tmp_path):
    path = write(tmp_path / "x.parquet", image=encoded, fine_label=[0, 1, 2] * 2)
    assert sources.open_source(f"parquet:{path}", "train", 8, 8, validation_fraction=0.0).num_classes == 3


def test_keys_are_strings_bytes_or_integers(encoded, tmp_path):
    for name, keys, expected in (
        ("integer", [10, 11, 12], [b"10", b"11", b"12"]),
        ("string", ["a", "é", "c"], [b"a", "é".encode(), b"c"]),
        ("bytes", [b"a", b"\xff", b"c"], [b"a", b"\xff", b"c"]),
    ):
        path = write(tmp_path / f"{name}.parquet", image=encoded[:3], key=keys)
        records = parquet_files.find_parquet([path], RECOGNISED).records(path)
        assert [record.key for record in records] == expected
    path = write(tmp_path / "x.parquet", image=encoded[:2], key=[0.5, 1.5])
    with pytest.raises(InputError, match="column key is double; keys are strings, bytes or integers"):
        elements(DataConfig(f"parquet:{path}"))
    config = DataConfig(f"parquet:{path}", key_feature="none", validation_fraction=0.0)
    assert [e["key"] for e in elements(config)] == [b"x.parquet:0", b"x.parquet:1"]


def test_a_label_of_more_than_64_bits_is_named(encoded, tmp_path):
    path = write(tmp_path / "x.parquet", image=encoded[:2], label=pa.array([1, 2**63], pa.uint64()))
    records = list(parquet_files.find_parquet([path], RECOGNISED).records(path))
    assert [record.label for record in records] == [1, -1]
    assert records[1].problem == "label 9223372036854775808 has more than 64 bits"


def test_files_with_other_class_names_are_refused(encoded, tmp_path):
    for number, names in enumerate((["cat", "dog"], ["dog", "cat"])):
        features = {"label": {"_type": "ClassLabel", "names": names}}
        write(tmp_path / f"{number}.parquet", features, image=encoded[:2], label=[0, 1])
    with pytest.raises(InputError, match="1.parquet has other class names than the files before it"):
        elements(DataConfig(f"parquet:{tmp_path}/*.parquet"))


@pytest.mark.parametrize("metadata", [b"no JSON", b"[]", b'{"info": 1}', b'{"info": {"features": {"label": "x"}}}'])
def test_metadata_without_information_are_ignored(metadata, encoded, tmp_path):
    table = pa.table({"image": encoded, "label": [0] * 6}).replace_schema_metadata({b"huggingface": metadata})
    parquet.write_table(table, f"{tmp_path}/x.parquet")
    found = parquet_files.find_parquet([f"{tmp_path}/x.parquet"], FeatureNames())
    assert found == parquet_files.Parquet("image", "label", "", None)
