"""The source `fonts`."""

import os

import numpy as np
import pytest

from tests.data.font_files import CHARACTERS, write_font
from vim_tf.config import DataConfig
from vim_tf.data import sources
from vim_tf.data.drawings import fonts, parallel
from vim_tf.data.images.decode import decode_image
from vim_tf.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Folder of the cached files. Nothing is drawn in worker processes, which take a second to start."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(parallel, "call_all", lambda function, jobs: [function(*job) for job in jobs])
    return tmp_path / "cache" / "vim_tf" / "fonts"


@pytest.fixture
def folder(tmp_path, cache):
    """Six families of one face, one with a second face, a copy, and two files of no use."""
    folder = tmp_path / "fonts"
    (folder / "inner").mkdir(parents=True)
    for number in range(6):
        write_face(folder / "inner" / f"{number}.ttf", 300 + 100 * number, f"Family {number}")
    write_face(folder / "3-bold.TTF", 350, "Family 3", "Bold")
    write_face(folder / "inner" / "copy-of-2.otf", 500, "Family 2, renamed")
    write_font(folder / "few.ttf", {"A": (0, 0, 100, 100)})
    (folder / "broken.otf").write_bytes(b"no font")
    (folder / "README.txt").write_text("no font either")
    return folder


def write_face(path, width, family, style="Regular"):
    boxes = {character: (0, 0, width, 600 + number) for number, character in enumerate(CHARACTERS)}
    write_font(path, boxes, family, style, ("OFL", "http://example.com"))


def open_split(folder, split, **options):
    return sources.open_source(f"fonts:{folder}", split, 16, 16, **options)


def batch_of(source):
    (batch,) = source.ordered_batches(1000).as_numpy_iterator()
    return batch


def test_each_character_is_a_class_and_each_face_an_image_of_it(folder):
    both = [open_split(folder, split, validation_fraction=0.4) for split in ("train", "validation")]
    assert sum(source.num_examples for source in both) == 7 * 62
    for source in both:
        assert source.class_names == list(CHARACTERS)
        batch, files = batch_of(source), source.attributes()["file"]
        np.testing.assert_array_equal(batch["label"], np.arange(source.num_examples) % 62)
        for start in range(0, source.num_examples, 62):
            glyphs, _, _ = fonts.draw(str(folder / files[start]), 16, 16)
            np.testing.assert_array_equal(batch["image"][start : start + 62], np.repeat(glyphs, 3, axis=-1))
            assert batch["key"][start + 28] == f"{files[start]}/c".encode()


def test_attributes_are_of_the_fonts_file(folder):
    source = open_split(folder, "train", validation_fraction=0)
    found = source.attributes()
    rows = sorted(set(zip(*(found[name] for name in ("file", "family", "style", "licence")), strict=True)))
    licence = "OFL http://example.com"
    assert rows[0] == ("3-bold.TTF", "Family 3", "Bold", licence)
    assert rows[1:] == [(f"inner/{number}.ttf", f"Family {number}", "Regular", licence) for number in range(6)]


def test_a_family_is_in_one_split_and_stays_there(folder):
    families = [
        set(open_split(folder, split, validation_fraction=0.4).attributes()["family"])
        for split in ("train", "validation")
    ]
    assert not families[0] & families[1]
    assert families[0] | families[1] == {f"Family {number}" for number in range(6)}
    write_face(folder / "new.ttf", 777, "Family new")
    later = set(open_split(folder, "validation", validation_fraction=0.4).attributes()["family"])
    assert later - {"Family new"} == families[1]


def test_what_is_of_no_use_is_named(folder, warnings_logged):
    source = open_split(folder, "train")
    assert [line.split(": ")[0] for line in source.unreadable] == [f"{folder}/broken.otf", f"{folder}/few.ttf"]
    assert source.unreadable[1].endswith("few.ttf: it lacks B C D E F and 56 more")
    assert len(warnings_logged) == 2


def test_both_splits_come_out_of_one_drawing_until_a_font_changes(folder, cache, monkeypatch):
    first = batch_of(open_split(folder, "train"))["image"]
    assert len(list(cache.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(fonts, "draw_all", None)
        again = open_split(folder, "train")
        assert len(again.unreadable) == 2
        np.testing.assert_array_equal(batch_of(again)["image"], first)
        open_split(folder, "validation")
    write_face(folder / "inner" / "5.ttf", 999, "Family 5")
    os.utime(folder / "inner" / "5.ttf", (1e9, 1e9))  # the file may be as long as before, in the same second
    open_split(folder, "train")
    assert len(list(cache.iterdir())) == 2


def test_a_shuffled_batch_has_three_channels(folder):
    source = open_split(folder, "train")
    (batch,) = source.shuffled_batches(5, seed=1).take(1).as_numpy_iterator()
    assert batch["image"].shape == (5, 16, 16, 3)
    assert source.size == (16, 16)
    by_key = dict(zip(batch_of(source)["key"], batch_of(source)["image"], strict=True))
    np.testing.assert_array_equal(batch["image"], [by_key[key] for key in batch["key"]])


def test_shards_hold_the_images_of_the_source_divided_in_the_same_way(folder):
    config = DataConfig(f"fonts:{folder}", validation_fraction=0.4)
    plan = sources.plan_shards(config, ("validation",), 16, 16, 3)
    entries = [entry for shard in plan.shards for entry in shard.entries()]
    batch = batch_of(open_split(folder, "validation", validation_fraction=0.4))
    assert [entry.key for entry in entries] == batch["key"].tolist()
    np.testing.assert_array_equal([decode_image(entry.load(), 1000).numpy() for entry in entries], batch["image"])


def test_the_fingerprint_changes_with_a_font(folder):
    name = f"fonts:{folder}"
    before = sources.source_fingerprint(name, ("train",))
    (folder / "README.txt").write_text("longer than before")
    assert sources.source_fingerprint(name, ("train",)) == before
    write_face(folder / "new.ttf", 777, "Family new")
    assert sources.source_fingerprint(name, ("train",)) != before


def refusal(name):
    with pytest.raises(InputError) as caught:
        sources.open_source(name, "train", 16, 16)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_without_usable_fonts_is_refused(tmp_path, folder):
    assert "there is no folder" in refusal(f"fonts:{tmp_path}/none")
    (tmp_path / "empty").mkdir()
    assert "no .ttf or .otf file" in refusal(f"fonts:{tmp_path}/empty")
    assert "lacks what follows the colon" in refusal("fonts:")
    write_font(tmp_path / "empty" / "a.ttf", {"A": (0, 0, 100, 100)})
    assert "none of 1 fonts can be used" in refusal(f"fonts:{tmp_path}/empty")
