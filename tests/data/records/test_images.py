"""Facts of an image, and problems that a manifest shows."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.config import DataConfig
from vim_tf.data.records import images as image_records

facts_of = functools.partial(image_records.picture_facts, max_pixels=DataConfig.max_pixels)


def manifest(train, validation, count=0, pairs=(), class_names=("a", "b", "c")):
    splits = {
        split: {"num_examples": sum(labels.values()), "labels": labels}
        for split, labels in (("train", train), ("validation", validation))
    }
    return {
        "splits": splits,
        "class_names": list(class_names),
        "duplicates": {"count": count, "pairs": [list(pair) for pair in pairs]},
    }


def test_the_facts_are_those_of_the_upright_image(pictures):
    exif = b"Exif\0\0" + pictures.exif(6)
    height, width, _ = facts_of(pictures.encode(pictures.rgb, "JPEG", exif=exif))
    assert (height, width) == pictures.rgb.size  # which is width and height of the picture as it lies


def test_the_hash_is_of_the_pixels_in_any_format(pictures):
    noise = pictures.noise(0)
    hashes = [facts_of(pictures.encode(noise, form))[2] for form in ("PNG", "BMP")]
    hashes.append(facts_of(pictures.encode(noise, "WEBP", lossless=True))[2])
    assert len(set(hashes)) == 1
    assert len(hashes[0]) == image_records.HASH_BYTES


def test_other_pixels_and_another_shape_of_the_same_bytes_have_other_hashes(pictures):
    images = [pictures.flat(7, (8, 2)), pictures.flat(7, (2, 8)), pictures.flat(7, (4, 4)), pictures.flat(8, (4, 4))]
    hashes = {facts_of(pictures.encode(image, "PNG"))[2] for image in images}
    assert len(hashes) == 4


def test_no_image_has_no_facts():
    with pytest.raises(tf.errors.InvalidArgumentError):
        facts_of(b"no picture")


def test_what_is_written_is_an_example_with_every_feature(pictures, tmp_path):
    image = pictures.encode(pictures.noise(0), "PNG")
    facts = facts_of(image)
    with image_records.ImageShardWriter(f"{tmp_path}/x.tfrecord.gz") as writer:
        writer.write(image, 3, b"key", facts)
    (record,) = tf.data.TFRecordDataset(f"{tmp_path}/x.tfrecord.gz", "GZIP")
    example = tf.train.Example.FromString(record.numpy()).features.feature
    assert {name: list(example[name].int64_list.value) for name in ("label", "height", "width")} == {
        "label": [3],
        "height": [10],
        "width": [12],
    }
    values = [example[name].bytes_list.value[0] for name in ("image", "key", "content_hash")]
    assert values == [image, b"key", facts[2].hex().encode()]
    assert image_records.keys_at(f"{tmp_path}/x.tfrecord.gz", [0]) == {0: b"key"}


def test_splits_without_a_fault_have_no_problem():
    assert image_records.split_problems(manifest({"0": 3, "1": 2}, {"1": 1}), 0) == []
    assert image_records.split_problems(manifest({"-1": 3}, {"-1": 2}, class_names=()), 0) == []


def test_missing_labels_are_counted():
    problems = image_records.split_problems(manifest({"-1": 2, "0": 3}, {"0": 1}), 0)
    assert problems == ["train split: 2 of 5 images have no label"]


def test_classes_only_in_the_validation_split_are_named_and_so_is_a_gap_in_training():
    problems = image_records.split_problems(manifest({"0": 3, "2": 1}, {"1": 1, "7": 1}), 0)
    assert problems == ["validation split: no training image has the label 1 (b), 7"]
    many = image_records.split_problems(manifest({"0": 3}, {str(label): 1 for label in range(1, 9)}), 0)
    assert many == ["validation split: no training image has the label 1 (b), 2 (c), 3, 4, 5 and 3 more"]


def test_duplicates_are_a_problem_beyond_their_limit():
    doubled = manifest({"0": 3}, {"0": 2}, count=2, pairs=[("t.png", "v.png")])
    assert image_records.split_problems(doubled, 2) == []
    (problem,) = image_records.split_problems(doubled, 1)
    assert problem == (
        "validation split: 2 images are in the training split too, such as v.png, there t.png; remove them, or raise "
        "--max_duplicates"
    )


def test_duplicates_are_found_among_hashes_that_end_in_zeros(tmp_path):
    from vim_tf.beam import images as image_job

    hashes = {"train": [b"a" * 15 + b"\0", b"b" * 16], "validation": [b"c" * 16, b"a" * 15 + b"\0", b"a" * 15 + b"b"]}
    results = []
    for split, each in hashes.items():
        path = f"{tmp_path}/Split-{split}/x.tfrecord.gz"
        with image_records.ImageShardWriter(path) as writer:
            for number, digest in enumerate(each):
                writer.write(b"", 0, f"{split}-{number}".encode(), (1, 1, digest))
        results.append({"split": split, "index": 0, "entry": writer.entry(), "hashes": b"".join(each)})
    found = image_job._duplicates(results, str(tmp_path))
    assert found == {"count": 1, "pairs": [["train-0", "validation-1"]]}
    assert np.frombuffer(results[0]["hashes"], "S16").tolist()[0] == b"a" * 15
