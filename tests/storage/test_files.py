"""Folders with links, and names that stand for several files."""

import errno
import os

import pytest

from vim_tf.errors import InputError
from vim_tf.storage import files


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def found(folder):
    """Paths below a folder of all files that `walk` yields, sorted."""
    return sorted(
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in files.walk(str(folder))
        for name in names
    )


def test_links_to_folders_are_followed_under_the_links_name(tmp_path):
    write(tmp_path / "data", "a/1")
    write(tmp_path / "elsewhere", "2", "deep/3")
    (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "data") == ["a/1", "b/2", "b/deep/3"]


@pytest.mark.parametrize("target", ["..", ".", "../c/up", "../d"])
def test_a_link_that_leads_back_adds_nothing(target, tmp_path):
    write(tmp_path, "c/1", "d/2")
    (tmp_path / "c" / "up").symlink_to(target)
    expected = ["c/1", "d/2"] + (["c/up"] if target == "../c/up" else [])  # which is a link to itself, and no folder
    assert found(tmp_path) == sorted(expected)


def test_two_links_to_one_folder_enter_it_once_and_its_own_path_comes_first(tmp_path, caplog):
    write(tmp_path / "data", "z/1")
    write(tmp_path / "elsewhere", "2")
    (tmp_path / "data" / "a").symlink_to("z")
    for name in ("b", "c"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "data") == ["b/2", "z/1"]
    passed_over = [line for line in caplog.messages if line.startswith("passed over")]
    assert [line.split()[2] for line in passed_over] == [f"{tmp_path}/data/a:", f"{tmp_path}/data/c:"]


def test_links_into_a_hidden_folder_are_followed_though_it_is_passed_over(tmp_path):
    write(tmp_path, ".store/cats/1", ".store/dogs/2")
    for name in ("cats", "dogs"):
        (tmp_path / name).symlink_to(f".store/{name}")
    assert found(tmp_path) == ["cats/1", "dogs/2"]


def test_a_link_that_leads_nowhere_is_a_file_with_a_problem(tmp_path):
    write(tmp_path, "1")
    (tmp_path / "broken").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    assert found(tmp_path) == ["1", "broken", "pipe"]
    assert files.link_problem(f"{tmp_path}/1") == ""
    assert files.link_problem(f"{tmp_path}/broken") == "a link to gone, where there is nothing"
    assert files.link_problem(f"{tmp_path}/pipe") == "no regular file"


def test_a_folder_that_must_not_be_listed_is_named(tmp_path, monkeypatch):
    write(tmp_path, "a/1")
    scandir = os.scandir

    def refuse(folder):
        if folder.endswith("/a"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=f"{tmp_path}/a can't be listed: Permission denied"):
        found(tmp_path)


def test_nothing_is_found_where_there_is_no_folder(tmp_path):
    assert found(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a-{000..002}.tar", ["a-000.tar", "a-001.tar", "a-002.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{2..0}", ["2", "1", "0"]),
        ("x{a,bc}{1..2}", ["xa1", "xa2", "xbc1", "xbc2"]),
        ("{split}-{0..1}", ["{split}-0", "{split}-1"]),
        ("{SPAN:3}/*", ["{SPAN:3}/*"]),
    ],
)
def test_braces_are_expanded_as_shells_do(pattern, expected):
    assert files.expand_braces(pattern) == expected


def test_of_several_names_in_braces_a_missing_one_is_named(tmp_path):
    write(tmp_path, "00.tar", "01.tar", "03.tar")
    assert files.glob(f"{tmp_path}/{{00..01}}.tar") == [f"{tmp_path}/00.tar", f"{tmp_path}/01.tar"]
    with pytest.raises(InputError, match=f"1 of 4 files aren't there, such as {tmp_path}/02.tar"):
        files.glob(f"{tmp_path}/{{00..03}}.tar")
    assert files.glob(f"{tmp_path}/{{07..09}}.tar") == []
