"""torchvision's VGG16 and LPIPS' heads, with their original names, become one of our files."""

import os
import pathlib

import numpy as np
import pytest

from vim_tf.errors import InputError
from vim_tf.interop import lpips, torch_files
from vim_tf.losses import perceptual

REFERENCE = pathlib.Path(__file__).parents[1] / "references" / "perceptual.npz"
CHANNELS = (4, 6, 8, 8, 10)


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


@pytest.fixture
def vgg16(reference):
    return {name.removeprefix("vgg16:"): value for name, value in reference.items() if name.startswith("vgg16:")}


@pytest.fixture
def heads(reference):
    return {name.removeprefix("heads:"): value for name, value in reference.items() if name.startswith("heads:")}


@pytest.fixture
def convert(vgg16, heads, monkeypatch):
    """`lpips.convert` of the thin network, without real files."""
    files = {"vgg16.pth": vgg16, "vgg.pth": heads}
    convert_tensors = lpips.convert_tensors
    monkeypatch.setattr(torch_files, "read_state_dict", files.get)
    monkeypatch.setattr(lpips, "convert_tensors", lambda *tensors: convert_tensors(*tensors, CHANNELS))
    return lambda output: lpips.convert("vgg16.pth", "vgg.pth", str(output))


def test_the_written_file_gives_pytorchs_distances(convert, reference, tmp_path):
    convert(tmp_path / "made" / "lpips.npz")
    distance = perceptual.load_perceptual("lpips", str(tmp_path / "made" / "lpips.npz"), CHANNELS)
    np.testing.assert_allclose(
        distance(reference["images"], reference["reconstructions"]), reference["lpips"], rtol=1e-4
    )
    assert os.listdir(tmp_path / "made") == ["lpips.npz"]


def test_kernels_are_transposed(vgg16, heads):
    arrays = lpips.convert_tensors(vgg16, heads, CHANNELS)
    assert arrays["conv3_2/kernel"].shape == (3, 3, 8, 8)
    assert arrays["conv3_2/kernel"][0, 2, 5, 7] == vgg16["features.12.weight"][7, 5, 0, 2]
    assert arrays["head2/kernel"][4, 0] == heads["lin1.model.1.weight"][0, 4, 0, 0]


def test_the_classifier_is_dropped(vgg16, heads):
    classifier = {"classifier.0.weight": np.zeros((4, 4), "float32")}
    arrays = lpips.convert_tensors(vgg16 | classifier, heads, CHANNELS)
    assert set(arrays) == set(perceptual.lpips_shapes(CHANNELS))


def test_missing_and_left_over_tensors_are_listed(vgg16, heads):
    del vgg16["features.28.bias"]
    heads["lin5.model.1.weight"] = np.zeros((1, 4, 1, 1), "float32")
    with pytest.raises(InputError, match=r"1 missing.*features\.28\.bias.*1 unknown.*lin5\.model\.1\.weight"):
        lpips.convert_tensors(vgg16, heads, CHANNELS)


def test_one_file_given_twice_is_refused(vgg16):
    with pytest.raises(InputError, match="both hold features.0.bias"):
        lpips.convert_tensors(vgg16, vgg16, CHANNELS)


@pytest.mark.parametrize(("name", "shape"), [("lin0.model.1.weight", (1, 5, 1, 1)), ("lin0.model.1.weight", (4,))])
def test_heads_of_other_shapes_are_refused(vgg16, heads, name, shape):
    heads[name] = np.zeros(shape, "float32")
    with pytest.raises(InputError, match="head1/kernel"):
        lpips.convert_tensors(vgg16, heads, CHANNELS)


def test_another_width_is_refused(vgg16, heads):
    with pytest.raises(InputError, match=r"conv1_1/kernel is \(3, 3, 3, 4\), not \(3, 3, 3, 64\); .* more"):
        lpips.convert_tensors(vgg16, heads)


def test_heads_below_0_are_refused(vgg16, heads):
    heads["lin2.model.1.weight"] = heads["lin2.model.1.weight"] - 1
    with pytest.raises(InputError, match="below 0.*head3"):
        lpips.convert_tensors(vgg16, heads, CHANNELS)


def test_an_output_that_cannot_be_written_is_named(convert, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--output=.*/file/lpips.npz can't be written"):
        convert(tmp_path / "file" / "lpips.npz")
