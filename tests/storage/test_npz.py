"""Files of arrays, including damaged and hostile ones."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest

from vim_tf.errors import InputError
from vim_tf.storage import npz

ARRAYS = {"a": np.arange(6, dtype=np.int16).reshape(3, 2), "b/c": np.float32(0.5), "d": np.array("text")}


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def array_file(values):
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def archive(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return str(path)


def refusal(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("compressed", [True, False])
def test_what_is_written_is_read(compressed, tmp_path):
    path = str(tmp_path / "new" / "file.npz")
    npz.write(path, ARRAYS, compressed)
    found = npz.read(path)
    assert list(found) == list(ARRAYS)
    for name, values in ARRAYS.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)
    assert npz.names(path) == set(ARRAYS)
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path) as file:
        assert {member.compress_type for member in file.infolist()} == {kind}


def test_a_missing_file_is_named_with_what_to_do(tmp_path):
    message = refusal(npz.read, str(tmp_path / "none.npz"), "--weights=none.npz", "make it")
    assert message.startswith("--weights=none.npz can't be read as an .npz file: ")
    assert message.endswith("No such file or directory; make it")
    assert "No such file or directory" in refusal(npz.names, str(tmp_path / "none.npz"))
    assert "No such file or directory" in refusal(npz.open_rows(str(tmp_path / "none.npz"), "a").__enter__)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it isn't a zip archive"),
        (b"text", "it isn't a zip archive"),
        (array_file(np.zeros(3)), "it isn't a zip archive"),
        (b"PK\x03\x04 damaged", "File is not a zip file"),
    ],
)
def test_another_kind_of_file_is_refused(content, reason, tmp_path):
    (tmp_path / "file").write_bytes(content)
    path = str(tmp_path / "file")
    assert refusal(npz.read, path) == f"{path} can't be read as an .npz file: {reason}"
    assert refusal(npz.names, path).startswith(f"{path} can't be read as an .npz file: ")


def test_no_object_is_unpickled(tmp_path):
    folder = tmp_path / "made by the file"
    np.savez(tmp_path / "file.npz", a=np.array([Bomb(str(folder))], dtype=object))
    assert "Object arrays cannot be loaded" in refusal(npz.read, str(tmp_path / "file.npz"))
    assert not folder.exists()


def test_a_member_that_is_not_an_array_is_refused(tmp_path):
    path = archive(tmp_path / "file.npz", **{"a.npy": array_file(np.zeros(3)), "readme.txt": b"text"})
    assert refusal(npz.read, path).endswith("readme.txt in it isn't an array")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:20],
        lambda content: content[:-1],
        lambda content: content.replace(b"'shape'", b"'shope'"),
        lambda content: content.replace(b"(3, 2)", b"(3, 2 "),  # Python's tokenizer finds no end to it
        lambda content: content.replace(b"(3, 2)", b"(3,-2)"),
        lambda content: content.replace(b"(3, 2), }       ", b"(3, 2**70), }   "),
        lambda content: content.replace(b"(3, 2), }" + b" " * 14, b"(" + b"9" * 20 + b",), }"),
        lambda content: content.replace(b"<i2", b"<q7"),
    ],
)
def test_a_damaged_array_is_refused(damage, tmp_path):
    whole = array_file(ARRAYS["a"])
    assert damage(whole) != whole
    path = archive(tmp_path / "file.npz", **{"a.npy": damage(whole)})
    assert f"{path} can't be read as an .npz file: " in refusal(npz.read, path)


@pytest.mark.parametrize("compressed", [True, False])
def test_every_cut_and_every_damaged_byte_is_read_or_refused(compressed, tmp_path):
    path = tmp_path / "file.npz"
    npz.write(str(path), {"a": ARRAYS["a"]}, compressed)
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(0, len(whole), 7)]
    damaged += [whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :] for place in range(0, len(whole), 3)]
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            npz.read(str(path))
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > len(damaged) / 2


class TestShapes:
    SHAPES = {"a": (3, 2), "b": ()}

    def test_the_expected_arrays_pass(self):
        npz.check_shapes({"b": np.float32(1), "a": np.zeros([3, 2])}, self.SHAPES, "the file")

    @pytest.mark.parametrize(
        ("arrays", "wrong"),
        [
            ({"a": np.zeros([3, 2])}, "b is missing"),
            ({"a": np.zeros([3, 2]), "b": np.zeros([]), "c": np.zeros([])}, "c is unknown"),
            ({"a": np.zeros([2, 3]), "b": np.zeros([1])}, "a is (2, 3), not (3, 2); b is (1,), not ()"),
            ({"a": np.zeros([3, 2]), "b": np.array("x")}, "b is of type <U1, which isn't numeric"),
        ],
    )
    def test_what_is_wrong_is_listed(self, arrays, wrong):
        message = refusal(npz.check_shapes, arrays, self.SHAPES, "the file")
        assert message == f"the file doesn't hold the expected weights: {wrong}"

    def test_at_most_five_are_named(self):
        shapes = {f"w{index}": () for index in range(8)}
        assert refusal(npz.check_shapes, {}, shapes, "it").endswith("w4 is missing; and 3 more")


class TestRows:
    """Blocks of an int16 array [5, 2] that holds the numbers 0 to 9."""

    @pytest.fixture
    def path(self, tmp_path):
        np.savez_compressed(tmp_path / "file.npz", a=np.arange(10, dtype=np.int16).reshape(5, 2))
        return str(tmp_path / "file.npz")

    def read(self, path, size=2):
        with npz.open_rows(path, "a", "it") as rows:
            assert rows.shape == (5, 2) and rows.dtype == np.int16
            return [block.tolist() for block in rows.blocks(size)]

    def test_come_in_blocks_of_which_the_last_is_smaller(self, path):
        assert self.read(path) == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]

    def test_that_are_cut_off_are_counted(self, path):
        archive(path, **{"a.npy": array_file(np.arange(10, dtype=np.int16).reshape(5, 2))[:-5]})
        assert refusal(self.read, path) == "it: a is cut off after 3 of 5 rows"

    def test_that_are_damaged_are_refused(self, path):
        np.savez(path, a=np.arange(10, dtype=np.int16).reshape(5, 2))
        with open(path, "rb+") as file:
            content = file.read()
            file.seek(content.index(struct.pack("<10h", *range(10))))
            file.write(b"\xff")
        assert refusal(self.read, path).startswith("it can't be read as an .npz file: Bad CRC-32")

    @pytest.mark.parametrize("values", [np.zeros([5, 2], order="F"), np.zeros([]), np.array([{}], dtype=object)])
    def test_other_arrays_are_refused(self, values, tmp_path):
        np.savez(tmp_path / "file.npz", a=values)
        assert "can't be read row by row" in refusal(self.read, str(tmp_path / "file.npz"))

    def test_a_missing_array_is_named(self, tmp_path):
        np.savez(tmp_path / "file.npz", b=np.zeros(3))
        assert "a.npy" in refusal(self.read, str(tmp_path / "file.npz"))

    def test_an_error_in_the_callers_block_is_passed_on(self, path):
        with pytest.raises(KeyError), npz.open_rows(path, "a") as rows:
            for _ in rows.blocks(2):
                raise KeyError
