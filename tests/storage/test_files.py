"""Files and folders that appear whole or not at all, folders with links, and patterns of file names."""

import errno
import os

import pytest
import tensorflow as tf

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
    expected = ["c/1", "d/2"] + (["c/up"] if target == "../c/up" else [])  # a link to itself, which isn't a folder
    assert found(tmp_path) == sorted(expected)


def test_two_links_to_one_folder_enter_it_once_and_its_own_path_comes_first(tmp_path, caplog):
    write(tmp_path / "data", "z/1")
    write(tmp_path / "elsewhere", "2")
    (tmp_path / "data" / "a").symlink_to("z")
    for name in ("b", "c"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "data") == ["b/2", "z/1"]
    skipped = [line for line in caplog.messages if line.startswith("skipped")]
    assert [line.split()[1] for line in skipped] == [f"{tmp_path}/data/a:", f"{tmp_path}/data/c:"]


def test_links_into_a_hidden_folder_are_followed_though_it_is_skipped(tmp_path):
    write(tmp_path, ".store/cats/1", ".store/dogs/2")
    for name in ("cats", "dogs"):
        (tmp_path / name).symlink_to(f".store/{name}")
    assert found(tmp_path) == ["cats/1", "dogs/2"]


def test_a_broken_link_is_a_file_with_a_problem(tmp_path):
    write(tmp_path, "1")
    (tmp_path / "broken").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    assert found(tmp_path) == ["1", "broken", "pipe"]
    assert files.link_problem(f"{tmp_path}/1") == ""
    assert files.link_problem(f"{tmp_path}/broken") == "a broken link to gone"
    assert files.link_problem(f"{tmp_path}/pipe") == "not a regular file"


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
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


def test_a_missing_file_among_several_in_braces_is_named(tmp_path):
    write(tmp_path, "00.tar", "01.tar", "03.tar")
    assert files.glob(f"{tmp_path}/{{00..01}}.tar") == [f"{tmp_path}/00.tar", f"{tmp_path}/01.tar"]
    with pytest.raises(InputError, match=f"1 of 4 files are missing, such as {tmp_path}/02.tar"):
        files.glob(f"{tmp_path}/{{00..03}}.tar")
    assert files.glob(f"{tmp_path}/{{07..09}}.tar") == []


class Stop(BaseException):
    """An exception that isn't an error, like an interrupt."""


class TestWholeFile:
    """Also covers `write_whole`, which uses it."""

    def test_replaces_what_was_there_once_the_block_is_done(self, tmp_path):
        path = tmp_path / "new" / "file"
        files.write_whole(str(path), "old")
        with files.whole_file(str(path)) as unfinished:
            with open(unfinished, "w") as file:
                file.write("new")
            assert path.read_text() == "old"
            assert unfinished.startswith(f"{path}.tmp-")
        assert path.read_text() == "new"
        assert os.listdir(path.parent) == ["file"]

    @pytest.mark.parametrize("error", [OSError, InputError, Stop])
    @pytest.mark.parametrize("begun", [True, False])
    def test_an_error_leaves_what_was_there_and_nothing_else(self, error, begun, tmp_path):
        write(tmp_path, "file")
        with pytest.raises(error), files.whole_file(str(tmp_path / "file")) as unfinished:
            if begun:
                files.write_whole(unfinished, b"half")
            raise error
        assert (tmp_path / "file").read_bytes() == b"x"
        assert os.listdir(tmp_path) == ["file"]

    def test_a_failed_move_leaves_nothing_behind(self, tmp_path):
        write(tmp_path, "taken/by a folder")
        with pytest.raises(tf.errors.OpError):
            files.write_whole(str(tmp_path / "taken"), b"new")
        assert os.listdir(tmp_path) == ["taken"]
        assert os.listdir(tmp_path / "taken") == ["by a folder"]

    def test_a_link_is_replaced_and_the_targets_are_left_as_they_were(self, tmp_path):
        write(tmp_path, "a/1", "b/2")
        (tmp_path / "link").symlink_to("a")
        with files.whole_file(str(tmp_path / "link")) as unfinished:
            os.symlink("b", unfinished)
        assert os.readlink(tmp_path / "link") == "b"
        with pytest.raises(Stop), files.whole_file(str(tmp_path / "link")) as unfinished:
            os.symlink("a", unfinished)
            raise Stop
        assert os.readlink(tmp_path / "link") == "b"
        assert sorted(os.listdir(tmp_path)) == ["a", "b", "link"]
        assert os.listdir(tmp_path / "a") == ["1"]

    def test_what_killed_processes_left_is_removed(self, tmp_path):
        write(tmp_path, "data", "data.tmp-host-1-abc", "data.tmp")
        files.remove_unfinished(str(tmp_path))
        assert sorted(os.listdir(tmp_path)) == ["data", "data.tmp"]


class TestWholeFolder:
    """Replaces a folder `run`, whose file x holds `1` at first."""

    @pytest.fixture
    def run(self, tmp_path):
        write(tmp_path, "run/1")
        return tmp_path / "run"

    @staticmethod
    def contents(run):
        assert os.listdir(run.parent) == ["run"]
        return sorted(os.listdir(run))

    def test_replaces_what_was_there_once_the_block_is_done(self, run):
        with files.whole_folder(f"{run}/") as unfinished:
            assert unfinished == f"{run}.tmp"
            files.write_whole(f"{unfinished}/2", b"new")
            assert os.listdir(run) == ["1"]
        assert self.contents(run) == ["2"]

    @pytest.mark.parametrize("error", [OSError, Stop])
    @pytest.mark.parametrize("begun", [True, False])
    def test_an_error_leaves_what_was_there_and_nothing_else(self, error, begun, run):
        with pytest.raises(error), files.whole_folder(str(run)) as unfinished:
            if begun:
                files.write_whole(f"{unfinished}/2", b"half")
            raise error
        assert self.contents(run) == ["1"]

    def test_a_failed_move_brings_back_what_was_there(self, run, monkeypatch):
        rename = tf.io.gfile.rename

        def refuse(source, target, overwrite=False):
            if source == f"{run}.tmp":
                raise tf.errors.PermissionDeniedError(None, None, "no")
            rename(source, target, overwrite)

        with pytest.raises(tf.errors.PermissionDeniedError), files.whole_folder(str(run)) as unfinished:
            files.write_whole(f"{unfinished}/2", b"new")
            monkeypatch.setattr(tf.io.gfile, "rename", refuse)
        monkeypatch.undo()
        assert self.contents(run) == ["1"]

    def test_a_file_is_not_replaced(self, tmp_path):
        write(tmp_path, "run")
        with pytest.raises(tf.errors.OpError), files.whole_folder(str(tmp_path / "run")) as unfinished:
            files.write_whole(f"{unfinished}/2", b"new")
        assert (tmp_path / "run").read_bytes() == b"x"
        assert os.listdir(tmp_path) == ["run"]

    def test_a_link_to_a_folder_is_replaced_but_not_its_target(self, run):
        os.rename(run, run.parent / "elsewhere")
        run.symlink_to("elsewhere")
        with files.whole_folder(str(run)) as unfinished:
            files.write_whole(f"{unfinished}/2", b"new")
        assert not run.is_symlink()
        assert os.listdir(run) == ["2"]
        assert sorted(os.listdir(run.parent)) == ["elsewhere", "run"]
        assert os.listdir(run.parent / "elsewhere") == ["1"]

    def test_what_a_kill_left_is_removed(self, run):
        write(run.parent, "run.tmp/half", "run.tmp-before/0")
        with files.whole_folder(str(run)) as unfinished:
            files.write_whole(f"{unfinished}/2", b"new")
        assert self.contents(run) == ["2"]

    def test_a_folder_that_was_moved_aside_before_a_kill_comes_back(self, run):
        run.rename(f"{run}.tmp-before")
        files.restore_folder(str(run))
        assert self.contents(run) == ["1"]
        files.restore_folder(str(run))
        assert self.contents(run) == ["1"]
