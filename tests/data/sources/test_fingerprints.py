"""Fingerprints that show whether files have changed."""

import os

import numpy as np

from vim_tf.data import sources
from vim_tf.data.sources import source_fingerprint
from vim_tf.data.sources.base import MemorySource
from vim_tf.data.sources.fingerprints import files_fingerprint


def test_it_changes_with_the_content_the_time_and_the_names_of_files(tmp_path):
    file, folder = tmp_path / "weights.npz", tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    names = [str(file), str(folder)]
    seen = [files_fingerprint(names)]

    def now():
        seen.append(files_fingerprint(names))
        return len(set(seen)) == len(seen)

    file.write_bytes(b"1")
    assert now()
    assert files_fingerprint(names) == seen[-1]
    facts = os.stat(file)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns + 2_000_000_000))
    assert now()
    (folder / "variables" / "a").write_bytes(b"1")
    assert now()
    os.rename(folder / "variables" / "a", folder / "variables" / "b")
    assert now()


def test_a_name_without_files_is_used_as_it_is_and_an_empty_one_is_ignored():
    handle = files_fingerprint(["https://example.com/inception/1"])
    assert handle == files_fingerprint(["", "https://example.com/inception/1"])
    assert handle != files_fingerprint(["https://example.com/inception/2"])
    assert files_fingerprint(["", ""]) == ""


def test_a_folder_with_a_loop_and_a_broken_link_has_a_fingerprint_that_changes_with_the_link(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"1")
    seen = [source_fingerprint(f"folder:{tmp_path}", ["train"])]
    (tmp_path / "a" / "up").symlink_to("..")
    assert source_fingerprint(f"folder:{tmp_path}", ["train"]) == seen[0]
    (tmp_path / "a" / "2.png").symlink_to("gone")
    seen.append(source_fingerprint(f"folder:{tmp_path}", ["train"]))
    (tmp_path / "a" / "gone").write_bytes(b"2")
    seen.append(source_fingerprint(f"folder:{tmp_path}", ["train"]))
    assert len(set(seen)) == 3


def test_files_named_by_braces_are_part_of_the_fingerprint(tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.tar").write_bytes(b"1")
    name = f"webdataset:{tmp_path}/{{0..1}}.tar"
    before = source_fingerprint(name, ["train"])
    (tmp_path / "1.tar").write_bytes(b"22")
    assert source_fingerprint(name, ["train"]) != before


def test_a_source_made_in_python_has_the_fingerprint_of_its_name_and_an_opened_one_that_of_its_files():
    images = np.zeros([1, 2, 2, 3], np.uint8)
    made = [MemorySource(name, "train", ["a"], [0], [b"0"], images).fingerprint() for name in ("x", "x", "y")]
    assert made[0] == made[1] != made[2]
    opened = sources.open_source("digits", "train", 8, 8)
    assert opened.fingerprint() == source_fingerprint("digits", ["train"])
