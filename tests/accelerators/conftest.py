"""Trained stages for the graphs, and determinism as in the commands."""

import pytest
import tensorflow as tf
from tensorflow.python.framework import config as tensorflow_config

from tests.accelerators import graphs
from tests.testing import save_untrained_language_model, save_untrained_tokenizer
from vim_tf import config as configs
from vim_tf import encode_dataset
from vim_tf.models import devices
from vim_tf.stages import tokenizer


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Untrained stages and their tokens, by the fields of a train config that name them."""
    root = tmp_path_factory.mktemp("stages")
    tokenizer = save_untrained_tokenizer(root / "tokenizer")
    language_model = save_untrained_language_model(root / "language_model", tokenizer)
    tokens = str(root / "tokens")
    encode_dataset.run(configs.EncodeCommand(tokenizer=tokenizer, data=configs.DataConfig("digits"), output=tokens))
    return {"tokenizer": tokenizer, "language_model": language_model, "tokens": tokens}


@pytest.fixture
def accelerator(monkeypatch):
    """Graphs are made for an accelerator, and operations must be deterministic, which is the default of a training."""
    monkeypatch.setattr(devices, "on_cpu", lambda: False)
    tf.config.experimental.enable_op_determinism()
    yield
    tensorflow_config.disable_op_determinism()


@pytest.fixture
def build_stage(folders, accelerator, monkeypatch):
    """Function that builds the stage that has a graph, with `jit_compile` on or off."""
    monkeypatch.setattr(tokenizer, "load_perceptual", graphs.thin_perceptual)
    return lambda graph, jit_compile: graphs.build_stage(graph, folders, jit_compile)
