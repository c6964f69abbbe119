"""Reading PyTorch's files: with a stand-in for PyTorch, and with PyTorch itself if it is installed."""

import contextlib
import os
import pickle
import sys
import types

import numpy as np
import pytest

from vim_tf.errors import InputError
from vim_tf.interop.torch_files import read_state_dict


class Tensor:
    """The part of a PyTorch tensor that is used."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def detach(self):
        return self

    def float(self):
        return Tensor(self.values.astype("float32"))

    def numpy(self):
        return self.values


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"what the stand-in ignores")
    return str(path)


@pytest.fixture
def torch_holding(monkeypatch):
    """Replaces PyTorch by a stand-in whose loader returns, or raises, the given object."""

    def install(content):
        calls = []

        def load(file, **arguments):
            calls.append({"bytes": file.read(), **arguments})
            if isinstance(content, Exception):
                raise content
            return content

        torch = types.ModuleType("torch")
        torch.load = load
        torch.serialization = types.SimpleNamespace(safe_globals=lambda names: contextlib.nullcontext())
        monkeypatch.setitem(sys.modules, "torch", torch)
        return calls

    return install


class TestWithAStandIn:
    def test_only_the_weights_only_loader_is_called(self, torch_holding, path):
        calls = torch_holding({"a": Tensor([1.0])})
        read_state_dict(path)
        expected = {"bytes": b"what the stand-in ignores", "map_location": "cpu", "weights_only": True}
        assert calls == [expected]

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_tensors_become_float32_arrays_by_name(self, torch_holding, path, wrapped):
        tensors = {"a.weight": Tensor(np.array([[1, 2]], "float64")), "count": Tensor(np.array(3))}
        torch_holding({"state_dict": tensors, "epoch": 7} if wrapped else tensors)
        arrays = read_state_dict(path)
        assert {name: array.dtype for name, array in arrays.items()} == {"a.weight": "float32", "count": "float32"}
        np.testing.assert_array_equal(arrays["a.weight"], [[1, 2]])

    @pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {3: Tensor([1.0])}, {"state_dict": {"a": "b"}}])
    def test_what_is_no_state_dict_is_refused(self, torch_holding, path, content):
        torch_holding(content)
        with pytest.raises(InputError, match="holds no state dict"):
            read_state_dict(path)

    def test_what_was_refused_is_shown_and_not_how_to_lower_the_guard(self, torch_holding, path):
        message = (
            "Load failed. Set weights_only to False.\n\tTrust it\nError: Unsupported global posix.system. Please allow."
        )
        torch_holding(pickle.UnpicklingError(message))
        with pytest.raises(InputError, match=r"\(Error: Unsupported global posix.system\)") as refusal:
            read_state_dict(path)
        shown = str(refusal.value)
        assert "\n" not in shown and "Trust" not in shown and "allow" not in shown and "False" not in shown

    @pytest.mark.parametrize("error", [RuntimeError("bad zip\nmore"), EOFError(), KeyError("x")])
    def test_any_failure_of_the_loader_is_one_line(self, torch_holding, path, error):
        torch_holding(error)
        with pytest.raises(InputError, match="is damaged, or holds more than weights.*get a file") as refusal:
            read_state_dict(path)
        assert "\n" not in str(refusal.value)

    def test_a_missing_file_is_named(self, torch_holding, tmp_path):
        torch_holding({})
        with pytest.raises(InputError, match="none.ckpt can't be opened"):
            read_state_dict(str(tmp_path / "none.ckpt"))


def test_without_pytorch_it_says_how_to_get_it(monkeypatch, path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="needs PyTorch.*pip install"):
        read_state_dict(path)


class Harmful:
    """Fully unpickled, it would create a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class TestWithPyTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch")

    @pytest.mark.parametrize("zipped", [True, False])
    def test_a_saved_state_dict_is_read(self, torch, tmp_path, zipped):
        layer, path = torch.nn.Linear(2, 3), tmp_path / "model.pt"
        content = {"state_dict": layer.state_dict(), "epoch": 1}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        arrays = read_state_dict(str(path))
        np.testing.assert_array_equal(arrays["weight"], layer.weight.detach().numpy())
        assert list(arrays) == ["weight", "bias"]

    def test_half_precision_becomes_float32(self, torch, tmp_path):
        torch.save({"a": torch.tensor([1.5], dtype=torch.bfloat16)}, tmp_path / "model.pt")
        assert read_state_dict(str(tmp_path / "model.pt"))["a"].tolist() == [1.5]

    def test_a_callbacks_class_beside_the_weights_does_no_harm(self, torch, tmp_path, monkeypatch):
        """As written by PyTorch Lightning: the class itself is a key."""
        name = "pytorch_lightning.callbacks.model_checkpoint"
        module = types.ModuleType(name)
        module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
        for index, part in enumerate(name.split(".")):
            parent = ".".join(name.split(".")[: index + 1])
            monkeypatch.setitem(sys.modules, parent, module if parent == name else types.ModuleType(part))
        content = {"state_dict": {"a": torch.ones(2)}, "callbacks": {module.ModelCheckpoint: {"best": 1.0}}}
        torch.save(content, tmp_path / "model.ckpt")
        monkeypatch.undo()
        assert read_state_dict(str(tmp_path / "model.ckpt"))["a"].tolist() == [1, 1]

    @pytest.mark.parametrize("zipped", [True, False])
    def test_a_harmful_pickle_is_refused_and_not_run(self, torch, tmp_path, zipped):
        made, path = tmp_path / "made", tmp_path / "model.ckpt"
        content = {"state_dict": {"a": torch.ones(1)}, "extra": Harmful(str(made))}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(InputError, match="weights-only loader refuses it.*mkdir"):
            read_state_dict(str(path))
        assert not made.exists()

    def test_a_plain_harmful_pickle_is_refused_and_not_run(self, torch, tmp_path):
        made, path = tmp_path / "made", tmp_path / "model.ckpt"
        path.write_bytes(pickle.dumps(Harmful(str(made)), protocol=2))
        with pytest.raises(InputError, match="weights-only loader refuses it"):
            read_state_dict(str(path))
        assert not made.exists()

    @pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip", bytes(range(256))])
    def test_a_damaged_file_is_one_line(self, torch, tmp_path, content):
        (tmp_path / "model.ckpt").write_bytes(content)
        with pytest.raises(InputError, match="is damaged") as refusal:
            read_state_dict(str(tmp_path / "model.ckpt"))
        assert "\n" not in str(refusal.value)

    def test_a_torchscript_archive_is_refused(self, torch, tmp_path):
        torch.jit.script(torch.nn.Linear(1, 1)).save(str(tmp_path / "model.pt"))
        with pytest.raises(InputError, match="TorchScript"):
            read_state_dict(str(tmp_path / "model.pt"))
