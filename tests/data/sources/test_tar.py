"""WebDataset tars: nothing is dropped silently."""

import pytest

from tests.data.sources.container_files import write_tar
from vim_tf.data import sources
from vim_tf.data.sources import tar as tar_files
from vim_tf.data.sources.feature_names import FeatureNames
from vim_tf.errors import InputError


@pytest.fixture
def encoded(pictures):
    """6 PNG files; file i is grey of level i."""
    return [pictures.encode(pictures.flat(i), "PNG") for i in range(6)]


def records(path, **names):
    return [
        (record.key.decode(), record.label, record.problem)
        for record in tar_files.WebDataset(**names).records(str(path))
    ]


def test_images_with_dots_in_their_stem_are_counted_and_named(encoded, tmp_path):
    members = [("a001.png", encoded[0]), ("a001.cls", b"0")]
    for version in ("v1", "v2"):
        members += [(f"a003.{version}.png", encoded[1]), (f"a003.{version}.cls", b"1")]
    write_tar(tmp_path / "x.tar", members)
    reason = "sample a003 has no image, only v1.cls, v1.png, v2.cls, v2.png (a sample's name ends at its first dot)"
    assert records(tmp_path / "x.tar") == [("a001", 0, ""), ("a003.v1.png", -1, reason), ("a003.v2.png", -1, reason)]
    with pytest.raises(InputError, match="2 of 3 images can't be read"):
        sources.open_source(f"webdataset:{tmp_path}/x.tar", "train", 8, 8)


def test_an_extension_with_dots_can_be_named(encoded, tmp_path):
    members = [("1.png", encoded[0]), ("1.seg.png", encoded[1]), ("1.kind", b"4"), ("1.json", b'{"sort": 3}')]
    write_tar(tmp_path / "x.tar", members)
    (record,) = tar_files.WebDataset("seg.png", "kind").records(f"{tmp_path}/x.tar")
    assert (record.image, record.label) == (encoded[1], 4)
    assert records(tmp_path / "x.tar", label="sort") == [("1", 3, "")]
    assert records(tmp_path / "x.tar", label="none") == [("1", -1, "")]
    assert records(tmp_path / "x.tar", label="species") == [
        ("1", -1, "sample 1: it has no member .species, and no species in a .json")
    ]


def test_two_members_of_one_name_are_named(encoded, tmp_path):
    write_tar(tmp_path / "x.tar", [("1.png", encoded[0]), ("1.png", encoded[1]), ("2.png", encoded[2])])
    assert records(tmp_path / "x.tar") == [("1", -1, "sample 1 has 2 members .png"), ("2", -1, "")]


def test_a_label_of_more_than_64_bits_is_named(encoded, tmp_path):
    write_tar(tmp_path / "x.tar", [("1.png", encoded[0]), ("1.cls", b"99999999999999999999")])
    assert records(tmp_path / "x.tar") == [("1", -1, "sample 1: label 99999999999999999999 has more than 64 bits")]


def test_a_tar_that_is_cut_between_two_members_is_named_as_cut(encoded, tmp_path):
    write_tar(tmp_path / "whole.tar", [(f"{number}.png", encoded[0]) for number in range(3)])
    content = (tmp_path / "whole.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(content[: content.rindex(b"2.png")])
    with pytest.raises(InputError, match="cut.tar can't be read as a tar file after member 1.png: the archive is cut"):
        records(tmp_path / "cut.tar")
    # One block of zeros instead of two is a valid, if unusual, end.
    end = content.rindex(b"2.png") + 1024
    assert not any(content[end : end + 512])
    (tmp_path / "short.tar").write_bytes(content[: end + 512])
    assert len(records(tmp_path / "short.tar")) == 3


def test_braces_in_a_path_expand_to_the_tars_of_a_set(encoded, tmp_path):
    for number in range(3):
        write_tar(tmp_path / f"part-{number:03d}.tar", [("1.png", encoded[number])])
    source = sources.open_source(f"webdataset:{tmp_path}/part-{{000..002}}.tar", "train", 8, 8, validation_fraction=0.0)
    assert [int(e["image"][0, 0, 0]) for e in source.ordered().as_numpy_iterator()] == [0, 1, 2]
    with pytest.raises(InputError, match="part-003.tar"):
        sources.open_source(f"webdataset:{tmp_path}/part-{{000..003}}.tar", "train", 8, 8, validation_fraction=0.0)


def test_a_key_feature_is_refused(encoded, tmp_path):
    write_tar(tmp_path / "x.tar", [("1.png", encoded[0])])
    with pytest.raises(InputError, match="--data.key_feature has no effect on --data.source=webdataset"):
        sources.open_source(f"webdataset:{tmp_path}/x.tar", "train", 8, 8, features=FeatureNames(key="id"))
