"""The cache of drawn images."""

import pathlib

import numpy as np
import pytest

from vim_tf.data.sources import drawn

IMAGES = np.arange(3 * 2 * 2 * 3, dtype=np.uint8).reshape(3, 2, 2, 3)
CHOICES = [{"hair": "long", "hat": "none"}, {"hair": "bun", "eyes": "é"}, {}]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Folder of the cached files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "vim_tf" / "things"


class Maker:
    """Makes the images and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return drawn.Drawn.of(IMAGES, CHOICES)


def cached(make, key="key"):
    return drawn.cached("things:all", "things", key, (3, 2, 2, 3), make)


def columns(found):
    return {name: values.tolist() for name, values in found.attributes().items()}


def test_attributes_are_columns_in_which_a_missing_one_is_empty():
    expected = {"eyes": ["", "é", ""], "hair": ["long", "bun", ""], "hat": ["none", "", ""]}
    assert columns(drawn.Drawn.of(IMAGES, CHOICES)) == expected


@pytest.mark.parametrize("choices", [CHOICES, [{}] * 3])
def test_what_is_saved_is_loaded(tmp_path, choices):
    saved = drawn.Drawn.of(IMAGES, choices)
    saved.save(str(tmp_path / "a.npz"))
    loaded = drawn.Drawn.load(str(tmp_path / "a.npz"))
    np.testing.assert_array_equal(loaded.images, IMAGES)
    assert columns(loaded) == columns(saved)


def test_the_cache_is_filled_once_for_each_key(folder):
    make = Maker()
    for key in ("a", "b", "a", "b"):
        np.testing.assert_array_equal(cached(make, key).images, IMAGES)
    assert make.calls == 2
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "emptied", "no archive", "changed"])
def test_a_damaged_file_is_made_again(folder, damage, warnings_logged):
    make = Maker()
    cached(make)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    start = whole.index(IMAGES.tobytes())
    changed = whole[:start] + b"\xff" + whole[start + 1 :]
    path.write_bytes({"cut": whole[:start], "emptied": b"", "no archive": b"x" * 99, "changed": changed}[damage])
    np.testing.assert_array_equal(cached(make).images, IMAGES)
    assert make.calls == 2
    (line,) = warnings_logged
    assert str(path) in line and "drawing the images again" in line and "\n" not in line
    assert path.read_bytes() == whole
    assert list(folder.iterdir()) == [path]


def test_a_file_of_other_images_is_made_again(folder, warnings_logged):
    make = Maker()
    cached(make)
    (path,) = folder.iterdir()
    drawn.Drawn.of(IMAGES[:1], [{}]).save(str(path))
    np.testing.assert_array_equal(cached(make).images, IMAGES)
    assert "(1, 2, 2, 3)" in warnings_logged[0]


def test_a_cache_that_cannot_be_written_is_not_needed(tmp_path, monkeypatch, warnings_logged):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    np.testing.assert_array_equal(cached(Maker()).images, IMAGES)
    assert f"the images can't be kept in {tmp_path}/file/vim_tf/things" in warnings_logged[0]


def test_without_xdg_cache_home_the_cache_is_below_the_home_folder(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/someone")
    assert pathlib.Path(drawn.cache_folder("avatars")) == pathlib.Path("/home/someone/.cache/vim_tf/avatars")
