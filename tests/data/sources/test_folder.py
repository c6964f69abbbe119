"""Images in folders."""

import itertools
import os

import numpy as np
import pytest

from vim_tf.data import sources
from vim_tf.data.images import examination
from vim_tf.data.sources.base import MemorySource
from vim_tf.errors import InputError


def write(folder, files):
    for name, image_bytes in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes)


def open_folder(place, split="train", **options):
    return sources.open_source(f"folder:{place}", split, 6, 6, **options)


def refusal(place, split="train", **options):
    with pytest.raises(InputError) as caught:
        open_folder(place, split, **options)
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
def numbered(pictures, tmp_path):
    """A flat folder of 40 images; image i is grey of level i."""
    write(tmp_path, {f"{i:02d}.png": pictures.encode(pictures.flat(i), "PNG") for i in range(40)})
    return tmp_path


def test_sub_folders_are_classes_in_alphabetical_order(pictures, tmp_path):
    files = {"dog/1.png": 10, "cat/sub/2.png": 20, "cat/3.jpg": 30, "emu/4.gif": 40}
    forms = {"png": "PNG", "jpg": "JPEG", "gif": "GIF"}
    write(tmp_path, {name: pictures.encode(pictures.flat(v), forms[name[-3:]]) for name, v in files.items()})
    source = open_folder(tmp_path, validation_fraction=0.0)
    assert source.class_names == ["cat", "dog", "emu"]
    assert (source.num_classes, source.num_examples, source.split) == (3, 4, "train")
    found = {e["key"].decode(): (int(e["label"]), int(e["image"][0, 0, 0])) for e in elements(source.ordered())}
    assert found == {"cat/3.jpg": (0, 30), "cat/sub/2.png": (0, 20), "dog/1.png": (1, 10), "emu/4.gif": (2, 40)}


def test_a_flat_folder_is_unlabelled(numbered):
    source = open_folder(numbered)
    assert (source.num_classes, source.class_names) == (0, [])
    assert {int(e["label"]) for e in elements(source.ordered())} == {-1}


def test_hidden_and_side_files_are_skipped(pictures, numbered):
    junk = {".hidden.png": b"x", ".cache/a.png": b"x", "labels.csv": b"x", "README.md": b"x"}
    write(numbered, junk)
    source = open_folder(numbered, validation_fraction=0.0, max_unreadable_fraction=0.0)
    assert source.num_examples == 40
    assert source.num_classes == 0


def test_the_splits_are_divided_by_the_hash_of_the_path(numbered, pictures):
    keys = {
        split: {e["key"] for e in elements(open_folder(numbered, split).ordered())} for split in ("train", "validation")
    }
    assert len(keys["train"]) + len(keys["validation"]) == len(keys["train"] | keys["validation"]) == 40
    assert 1 <= len(keys["validation"]) <= 12
    write(numbered, {f"more{i}.png": pictures.encode(pictures.flat(i), "PNG") for i in range(20)})
    later = {e["key"] for e in elements(open_folder(numbered, "validation").ordered())}
    assert keys["validation"] <= later


def test_a_share_of_nothing_is_refused(numbered):
    message = refusal(numbered, "validation", validation_fraction=0.0)
    assert "validation split is empty" in message
    assert "--data.validation_fraction=0" in message


@pytest.mark.parametrize("validation_name", ["validation", "valid", "val"])
def test_folders_named_as_splits_are_the_splits(validation_name, pictures, tmp_path):
    image = pictures.encode(pictures.flat(5), "PNG")
    write(tmp_path, {"train/a/1.png": image, "train/b/2.png": image, "test/a/9.png": image})
    write(tmp_path, {f"{validation_name}/b/3.png": image, f"{validation_name}/c/4.png": image})
    train, validation = open_folder(tmp_path), open_folder(tmp_path, "validation")
    assert train.class_names == validation.class_names == ["a", "b", "c"]
    assert [(e["key"], e["label"]) for e in elements(train.ordered())] == [(b"a/1.png", 0), (b"b/2.png", 1)]
    assert [(e["key"], e["label"]) for e in elements(validation.ordered())] == [(b"b/3.png", 1), (b"c/4.png", 2)]


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"caf\xe9/1.png"])
def test_a_name_that_is_not_utf_8_is_named(name, pictures, tmp_path):
    write(tmp_path, {"a/1.png": pictures.encode(pictures.flat(5), "PNG")})
    path = os.fsencode(tmp_path) + b"/" + name
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb"):
        pass
    with pytest.raises(InputError, match=r"whose name isn't UTF-8 \(b'caf\\xe9.*: rename it"):
        open_folder(tmp_path)


def test_a_placeholder_names_the_splits(pictures, tmp_path):
    image = pictures.encode(pictures.flat(5), "PNG")
    write(tmp_path, {"x-train/y/a/1.png": image, "x-validation/y/b/2.png": image})
    place = tmp_path / "x-{split}" / "y"
    for split, key in (("train", b"a/1.png"), ("validation", b"b/2.png")):
        source = open_folder(place, split)
        assert source.class_names == ["a", "b"]
        assert [e["key"] for e in elements(source.ordered())] == [key]


def test_a_missing_split_of_a_placeholder_is_named(pictures, tmp_path):
    write(tmp_path, {"train/1.png": pictures.encode(pictures.flat(5), "PNG")})
    assert f"{tmp_path}/validation" in refusal(tmp_path / "{split}", "validation")
    assert open_folder(tmp_path / "{split}").num_examples == 1


def test_train_without_validation_is_not_taken_for_a_class(pictures, tmp_path):
    image = pictures.encode(pictures.flat(5), "PNG")
    write(tmp_path, {"train/a/1.png": image, "test/a/2.png": image})
    assert f"folder:{tmp_path}/train" in refusal(tmp_path)


@pytest.mark.parametrize("names", [("Train", "Val"), ("training", "dev"), ("TRAIN", "VALIDATION")])
def test_splits_are_recognised_in_any_case_and_next_to_other_folders(names, pictures, tmp_path):
    image = pictures.encode(pictures.flat(5), "PNG")
    write(tmp_path, {f"{names[0]}/a/1.png": image, f"{names[1]}/b/2.png": image, "annotations/3.png": image})
    found = [elements(open_folder(tmp_path, split).ordered()) for split in ("train", "validation")]
    assert [[e["key"] for e in each] for each in found] == [[b"a/1.png"], [b"b/2.png"]]
    assert open_folder(tmp_path).class_names == ["a", "b"]


def test_names_of_splits_are_classes_where_the_flag_says_so(pictures, tmp_path):
    image = pictures.encode(pictures.flat(5), "PNG")
    write(tmp_path, {"train/1.png": image, "car/2.png": image, "test/3.png": image})
    assert "--nodata.split_names" in refusal(tmp_path)
    assert open_folder(tmp_path, has_split_names=False).class_names == ["car", "test", "train"]


def test_a_link_to_a_folder_above_adds_no_copies(pictures, tmp_path):
    write(tmp_path, {f"{name}/{i}.png": pictures.encode(pictures.noise(i), "PNG") for i in range(2) for name in "cd"})
    (tmp_path / "c" / "up").symlink_to("..")
    sources_of = [open_folder(tmp_path, split, validation_fraction=0.5) for split in ("train", "validation")]
    keys = [e["key"].decode() for source in sources_of for e in elements(source.ordered())]
    assert sorted(keys) == ["c/0.png", "c/1.png", "d/0.png", "d/1.png"]


@pytest.mark.parametrize("place", ["c/broken.png", "e"])
def test_a_broken_link_is_named_and_left_out(place, pictures, tmp_path):
    write(tmp_path, {f"{name}/{i}.png": pictures.encode(pictures.noise(i), "PNG") for i in range(2) for name in "cd"})
    (tmp_path / place).symlink_to("gone")
    assert "1 of 5 images can't be read" in refusal(tmp_path)
    source = open_folder(tmp_path, validation_fraction=0.0, max_unreadable_fraction=0.2)
    assert source.unreadable == [f"{tmp_path}/{place}: a broken link to gone"]
    assert (source.num_examples, source.class_names) == (4, ["c", "d"])


def test_licences_and_metadata_of_windows_downloads_are_not_images(pictures, numbered):
    write(numbered, dict.fromkeys(("LICENSE", "readme", "00.png:Zone.Identifier", "NOTICE", "x.sha256"), b"x"))
    assert open_folder(numbered, validation_fraction=0.0, max_unreadable_fraction=0.0).num_examples == 40


def test_images_next_to_classes_are_refused(pictures, tmp_path):
    image = pictures.encode(pictures.flat(5), "PNG")
    write(tmp_path, {"a/1.png": image, "stray.png": image})
    assert "stray.png" in refusal(tmp_path)


def test_missing_and_empty_folders_are_refused(tmp_path):
    assert "no folder" in refusal(tmp_path / "nowhere")
    assert "no image" in refusal(tmp_path)
    write(tmp_path, {"only.txt": b"x"})
    assert "no image" in refusal(tmp_path)


@pytest.fixture
def mixed(pictures, tmp_path):
    """Good files of every kind, one cut short and one that is text."""
    image = pictures.rgb
    write(
        tmp_path,
        {
            "a.png": pictures.encode(image, "PNG"),
            "b.jpg": pictures.encode(image, "JPEG"),
            "c.webp": pictures.encode(image, "WEBP"),
            "d.gif": pictures.encode(image, "GIF"),
            "e_grey.png": pictures.encode(image.convert("L"), "PNG"),
            "f_rgba.png": pictures.encode(pictures.rgba, "PNG"),
            "g_cmyk.jpg": pictures.encode(image.convert("CMYK"), "JPEG"),
            "h.tif": pictures.encode(image, "TIFF"),
            "truncated.jpg": pictures.encode(image, "JPEG")[:-100],
            "text.png": b"this is text",
        },
    )
    return tmp_path


def test_too_many_unreadable_files_are_refused_by_name_whichever_split_they_would_be_in(mixed):
    for split in ("train", "validation"):
        message = refusal(mixed, split)
        assert "2 of 10" in message
        assert f"{mixed}/text.png: not an image" in message
        assert f"{mixed}/truncated.jpg: image file is truncated" in message
        assert "--data.max_unreadable_fraction" in message


def test_unreadable_files_are_left_out_below_the_limit(mixed, warnings_logged):
    train, validation = (open_folder(mixed, split, max_unreadable_fraction=0.2) for split in ("train", "validation"))
    keys = [e["key"].decode() for source in (train, validation) for e in elements(source.ordered())]
    assert sorted(key[0] for key in keys) == list("abcdefgh")
    assert [line.rpartition("/")[2].partition(":")[0] for line in train.unreadable] == ["text.png", "truncated.jpg"]
    assert len(warnings_logged) == 2  # once, though both splits were opened


def test_one_examination_serves_both_splits_while_it_is_alive(numbered, monkeypatch):
    calls = []
    examine = examination.examine
    monkeypatch.setattr(examination, "examine", lambda *arguments: calls.append(1) or examine(*arguments))
    train = open_folder(numbered)
    validation = open_folder(numbered, "validation")
    assert len(calls) == 1
    del train, validation
    open_folder(numbered)
    assert len(calls) == 2


@pytest.mark.slow
def test_images_in_memory_and_images_decoded_each_time_are_the_same(mixed, monkeypatch):
    in_memory = open_folder(mixed, max_unreadable_fraction=0.2)
    assert isinstance(in_memory, MemorySource)
    expected = elements(in_memory.ordered()), elements(in_memory.shuffled(3), 20)
    del in_memory
    monkeypatch.setattr(examination, "MEMORY_LIMIT_BYTES", 0)
    from_files = open_folder(mixed, max_unreadable_fraction=0.2)
    assert not isinstance(from_files, MemorySource)
    assert_same(elements(from_files.ordered()), expected[0])
    assert_same(elements(from_files.shuffled(3), 20), expected[1])
    assert from_files.ordered().element_spec["image"].shape == (6, 6, 3)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_shuffled_resumes_from_start_bitwise(limit, numbered, monkeypatch):
    monkeypatch.setattr(examination, "MEMORY_LIMIT_BYTES", limit)
    source = open_folder(numbered)
    count = source.num_examples
    whole = elements(source.shuffled(3), 2 * count)
    for epoch in (whole[:count], whole[count:]):
        assert len({e["key"] for e in epoch}) == count
    for start in (1, count - 3, count + 2):
        assert_same(elements(source.shuffled(3, start=start), 8), whole[start : start + 8])
    assert [e["key"] for e in elements(source.shuffled(4), count)] != [e["key"] for e in whole[:count]]
