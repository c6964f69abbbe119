"""Files that a user names on the command line."""

import pytest

from vim_tf.data.images.single import find_images
from vim_tf.errors import InputError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("a.png", "b,c.png", "d, e.png", "x,y,z/2.png", "x,y,z/1.png", "x,y,z/in/3.jpg", "x,y,z/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("a.png", ["a.png"]),
        ("a.png,b,c.png", ["a.png", "b,c.png"]),
        ("b,c.png,a.png", ["b,c.png", "a.png"]),
        ("d, e.png", ["d, e.png"]),
        ("x,y,z", ["x,y,z/1.png", "x,y,z/2.png", "x,y,z/in/3.jpg"]),
        ("a.png, x,y,z/2.png", ["a.png", "x,y,z/2.png"]),
    ],
)
def test_names_with_commas_and_folders_are_found(folder, flag, expected):
    assert find_images([part.strip() for part in flag.split(",")]) == expected
    # From Python, each name by itself.
    assert find_images((flag,) if "," not in flag else expected) == expected


def test_of_two_readings_the_names_that_are_there_are_taken(folder, tmp_path):
    """`b` is a file too, but no `c.png` is there for the rest."""
    (tmp_path / "b").write_bytes(b"")
    assert find_images(["b", "c.png"]) == ["b,c.png"]
    (tmp_path / "c.png").write_bytes(b"")
    assert find_images(["b", "c.png"]) == ["b", "c.png"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["a.png", "f.png"], "^there is no image f.png$"),
        (["b", "a.png"], "^there is no image b$"),
        (["empty"], "^there is no image in the folder empty$"),
        (["https://example.com/a.png"], "^https://example.com/a.png can't be read: "),
    ],
)
def test_what_is_not_there_is_named(folder, parts, message):
    with pytest.raises(InputError, match=message):
        find_images(parts)


def test_a_long_list_with_a_wrong_name_at_its_end_is_read_at_once(folder, tmp_path):
    with pytest.raises(InputError, match="there is no image wrong.png"):
        find_images(["a.png"] * 2000 + ["wrong.png"])
