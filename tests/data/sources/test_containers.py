"""Parquet files and WebDataset tars, as images and with what can be wrong with them."""

import gzip
import itertools

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.data.sources.container_files import write_parquet, write_shards, write_tar
from vim_tf.data import sources
from vim_tf.data.images import examination
from vim_tf.data.sources import containers
from vim_tf.data.sources import parquet as parquet_files
from vim_tf.data.sources import tar as tar_files
from vim_tf.errors import InputError

KINDS = ("parquet", "webdataset")


@pytest.fixture
def encoded(pictures):
    """12 PNG files; file i is grey of level i."""
    return [pictures.encode(pictures.flat(i), "PNG") for i in range(12)]


def open_source(name, split="train", **options):
    return sources.open_source(name, split, 8, 8, **options)


def elements(dataset, count=None):
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def refusal(name, **options):
    with pytest.raises(InputError) as caught:
        open_source(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("memory", [examination.MEMORY_LIMIT_BYTES, 0], ids=["in memory", "streamed"])
@pytest.mark.parametrize("kind", KINDS)
def test_images_are_read_in_order_with_label_and_key(kind, memory, encoded, tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "MEMORY_LIMIT_BYTES", memory)
    labels = [i % 3 for i in range(12)]
    source = open_source(write_shards(kind, tmp_path, encoded, labels), validation_fraction=0.0)
    found = elements(source.ordered())
    assert [(int(e["image"][0, 0, 0]), int(e["label"])) for e in found] == list(enumerate(labels))
    names = ["0", "1", "2", "3", "4", "5"] if kind == "parquet" else [f"./{row:04d}" for row in range(6)]
    assert [e["key"].decode() for e in found] == [
        f"part-{part}.{'parquet' if kind == 'parquet' else 'tar'}:{name}" for part in (0, 1) for name in names
    ]
    assert source.class_names == ["0", "1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_streamed_epoch_holds_every_image_once_and_resumes_bitwise(kind, encoded, tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "MEMORY_LIMIT_BYTES", 0)
    source = open_source(write_shards(kind, tmp_path, encoded, [0] * 12), validation_fraction=0.0)
    whole = [int(e["image"][0, 0, 0]) for e in elements(source.shuffled(3), 24)]
    assert sorted(whole[:12]) == sorted(whole[12:]) == list(range(12))
    assert [int(e["image"][0, 0, 0]) for e in elements(source.shuffled(3, start=5), 10)] == whole[5:15]


def test_a_parquet_struct_and_a_key_column_are_read_as_hugging_face_writes_them(encoded, tmp_path):
    write_parquet(tmp_path / "x.parquet", encoded[:3], [4, 5, 6], ["a", "b", "c"], as_struct=True)
    records = list(parquet_files.Parquet().records(f"{tmp_path}/x.parquet"))
    assert records == [containers.Record(encoded[i], 4 + i, b"abc"[i : i + 1]) for i in range(3)]


def test_an_empty_parquet_cell_is_a_problem_and_an_empty_label_is_none(encoded, tmp_path):
    write_parquet(tmp_path / "x.parquet", [encoded[0], None], [None, 1])
    records = list(parquet_files.Parquet().records(f"{tmp_path}/x.parquet"))
    assert [record.label for record in records] == [-1, 1]
    assert [record.problem for record in records] == ["", "no bytes in column image"]


def test_parquet_columns_of_the_wrong_kind_are_refused(tmp_path):
    parquet.write_table(pa.table({"picture": [b"x"]}), f"{tmp_path}/a.parquet")
    message = refusal(f"parquet:{tmp_path}/a.parquet")
    assert "a.parquet: none of picture is known to be the image; set it with --data.image_feature" in message
    parquet.write_table(pa.table({"image": ["a.png"]}), f"{tmp_path}/b.parquet")
    assert "column image is string; it must hold encoded images" in refusal(f"parquet:{tmp_path}/b.parquet")
    parquet.write_table(pa.table({"image": [b"x"], "label": ["cat"]}), f"{tmp_path}/c.parquet")
    assert "column label is string; labels are integers" in refusal(f"parquet:{tmp_path}/c.parquet")
    (tmp_path / "d.parquet").write_bytes(b"no Parquet at all")
    assert "d.parquet can't be read as a Parquet file" in refusal(f"parquet:{tmp_path}/d.parquet")


def test_labels_of_a_tar_come_from_cls_or_json_and_other_members_are_skipped(encoded, tmp_path):
    members = [
        ("a/1.png", encoded[0]),
        ("a/1.json", b'{"label": 7, "width": 8}'),
        ("a/1.txt", b"a caption"),
        ("a/2.seg.png", b"a mask"),
        ("a/2.PNG", encoded[1]),
        ("a/3.png", encoded[2]),
        ("a/3.cls", b"2\n"),
        ("notes.txt", b"about the set"),
    ]
    write_tar(tmp_path / "x.tar.gz", members, "w:gz")
    records = list(tar_files.WebDataset().records(f"{tmp_path}/x.tar.gz"))
    assert records == [
        containers.Record(encoded[0], 7, b"a/1"),
        containers.Record(encoded[1], -1, b"a/2"),
        containers.Record(encoded[2], 2, b"a/3"),
    ]


def test_samples_that_cannot_be_used_are_counted_with_their_reason(encoded, tmp_path):
    members = [
        ("1.png", encoded[1]),
        ("1.cls", b"0"),
        ("2.cls", b"1"),
        ("3.png", encoded[3]),
        ("3.cls", b"cat"),
        ("4.png", b"no picture"),
        ("4.cls", b"0"),
        ("5.png", encoded[5]),
        ("5.json", b"{"),
    ]
    write_tar(tmp_path / "x.tar", members)
    name = f"webdataset:{tmp_path}/x.tar"
    source = open_source(name, validation_fraction=0.0, max_unreadable_fraction=0.9)
    assert [int(e["image"][0, 0, 0]) for e in elements(source.ordered())] == [1]
    reasons = [line.partition("x.tar:")[2] for line in source.unreadable]
    assert reasons[0] == "1: sample 2 has no image, only cls"
    assert reasons[1] == "2: sample 3: label 'cat' isn't an integer"
    assert reasons[2].startswith("3: not an image")
    assert reasons[3].startswith("4: sample 5: its .json can't be read")
    assert "4 of 5 images can't be read" in refusal(name)


def test_a_tar_that_is_cut_short_is_refused_with_its_last_member(pictures, tmp_path):
    noise = [pictures.encode(pictures.noise(i, (40, 40)), "PNG") for i in range(2)]
    write_tar(tmp_path / "whole.tar", [("1.png", noise[0]), ("2.png", noise[1])])
    (tmp_path / "cut.tar").write_bytes((tmp_path / "whole.tar").read_bytes()[: len(noise[0]) + 3000])
    message = refusal(f"webdataset:{tmp_path}/cut.tar")
    assert "cut.tar can't be read as a tar file after member 1.png" in message
    (tmp_path / "other.tar").write_bytes(b"no tar" * 200)
    assert "after the beginning" in refusal(f"webdataset:{tmp_path}/other.tar")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_with_a_damaged_or_cut_header_is_refused_and_does_not_end_there(mode, encoded, tmp_path):
    """tarfile itself takes the good members before it for all of them."""
    path = tmp_path / "whole.tar"
    write_tar(path, [(f"{number}.png", encoded[0]) for number in range(3)])
    content = bytearray(path.read_bytes())
    header = content.rindex(b"2.png")
    (tmp_path / "cut.tar").write_bytes(content[: header + 300])
    content[header + 100] ^= 1
    (tmp_path / "damaged.tar").write_bytes(content)
    for name in ("cut", "damaged"):
        packed = tmp_path / f"{name}.tar"
        if mode == "w:gz":
            packed = tmp_path / f"{name}.tar.gz"
            packed.write_bytes(gzip.compress((tmp_path / f"{name}.tar").read_bytes()))
        with pytest.raises(InputError, match="can't be read as a tar file after member 1.png: damaged header"):
            list(tar_files.WebDataset().records(str(packed)))


def test_a_member_with_a_path_outside_is_only_a_name(encoded, tmp_path):
    write_tar(tmp_path / "x.tar", [("../../outside.png", encoded[0])])
    (record,) = tar_files.WebDataset().records(f"{tmp_path}/x.tar")
    assert record.key == b"../../outside"
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def test_pixels_do_not_depend_on_the_kind_of_file(pictures, tmp_path):
    image = pictures.encode(pictures.noise(0), "JPEG")
    write_parquet(tmp_path / "x.parquet", [image])
    write_tar(tmp_path / "x.tar", [("x.jpg", image)])
    pictures.examples(f"{tmp_path}/x.tfrecord", [image])
    found = [
        elements(open_source(f"{kind}:{tmp_path}/x.{ending}", validation_fraction=0.0).ordered())[0]["image"]
        for kind, ending in (("parquet", "parquet"), ("webdataset", "tar"), ("tfrecord", "tfrecord"))
    ]
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[2])
