"""`vim_tf.import_weights` from a checkpoint to a workdir that the other commands take."""

import json
import os
import pathlib

import numpy as np
import pytest

from vim_tf import config as configs
from vim_tf import import_weights
from vim_tf.cli import flags
from vim_tf.errors import InputError
from vim_tf.interop import torch_files
from vim_tf.stages import saved

REFERENCES = pathlib.Path(__file__).parent / "references"
TAMING_SIZE = ["--height=8", "--width=12"]


def checkpoint(name):
    """A project's tensors by name, including those of its losses, and PyTorch's outputs for images with them."""
    with np.load(REFERENCES / f"{name}.npz") as arrays:
        reference = dict(arrays)
    tensors = {name.removeprefix("weight:"): value for name, value in reference.items() if name.startswith("weight:")}
    return tensors | {"loss.discriminator.weight": np.zeros(3, "float32")}, reference


@pytest.fixture
def read(monkeypatch):
    """Makes reading any PyTorch file give these tensors, so that the tests need no PyTorch."""

    def install(tensors):
        monkeypatch.setattr(torch_files, "read_state_dict", lambda path: tensors)

    return install


def call(format, output, *argv):
    argv = [f"--format={format}", "--checkpoint=model.ckpt", f"--output={output}", *argv]
    return import_weights.run(flags.parse(configs.ImportWeightsCommand, argv))


@pytest.mark.parametrize(
    ("format", "name", "argv"),
    [("enhancing_transformers", "vit", []), ("taming_transformers", "cnn", TAMING_SIZE)],
)
def test_the_workdir_holds_a_tokenizer_with_pytorchs_tokens(read, tmp_path, capsys, format, name, argv):
    tensors, reference = checkpoint(name)
    read(tensors)
    call(format, tmp_path / "imported", *argv)
    tokenizer = saved.load_tokenizer(str(tmp_path / "imported"))
    np.testing.assert_array_equal(tokenizer.encode(reference["images"]), reference["tokens"])
    shown = capsys.readouterr().out
    assert "Left out: 1 tensors of the losses" in shown
    assert "8 x 12 pixels with 24 codes of 4 dimensions" in shown


def test_the_config_can_train_on_with_that_projects_losses(read, tmp_path):
    read(checkpoint("cnn")[0])
    call("taming_transformers", tmp_path / "imported", *TAMING_SIZE)
    config = saved.load_config(str(tmp_path / "imported"), "tokenizer")
    assert config.workdir == str(tmp_path / "imported")
    # In that project's code beta, 0.25, weights the codebook term.
    assert (config.losses.codebook_weight, config.losses.commitment_weight) == (0.25, 1.0)
    assert (config.losses.adversarial_loss, config.losses.adaptive_weight) == ("hinge", True)
    assert (config.losses.l1_weight, config.losses.l2_weight, config.losses.logit_laplace_weight) == (2.0, 0.0, 0.0)
    assert config.model.discriminator.kind == "patchgan"


def test_an_output_that_is_not_empty_is_not_touched(read, tmp_path):
    read(checkpoint("vit")[0])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        call("enhancing_transformers", tmp_path)
    with pytest.raises(InputError, match="already exists"):
        call("enhancing_transformers", tmp_path / "notes.txt")
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_checkpoint_that_is_refused_leaves_nothing(read, tmp_path):
    tensors, _ = checkpoint("vit")
    read(tensors | {"strange": np.zeros(1, "float32")})
    with pytest.raises(InputError, match="1 unknown tensors"):
        call("enhancing_transformers", tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


def test_the_stored_config_is_plain_json(read, tmp_path):
    read(checkpoint("vit")[0])
    call("enhancing_transformers", tmp_path / "imported")
    stored = json.loads((tmp_path / "imported" / "config.json").read_text())["model"]
    assert (stored["vit"]["head_dim"], stored["decoder"]["num_heads"], stored["pixels"]) == (64, 2, "rgb")
