"""Token records and their manifest."""

import dataclasses
import gzip
import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.data.records import tokens as token_records
from vim_tf.errors import InputError

MANIFEST = token_records.Manifest(
    tokenizer_checksum="abc",
    codebook_size=300,
    grid_height=2,
    grid_width=3,
    depth=1,
    views=2,
    num_classes=4,
    class_names=["a", "b", "c", "d"],
    source="digits",
    splits={},
)
TOKENS = np.random.default_rng(0).integers(0, 300, (5, 2, 6))
LABELS = [3, 0, 1, 2, 3]


def write_shard(path, tokens=TOKENS, labels=LABELS, codebook_size=300):
    with token_records.ShardWriter(str(path), codebook_size) as writer:
        for index, (views, label) in enumerate(zip(tokens, labels, strict=True)):
            writer.write(views, label, f"key{index}".encode())
    return {"file": path.name, "num_examples": writer.num_examples, "sha256": writer.sha256}


def write_split(root, folder="train", sizes=(3, 2), **changes):
    """Writes TOKENS in shards; `changes` replace fields of the manifest."""
    shards, start = [], 0
    for index, size in enumerate(sizes):
        path = root / folder / token_records.shard_name(index, len(sizes))
        shards.append(write_shard(path, TOKENS[start : start + size], LABELS[start : start + size]))
        start += size
    manifest = dataclasses.replace(MANIFEST, splits={"train": {"num_examples": start, "shards": shards}})
    manifest = dataclasses.replace(manifest, **changes)
    token_records.write_manifest(str(root), manifest)
    return manifest


def refusal(root, split="train"):
    with pytest.raises(InputError) as caught:
        token_records.load_tokens(str(root), split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_manifest_records_encoding_without_xla_which_is_the_default_for_older_ones():
    values = json.loads(MANIFEST.to_json())
    assert values.pop("jit_compile") == "off"
    assert token_records.Manifest.from_json(json.dumps(values)) == MANIFEST


@pytest.mark.parametrize(
    ("codebook_size", "expected"),
    [(65536, bytes([1, 0, 0, 1, 255, 255])), (65537, bytes([1, 0, 0, 0, 0, 1, 0, 0, 255, 255, 0, 0]))],
)
def test_tokens_are_little_endian_integers_of_the_codebooks_width(codebook_size, expected, tmp_path):
    write_shard(tmp_path / "x.tfrecord.gz", [[[1, 256, 65535]]], [7], codebook_size)
    framed = gzip.decompress((tmp_path / "x.tfrecord.gz").read_bytes())
    size = int.from_bytes(framed[:8], "little")  # TFRecord: length, its checksum, the record, its checksum
    assert len(framed) == 8 + 4 + size + 4
    features = tf.train.Example.FromString(framed[12 : 12 + size]).features.feature
    assert set(features) == {"tokens", "label", "key"}
    assert features["tokens"].bytes_list.value[0] == expected
    assert features["label"].int64_list.value[:] == [7]
    assert features["key"].bytes_list.value[0] == b"key0"


def test_views_come_first_and_depth_is_fastest(tmp_path):
    tokens = np.arange(2 * 6 * 2).reshape(1, 2, 6, 2)  # examples, views, L, depth
    write_shard(tmp_path / "x.tfrecord.gz", tokens, [0])
    framed = gzip.decompress((tmp_path / "x.tfrecord.gz").read_bytes())
    assert np.arange(24, dtype="<u2").tobytes() in framed


def test_equal_contents_give_equal_files(tmp_path):
    first, second = (write_shard(tmp_path / name / "x.tfrecord.gz") for name in "ab")
    assert first == second
    assert first["sha256"] == hashlib.sha256((tmp_path / "a" / "x.tfrecord.gz").read_bytes()).hexdigest()
    assert first["num_examples"] == 5


def test_a_shard_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.tfrecord.gz"
    with pytest.raises(KeyError), token_records.ShardWriter(str(path), 300) as writer:
        writer.write(TOKENS[0], 1, b"key")
        assert not path.exists()
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("token", [-1, 300])
def test_a_token_out_of_range_is_not_written(token, tmp_path):
    with pytest.raises(ValueError, match=f"{token}"):
        write_shard(tmp_path / "x.tfrecord.gz", [[[5, token]]], [0])
    assert list(tmp_path.iterdir()) == []


def test_shard_names():
    assert token_records.shard_name(0, 2) == "tokens-00000-of-00002.tfrecord.gz"


@pytest.mark.parametrize("folder", ["train", "Split-train"])
def test_what_was_written_is_loaded(folder, tmp_path):
    manifest = write_split(tmp_path, folder)
    data = token_records.load_tokens(str(tmp_path), "train")
    assert data.manifest == manifest == token_records.read_manifest(str(tmp_path))
    assert (data.tokens.dtype, data.labels.dtype) == (np.int32, np.int32)
    np.testing.assert_array_equal(data.tokens, TOKENS)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.keys == [f"key{i}".encode() for i in (0, 1, 2, 0, 1)]


def test_depth_is_laid_out_after_the_grid(tmp_path):
    write_split(tmp_path, grid_height=1, grid_width=3, depth=2)
    assert token_records.load_tokens(str(tmp_path), "train").tokens.shape == (5, 2, 6)


def test_a_large_codebook_is_loaded(tmp_path):
    tokens = np.array([[[0, 70000, 65536, 1, 2, 3]] * 2])
    shard = write_shard(tmp_path / "train" / "x.tfrecord.gz", tokens, [0], 70001)
    manifest = dataclasses.replace(
        MANIFEST, codebook_size=70001, splits={"train": {"num_examples": 1, "shards": [shard]}}
    )
    token_records.write_manifest(str(tmp_path), manifest)
    np.testing.assert_array_equal(token_records.load_tokens(str(tmp_path), "train").tokens, tokens)


def test_unlabelled_tokens_are_loaded(tmp_path):
    shard = write_shard(tmp_path / "train" / "x.tfrecord.gz", TOKENS[:1], [-1])
    splits = {"train": {"num_examples": 1, "shards": [shard]}}
    token_records.write_manifest(
        str(tmp_path), dataclasses.replace(MANIFEST, num_classes=0, class_names=[], splits=splits)
    )
    assert token_records.load_tokens(str(tmp_path), "train").labels.tolist() == [-1]


def test_a_missing_manifest_is_refused(tmp_path):
    assert f"{tmp_path}/manifest.json" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"codebook_size": 3}'])
def test_a_broken_manifest_is_refused(text, tmp_path):
    (tmp_path / "manifest.json").write_text(text)
    assert f"{tmp_path}/manifest.json" in refusal(tmp_path)


def test_an_unknown_split_is_refused(tmp_path):
    write_split(tmp_path)
    assert "no split test, only train" in refusal(tmp_path, "test")


def test_a_missing_shard_is_refused(tmp_path):
    write_split(tmp_path)
    path = tmp_path / "train" / "tokens-00001-of-00002.tfrecord.gz"
    path.unlink()
    assert f"{path} is missing" in refusal(tmp_path)


def test_a_shard_with_another_checksum_is_refused(tmp_path):
    write_split(tmp_path)
    path = tmp_path / "train" / "tokens-00001-of-00002.tfrecord.gz"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert f"{path} is damaged" in refusal(tmp_path)


def rewrite_manifest(root, change):
    values = json.loads((root / "manifest.json").read_text())
    change(values)
    (root / "manifest.json").write_text(json.dumps(values))


def test_counts_that_differ_from_the_manifest_are_refused(tmp_path):
    write_split(tmp_path)
    rewrite_manifest(tmp_path, lambda values: values["splits"]["train"].update(num_examples=6))
    assert "promises 6" in refusal(tmp_path)
    rewrite_manifest(tmp_path, lambda values: values["splits"]["train"]["shards"][0].update(num_examples=4))
    message = refusal(tmp_path)
    assert "tokens-00000-of-00002.tfrecord.gz holds 3 examples" in message


def test_a_split_without_examples_is_refused(tmp_path):
    write_split(tmp_path, splits={"train": {"num_examples": 0, "shards": []}})
    assert "manifest.json" in refusal(tmp_path)


def test_tokens_and_labels_out_of_range_are_refused(tmp_path):
    write_split(tmp_path, codebook_size=int(TOKENS[:3].max()))
    assert f"tokens-00000-of-00002.tfrecord.gz holds the token {TOKENS[:3].max()}" in refusal(tmp_path)
    write_split(tmp_path, num_classes=3)
    assert "tokens-00000-of-00002.tfrecord.gz holds the label 3" in refusal(tmp_path)


def test_another_grid_than_the_manifests_is_refused(tmp_path):
    write_split(tmp_path, grid_height=3)
    assert "tokens-00000-of-00002.tfrecord.gz" in refusal(tmp_path)


def test_a_file_of_other_records_is_refused(pictures, tmp_path):
    path = tmp_path / "train" / "x.tfrecord.gz"
    path.parent.mkdir()
    pictures.examples(str(path), [b"image"], [0], [b"key"])
    shard = {"file": path.name, "num_examples": 1, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    splits = {"train": {"num_examples": 1, "shards": [shard]}}
    token_records.write_manifest(str(tmp_path), dataclasses.replace(MANIFEST, splits=splits))
    assert f"{path} holds no token records" in refusal(tmp_path)


def test_the_manifest_is_written_whole(tmp_path):
    write_split(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "train"]
    assert token_records.Manifest.from_json(MANIFEST.to_json()) == MANIFEST


def test_a_manifest_of_an_earlier_version_is_read():
    values = json.loads(MANIFEST.to_json())
    del values["label_values"]
    assert token_records.Manifest.from_json(json.dumps(values)) == MANIFEST
