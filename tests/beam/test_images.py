"""Image sources to examples with Beam."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vim_tf.data import sources
from vim_tf.errors import InputError

FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
    "key": tf.io.FixedLenFeature([], tf.string),
    "height": tf.io.FixedLenFeature([], tf.int64),
    "width": tf.io.FixedLenFeature([], tf.int64),
    "content_hash": tf.io.FixedLenFeature([], tf.string),
}


def read_manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def examples(folder, split):
    """Parsed examples of a split, shards one after another."""
    paths = sorted(str(path) for path in (folder / f"Split-{split}").iterdir())
    records = tf.data.TFRecordDataset(paths, "GZIP")
    return list(records.map(lambda each: tf.io.parse_single_example(each, FEATURES)).as_numpy_iterator())


def refusal(ingest, config, folder):
    with pytest.raises(InputError) as caught:
        ingest(config, folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "manifest.json").exists()
    return str(caught.value)


@pytest.fixture(scope="module")
def ingested(images, ingest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    ingest(images.config(), folder)
    return folder


def test_files_are_kept_as_they_are_and_what_tensorflow_cannot_read_becomes_png(images, ingested):
    for example in examples(ingested, "train"):
        original = images.folder / "train" / example["key"].decode()
        if original.suffix == ".tif":
            assert example["image"].startswith(b"\x89PNG")
        else:
            assert example["image"] == original.read_bytes()
        with Image.open(original) as picture:
            assert (example["width"], example["height"]) == picture.size


def test_counts_add_up_and_the_broken_file_is_named_with_its_reason(images, ingested):
    manifest = read_manifest(ingested)
    for split, made in (("train", 14), ("validation", 8)):
        facts = manifest["splits"][split]
        assert (facts["num_examples"], facts["num_unreadable"]) == (made - 1, 1)
        assert len(examples(ingested, split)) == made - 1
        assert [sum(shard[name] for shard in facts["shards"]) for name in ("num_examples", "num_unreadable")] == [
            made - 1,
            1,
        ]
        assert facts["labels"] == {"0": made // 2, "1": made // 2 - 1}
        (line,) = manifest["unreadable"][split]
        assert line.startswith(f"{images.folder}/{split}/b/2.jpg: ")
    assert manifest["class_names"] == ["a", "b"]


def test_the_source_and_the_records_of_it_give_the_same_pixels_labels_and_keys(images, ingested):
    for split in ("train", "validation"):
        direct, records = (
            list(sources.open_source(name, split, 8, 8, max_unreadable_fraction=0.2).ordered().as_numpy_iterator())
            for name in (images.source, f"tfrecord:{ingested}/Split-{{split}}/*.gz")
        )
        assert [each["key"] for each in direct] == [each["key"] for each in records]
        assert [each["label"] for each in direct] == [each["label"] for each in records]
        np.testing.assert_array_equal([each["image"] for each in direct], [each["image"] for each in records])


def test_the_same_images_give_the_same_files_and_nothing_else_is_left(images, ingest, ingested, tmp_path):
    stale = tmp_path / "Split-train" / "images-00000-of-00009.tfrecord.gz"
    stale.parent.mkdir()
    stale.write_bytes(b"of an earlier job")
    ingest(images.config(), tmp_path)
    names = ["images-00000-of-00002.tfrecord.gz", "images-00001-of-00002.tfrecord.gz"]
    for split in ("train", "validation"):
        assert sorted(path.name for path in (tmp_path / f"Split-{split}").iterdir()) == names
        for name in names:
            assert (tmp_path / f"Split-{split}" / name).read_bytes() == (
                ingested / f"Split-{split}" / name
            ).read_bytes()
    assert (tmp_path / "manifest.json").read_text() == (ingested / "manifest.json").read_text()


def test_too_many_unreadable_files_are_refused_by_name(images, ingest, tmp_path):
    message = refusal(ingest, images.config(max_unreadable_fraction=0.01), tmp_path)
    assert "1 of 14 images can't be read" in message
    assert "train/b/2.jpg" in message


def test_a_broken_record_file_is_refused_in_one_line(written_images, ingest, images, tmp_path):
    whole = (written_images / "all.tfrecord").read_bytes()
    (tmp_path / "cut.tfrecord").write_bytes(whole[:-30])
    message = refusal(ingest, images.config(source=f"tfrecord:{tmp_path}/cut.tfrecord"), tmp_path / "out")
    assert "record 29 of" in message
    assert "cut.tfrecord can't be read" in message


@pytest.fixture(scope="module")
def written_images(tmp_path_factory):
    """30 PNG files as records in one file, and divided between two; the label of record i is i % 3."""
    folder = tmp_path_factory.mktemp("records")
    random = np.random.default_rng(1)
    records = []
    for number in range(30):
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        features = {
            "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.io.encode_png(pixels).numpy()])),
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 3])),
            "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[f"key{number}".encode()])),
        }
        records.append(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    for name, part in (("all", records), ("half-0", records[:15]), ("half-1", records[15:])):
        with tf.io.TFRecordWriter(f"{folder}/{name}.tfrecord") as writer:
            for record in part:
                writer.write(record)
    return folder


def test_a_shared_set_is_divided_by_the_hash_of_the_keys_as_the_source_divides_it(written_images, ingest, tmp_path):
    from vim_tf.config import DataConfig

    config = DataConfig(f"tfrecord:{written_images}/half-*", validation_fraction=0.3)
    ingest(config, tmp_path)
    keys = {split: [each["key"] for each in examples(tmp_path, split)] for split in ("train", "validation")}
    for split, found in keys.items():
        source = sources.build_source(config, split, 8, 8)
        assert found == [each["key"] for each in source.ordered().as_numpy_iterator()]
    assert len(keys["train"]) + len(keys["validation"]) == 30
    assert read_manifest(tmp_path)["class_names"] == ["0", "1", "2"]


def test_more_images_do_not_move_others_to_another_split(written_images, ingest, tmp_path):
    from vim_tf.config import DataConfig

    found = {}
    for name in ("half-0", "all"):
        ingest(DataConfig(f"tfrecord:{written_images}/{name}.tfrecord", validation_fraction=0.3), tmp_path / name)
        found[name] = {
            each["key"]: split for split in ("train", "validation") for each in examples(tmp_path / name, split)
        }
    assert len(found["half-0"]) == 15
    assert found["half-0"].items() <= found["all"].items()


def test_the_same_pixels_in_both_splits_are_found_whatever_the_format(ingest, images, tmp_path):
    random = np.random.default_rng(2)
    for split in ("train", "validation"):
        (tmp_path / "images" / split).mkdir(parents=True)
    for number in range(6):
        pixels = Image.fromarray(random.integers(0, 256, (9, 10, 3), dtype=np.uint8))
        pixels.save(tmp_path / "images" / "train" / f"{number}.png")
        if number in (2, 4):
            pixels.save(tmp_path / "images" / "validation" / f"other-{number}.bmp")
    Image.new("RGB", (10, 9)).save(tmp_path / "images" / "validation" / "alone.png")
    ingest(images.config(source=f"folder:{tmp_path}/images/{{split}}"), tmp_path / "out")
    assert read_manifest(tmp_path / "out")["duplicates"] == {
        "count": 2,
        "pairs": [["2.png", "other-2.bmp"], ["4.png", "other-4.bmp"]],
    }


@pytest.mark.slow
def test_digits_are_kept_as_the_scans_and_give_the_pixels_of_the_source(ingest, images, tmp_path):
    config = images.config(source="digits")
    ingest(config, tmp_path, splits=("validation",))
    found = examples(tmp_path, "validation")
    assert {(each["height"], each["width"]) for each in found} == {(8, 8)}
    expected = sources.open_source("digits", "validation", 16, 16).ordered().as_numpy_iterator()
    again = sources.open_source(f"tfrecord:{tmp_path}/Split-validation/*", "train", 16, 16, validation_fraction=0.0)
    for one, other in zip(expected, again.ordered().as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        assert (one["label"], one["key"]) == (other["label"], other["key"])


def write_examples(path, labels, texts=None):
    """PNG files as records; record i is grey of level i."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, label in enumerate(labels):
            image = tf.io.encode_png(np.full((8, 8, 3), number, np.uint8)).numpy()
            features = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            if texts:
                text = texts[label].encode()
                features["image/class/text"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def test_names_of_classes_come_from_the_records_and_empty_ones_are_named(ingest, images, tmp_path):
    """Labels from 1 on, as TF-slim has them: class 0 has no image."""
    for split in ("train", "validation"):
        write_examples(tmp_path / f"{split}-0", [1, 2, 1, 2], {1: "tench", 2: "goldfish"})
    ingest(images.config(source=f"tfrecord:{tmp_path}/{{split}}-*"), tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert manifest["class_names"] == ["0", "tench", "goldfish"]
    assert manifest["empty_classes"] == ["0"]
    assert manifest["label_values"] == []
    again = sources.open_source(f"tfrecord:{tmp_path}/out/Split-{{split}}/*.gz", "train", 8, 8)
    assert again.class_names == ["0", "tench", "goldfish"]  # as the manifest next to the files says


def test_mapped_labels_are_written_with_their_original_values(ingest, images, tmp_path):
    write_examples(tmp_path / "all.tfrecord", [2006656, 7] * 10)
    config = images.config(source=f"tfrecord:{tmp_path}/all.tfrecord", validation_fraction=0.3, map_labels=True)
    ingest(config, tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert (manifest["class_names"], manifest["label_values"]) == (["7", "2006656"], [7, 2006656])
    found = [each for split in ("train", "validation") for each in examples(tmp_path / "out", split)]
    assert {(tf.io.decode_png(e["image"])[0, 0, 0].numpy() % 2, int(e["label"])) for e in found} == {(0, 1), (1, 0)}


def test_labels_that_do_not_number_classes_are_refused_with_the_remedy(ingest, images, tmp_path):
    write_examples(tmp_path / "all.tfrecord", [2006656, 7] * 10)
    config = images.config(source=f"tfrecord:{tmp_path}/all.tfrecord", validation_fraction=0.3)
    assert "renumber those from 0 with --data.map_labels" in refusal(ingest, config, tmp_path / "out")


def test_broken_links_and_loops_are_treated_as_the_source_treats_them(ingest, images, tmp_path):
    folder = tmp_path / "images"
    for name in ("c", "d"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng([ord(name), number]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "c" / "up").symlink_to("..")
    (folder / "d" / "lost.png").symlink_to("gone.png")
    (folder / "LICENSE").write_bytes(b"text")
    config = images.config(source=f"folder:{folder}", validation_fraction=0.3)
    ingest(config, tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert [line for split in ("train", "validation") for line in manifest["unreadable"][split]] == [
        f"{folder}/d/lost.png: a broken link to gone.png"
    ]
    assert manifest["duplicates"]["count"] == 0
    for split in ("train", "validation"):
        source = sources.build_source(config, split, 8, 8)
        assert [each["key"] for each in examples(tmp_path / "out", split)] == [
            each["key"] for each in source.ordered().as_numpy_iterator()
        ]


@pytest.mark.parametrize("fraction", [0.01, 0.2])
def test_a_tiny_set_is_divided_and_judged_as_a_whole_as_the_source_does_it(fraction, ingest, images, tmp_path):
    """One of two images moves into the empty split; an unreadable one is a third of all, not half of a split."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(folder / f"{number}.png")
    (folder / "2.png").write_bytes(b"no image")
    config = images.config(source=f"folder:{folder}", validation_fraction=fraction, max_unreadable_fraction=0.34)
    ingest(config, tmp_path / "out")
    for split in ("train", "validation"):
        source = sources.build_source(config, split, 8, 8)
        assert [each["key"] for each in examples(tmp_path / "out", split)] == [
            each["key"] for each in source.ordered().as_numpy_iterator()
        ]
