"""Digests, whose values are stored in files of earlier versions."""

import hashlib
import struct

import numpy as np

from vim_tf.storage import digests

# sha256 of "abc", from FIPS 180-2, appendix B.1.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_pieces_give_the_digest_of_the_whole():
    assert digests.digest_of_parts([b"a", b"", b"bc"]) == ABC


def test_a_file_has_the_digest_of_its_bytes(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"abc")
    assert digests.digest_of_file(str(tmp_path / "file")) == ABC
    monkeypatch.setattr(digests, "_BLOCK_BYTES", 2)
    assert list(digests.file_parts(str(tmp_path / "file"))) == [b"ab", b"c"]
    assert digests.digest_of_file(str(tmp_path / "file")) == ABC


def test_a_json_value_has_the_digest_of_its_text_with_sorted_keys():
    text = b'{"a": [1, 0.5, null], "b": "\\u00e4"}'
    assert digests.digest({"b": "ä", "a": [1, 0.5, None]}) == hashlib.sha256(text).hexdigest()


def test_a_short_digest_is_blake2b_of_bytes_and_arrays():
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    expected = hashlib.blake2b(b"2 3 \x00\x01\x02\x03\x04\x05", digest_size=8).digest()
    assert digests.short_digest([b"2 3 ", image], 8) == expected


def test_an_array_counts_by_name_dtype_shape_and_values():
    values = np.array([[1, 2], [3, 4]], "<f4").T  # not contiguous
    expected = struct.pack("<4f", 1, 3, 2, 4)
    assert list(digests.array_parts(values)) == [b"<f4 (2, 2)\n", expected]
    assert list(digests.array_parts(values, "layer/kernel")) == [b"layer/kernel <f4 (2, 2)\n", expected]


def test_a_number_counts_as_an_array_of_one():
    assert list(digests.array_parts(np.float32(1.5))) == [b"<f4 (1,)\n", struct.pack("<f", 1.5)]


def test_integers_are_groups_of_eight_bytes_of_the_digest():
    assert digests.integers(b"abc", 2) == [0xBA7816BF8F01CFEA, 0x414140DE5DAE2223]
