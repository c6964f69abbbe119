"""Whether XLA compiles: a fixed choice by device and precision, which a resumed training keeps."""

import json
import pathlib

import pytest

from tests.testing import tokenizer_config
from vim_tf import config as configs
from vim_tf import train
from vim_tf.cli import flags
from vim_tf.devices import compilation
from vim_tf.errors import InputError
from vim_tf.stages import saved


def on(kind, monkeypatch):
    monkeypatch.setattr(compilation, "device_kind", lambda: kind)


@pytest.mark.parametrize(
    ("kind", "precision", "choice"),
    [
        ("cpu", "float32", "on"),
        ("cpu_bfloat16", "float32", "on"),
        ("cpu", "mixed_bfloat16", "on"),
        ("cpu_bfloat16", "mixed_bfloat16", "off"),
        ("gpu", "mixed_bfloat16", "on"),
        ("tpu", "mixed_bfloat16", "on"),
    ],
)
def test_auto_goes_by_device_and_precision(kind, precision, choice, monkeypatch):
    on(kind, monkeypatch)
    assert compilation.choose("auto", precision) == choice


@pytest.mark.parametrize("setting", ["on", "off"])
def test_an_explicit_choice_is_kept(setting, monkeypatch):
    for kind in ("cpu", "cpu_bfloat16", "gpu"):
        on(kind, monkeypatch)
        assert compilation.choose(setting, "mixed_bfloat16") == setting


def test_a_tpu_compiles_the_whole_step_and_not_its_parts(monkeypatch):
    on("gpu", monkeypatch)
    assert (compilation.compiles_parts("on"), compilation.compiles_parts("off")) == (True, False)
    on("tpu", monkeypatch)
    assert not compilation.compiles_parts("on")


@pytest.mark.parametrize(
    ("flags_of_cpu", "kind"),
    [("fpu avx512_bf16 sse", "cpu_bfloat16"), ("fpu amx_bf16", "cpu_bfloat16"), ("fpu avx512f", "cpu"), (None, "cpu")],
)
def test_a_cpu_is_recognised_by_its_instructions(flags_of_cpu, kind, monkeypatch):
    def read_text(path):
        if flags_of_cpu is None:
            raise FileNotFoundError(path)
        return f"processor : 0\nflags : {flags_of_cpu}\n"

    compilation._has_bfloat16_products.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "read_text", read_text)
        assert compilation.device_kind() == kind
    compilation._has_bfloat16_products.cache_clear()


def choice_in(folder):
    return json.loads((folder / "config.json").read_text())["training"]["jit_compile"]


def test_a_training_records_its_choice_and_keeps_it_on_another_device(tmp_path, monkeypatch, capsys):
    on("cpu_bfloat16", monkeypatch)
    settings = {"jit_compile": "auto", "precision": "mixed_bfloat16", "checkpoint_every_steps": 1}
    train.run(tokenizer_config(tmp_path, total_steps=1, **settings))
    assert choice_in(tmp_path) == "off"
    on("gpu", monkeypatch)
    train.run(tokenizer_config(tmp_path, total_steps=2, **settings))
    assert "resuming from step 1" in capsys.readouterr().err
    assert choice_in(tmp_path) == "off"
    with pytest.raises(InputError, match="training.jit_compile was 'off', now 'on'"):
        train.run(tokenizer_config(tmp_path, total_steps=3, **(settings | {"jit_compile": "on"})))


@pytest.mark.parametrize(("value", "choice"), [(True, "on"), (False, "off")])
def test_a_workdir_from_when_it_was_a_boolean_is_read(value, choice, tmp_path):
    values = configs.to_dict(tokenizer_config(tmp_path))
    values["training"]["jit_compile"] = value
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert saved.load_config(str(tmp_path)).training.jit_compile == choice
    assert saved.recorded(tokenizer_config(tmp_path, jit_compile="auto"), "training.jit_compile") == choice


@pytest.mark.parametrize(
    ("argument", "choice"),
    [
        ("--training.jit_compile=auto", "auto"),
        ("--training.jit_compile=on", "on"),
        ("--training.jit_compile=off", "off"),
        ("--training.jit_compile", "on"),
        ("--training.jit_compile=True", "on"),
        ("--notraining.jit_compile", "off"),
        ("--training.jit_compile=false", "off"),
    ],
)
def test_the_flag_still_takes_boolean_values(argument, choice, tmp_path):
    flagfile = tmp_path / "old.flags"
    flagfile.write_text(f"{argument}\n")
    for given in (argument, f"--flagfile={flagfile}"):
        config = flags.parse(configs.TokenizerTrainConfig, ["--workdir=w", given, "--training.seed=1"])
        assert (config.training.jit_compile, config.training.seed) == (choice, 1)


def test_another_value_is_refused():
    with pytest.raises(InputError, match=r"training.jit_compile=maybe.*auto\|on\|off"):
        flags.parse(configs.TokenizerTrainConfig, ["--workdir=w", "--training.jit_compile=maybe"])
    with pytest.raises(InputError, match="jit_compile must be one of auto, on, off, not 'yes'"):
        configs.TrainingConfig(jit_compile="yes")
