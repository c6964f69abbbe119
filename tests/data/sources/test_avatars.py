"""The source `avatars`."""

import importlib.metadata

import numpy as np
import pytest

from vim_tf.config import DataConfig
from vim_tf.data import sources
from vim_tf.data.drawings import avatars, parallel
from vim_tf.data.images.decode import decode_image
from vim_tf.data.sources.avatars import open_avatars, parse_count
from vim_tf.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Folder of the cached files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "vim_tf" / "avatars"


@pytest.fixture
def in_process(monkeypatch):
    """Draws without worker processes, which take a second to start."""
    monkeypatch.setattr(parallel, "call_all", lambda function, jobs: (function(*job) for job in jobs))


def open_small(split="train", size=16):
    return open_avatars(split, size, size, num_train=40, num_validation=20)


def pixels(source):
    (batch,) = source.ordered_batches(1000).as_numpy_iterator()
    return batch


def test_classes_are_the_styles_and_images_their_drawings():
    source = open_small()
    assert source.class_names == ["adventurer", "big-smile", "lorelei", "micah", "miniavs"] + [
        "notionists",
        "open-peeps",
        "pixel-art",
        "thumbs",
        "toon-head",
    ]
    assert (source.num_examples, source.num_classes, source.size, source.split) == (40, 10, (16, 16), "train")
    batch = pixels(source)
    np.testing.assert_array_equal(batch["label"], np.tile(np.arange(10), 4))
    assert batch["key"][27] == b"avatars-train-pixel-art-000002"
    expected = avatars.render(avatars.compose("train", "pixel-art", 2).svg, 16, 16)
    np.testing.assert_array_equal(batch["image"][27], expected)


def test_attributes_are_what_each_drawing_was_composed_of(in_process):
    source = open_small()
    found = source.attributes()
    for number, (label, style) in enumerate(zip(source.labels, np.tile(source.class_names, 4), strict=True)):
        assert source.class_names[label] == style
        choices = avatars.compose("train", style, number // 10).choices
        assert {name: str(values[number]) for name, values in found.items() if values[number]} == choices
    assert {values.shape for values in found.values()} == {(40,)}


def test_the_source_attributes_its_drawings(in_process):
    lines = sources.open_source("avatars:10", "train", 8, 8).attributions
    assert len(lines) == 10
    assert sources.plan_shards(DataConfig("avatars:10"), ("train",), 8, 8, 1).attributions == lines
    assert sources.open_source("digits", "train", 8, 8).attributions == []
    assert any("Lisa Wischofsky, CC BY 4.0" in line for line in lines)


@pytest.mark.slow
def test_no_image_of_validation_is_among_those_of_training():
    """Drawn in worker processes: this is enough to be spread over several."""
    train, validation = (pixels(open_avatars(split, 32, 32, 400, 100)) for split in ("train", "validation"))
    images = {image.tobytes() for image in train["image"]}
    assert len(images) == 400
    assert not images & {image.tobytes() for image in validation["image"]}
    assert not set(train["key"]) & set(validation["key"])


def test_a_larger_training_set_begins_with_the_same_drawings(in_process):
    few, many = (pixels(open_avatars("train", 16, 16, count)) for count in (15, 30))
    np.testing.assert_array_equal(many["image"][:15], few["image"])
    np.testing.assert_array_equal(many["key"][:15], few["key"])


def test_a_second_opening_reads_the_cache(in_process, cache, monkeypatch):
    first = open_small()
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(avatars, "compose", None)
    second = open_small()
    np.testing.assert_array_equal(pixels(second)["image"], pixels(first)["image"])
    left, right = first.attributes(), second.attributes()
    assert left.keys() == right.keys()
    assert all((left[name] == right[name]).all() for name in left)


def test_what_changes_the_drawings_is_drawn_again(in_process, cache, monkeypatch):
    for split, size, count in (("train", 8, 2), ("train", 9, 2), ("train", 8, 3), ("validation", 8, 2)):
        open_avatars(split, size, size, count, 2)
    assert len(list(cache.iterdir())) == 4
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99")
    open_avatars("train", 8, 8, 2)
    assert len(list(cache.iterdir())) == 5


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "resvg-py":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    config = DataConfig("avatars")
    for use in (open_small, lambda: sources.plan_shards(config, ("train",), 8, 8, 2)):
        with pytest.raises(InputError) as caught:
            use()
        assert "resvg-py" in str(caught.value) and "\n" not in str(caught.value)
        assert "pip install dicebear-core dicebear-styles resvg-py" in str(caught.value)


def test_a_package_that_the_others_need_is_named_too(monkeypatch):
    def call_all(*_):
        raise ModuleNotFoundError("No module named 'jsonschema'")

    monkeypatch.setattr(parallel, "call_all", call_all)
    with pytest.raises(InputError, match=r"No module named 'jsonschema'.*pip install"):
        open_small()


def test_the_number_of_training_drawings_is_part_of_the_name():
    assert [parse_count(place) for place in ("", "100000", "1")] == [20000, 100000, 1]
    for wrong in ("0", "-5", "many", "1e5", "²", "5 "):
        with pytest.raises(InputError, match="isn't a number of training drawings"):
            parse_count(wrong)


def test_it_is_opened_by_its_name(in_process):
    source = sources.build_source(DataConfig("avatars:12"), "train", 16, 16)
    assert (source.name, source.num_examples) == ("avatars:12", 12)
    np.testing.assert_array_equal(pixels(source)["image"], pixels(open_small())["image"][:12])
    with pytest.raises(InputError, match="it has no records"):
        sources.open_source("avatars", "train", 16, 16, map_labels=True)


def test_shards_draw_the_images_of_the_source(in_process):
    plan = sources.plan_shards(DataConfig("avatars:12"), ("train", "validation"), 16, 16, 5)
    shards = [shard for shard in plan.shards if shard.split == "train"]
    assert [shard.stop for shard in shards] == [2, 4, 7, 9, 12]
    assert sum(shard.stop - shard.start for shard in plan.shards) == 12 + 1000
    entries = [entry for shard in shards for entry in shard.entries()]
    source = open_avatars("train", 16, 16, 12)
    batch = pixels(source)
    assert [entry.key for entry in entries] == batch["key"].tolist()
    assert [entry.label for entry in entries] == batch["label"].tolist()
    images = [decode_image(entry.load(), 1000).numpy() for entry in entries]
    np.testing.assert_array_equal(images, batch["image"])
    assert plan.class_names == source.class_names


def test_the_fingerprint_changes_with_the_packages(monkeypatch):
    before = sources.source_fingerprint("avatars", ("train",))
    assert sources.source_fingerprint("avatars", ("train",)) == before
    assert sources.source_fingerprint("avatars:5", ("train",)) != before
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99")
    assert sources.source_fingerprint("avatars", ("train",)) != before
