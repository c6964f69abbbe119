"""Errors as one line."""

import pytest
import tensorflow as tf

from vim_tf.errors import InputError, one_line
from vim_tf.storage import files


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("a\n\n \tb  c \r\nd"), "a b  c d"),
        (ValueError(" \n"), "ValueError"),
        (InputError(), "InputError"),
        (KeyError("name"), "'name'"),
        ("a\nb", "a b"),
        ("", ""),
    ],
)
def test_lines_are_joined_and_an_error_that_says_nothing_gives_its_name(error, expected):
    assert one_line(error) == expected


def test_as_many_lines_and_characters_are_kept_as_are_asked_for():
    error = OSError("\nfirst\nsecond\nthird")
    assert one_line(error, lines=1) == "first"
    assert one_line(error, lines=2) == "first second"
    assert one_line(error, 8) == "first se"
    assert one_line(error, 3, lines=1) == "fir"


def test_names_of_nodes_are_left_out_and_braces_of_a_users_are_not():
    message = "{{function_node __wrapped__ReadFile_device_/job:x/CPU:0}} a-{{0..2}}.tar; No such file [Op:ReadFile]"
    expected = "a-{{0..2}}.tar; No such file [Op:ReadFile]"
    assert one_line(message) == expected
    assert one_line(tf.errors.NotFoundError(None, None, f"{message}\n\t [[{{{{node Read}}}}]]")) == f"{expected} [[]]"


def test_what_tensorflow_says_of_a_file_that_is_not_there():
    with pytest.raises(tf.errors.NotFoundError) as caught:
        tf.io.read_file("/nowhere/file")
    assert one_line(caught.value) == "/nowhere/file; No such file or directory [Op:ReadFile]"


def test_bytes_that_tensorflow_quotes_and_that_are_no_text_are_shown():
    error = UnicodeDecodeError("utf-8", b"bad \xff\nrecord", 4, 5, "invalid start byte")
    assert one_line(files.message_of(error)) == "bad \\xff record"
    assert files.message_of(tf.errors.NotFoundError(None, None, "gone")) == "gone"
