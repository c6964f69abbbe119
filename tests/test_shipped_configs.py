"""The files in configs/: each parses, builds its models, and starts with a valid command."""

import dataclasses
import pathlib
import re
import shlex

import keras
import pytest

from tests.config_sections import GIVEN
from vim_tf import config as configs
from vim_tf.cli import flags

ROOT = pathlib.Path(__file__).parents[1]
FLAGFILES = sorted((ROOT / "configs").glob("**/*.flags"))


def class_and_arguments(path):
    """Config class of a flagfile, and the flags that its users set."""
    task = re.search(r"^--task=(\w+)", path.read_text(), re.MULTILINE)
    if not task:
        return configs.PipelineConfig, []
    config_class = configs.TRAIN_CONFIGS[task[1]]
    return config_class, [f"--{name}={value}" for name, value in GIVEN[config_class].items()]


def relative(path):
    return str(path.relative_to(ROOT / "configs"))


def parsed(path):
    config_class, arguments = class_and_arguments(path)
    return flags.parse(config_class, [f"--flagfile={path}", *arguments])


def build_abstractly(config):
    """The models of a train config, without memory for their weights."""
    from vim_tf.models.discriminators import build_discriminator
    from vim_tf.models.language_model import build_language_model
    from vim_tf.models.linear_probe import build_linear_probe
    from vim_tf.models.palette import build_palette_tokenizer
    from vim_tf.models.tokenizer import build_tokenizer

    with keras.StatelessScope(initialize_variables=False):
        if isinstance(config, configs.TokenizerTrainConfig):
            models = build_tokenizer(config.model), build_discriminator(config.model)
        elif isinstance(config, configs.PaletteTrainConfig):
            models = (build_palette_tokenizer(config.model),)
        elif isinstance(config, configs.LinearProbeTrainConfig):
            # Their sizes are those of the stages they build on.
            models = (build_linear_probe(dict.fromkeys(config.probe.features, 8), num_classes=10),)
        else:
            facts = configs.TokenFacts("abc", grid_height=4, grid_width=4, codebook_size=256, num_classes=10)
            models = (build_language_model(dataclasses.replace(config.model, tokens=facts)),)
    # Otherwise the next scope of this kind would fill the weights.
    keras.utils.clear_session()
    return models


def test_there_are_shipped_files():
    assert {"digits/tokenizer.flags", "digits/language_model.flags", "digits/pipeline.flags"} <= set(
        map(relative, FLAGFILES)
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", FLAGFILES, ids=relative)
def test_a_shipped_file_parses_and_its_models_build(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = parsed(path)
    if isinstance(config, configs.PipelineConfig):
        for stage in (config.tokenizer_flagfile, config.language_model_flagfile):
            assert pathlib.Path(stage).exists(), stage
        return
    for model in build_abstractly(config):
        assert model.built
        assert all(None not in weight.shape for weight in model.weights)


@pytest.mark.parametrize("path", FLAGFILES, ids=relative)
def test_a_shipped_file_is_found_from_any_folder_without_a_notice(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    parsed(path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("path", FLAGFILES, ids=relative)
def test_a_shipped_file_has_no_long_line(path):
    assert max(map(len, path.read_text().splitlines())) <= 120


@pytest.mark.parametrize("path", FLAGFILES, ids=relative)
def test_a_shipped_file_says_nothing_twice(path):
    names = re.findall(r"^--([\w.]+)", path.read_text(), re.MULTILINE)
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("path", FLAGFILES, ids=relative)
def test_the_command_on_top_of_a_shipped_file_is_valid(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = re.sub(r" \\\n#\s+", " ", path.read_text())
    command = re.search(r"^# Command:\s+python -m (\S+) (.*?)(\s{2,}|$)", text, re.MULTILINE)
    assert command, "the header says no command"
    assert command[1] in ("vim_tf.train", "pipelines.local_runner")
    arguments = shlex.split(command[2])
    assert f"--flagfile={path.relative_to(ROOT)}" in arguments
    config_class, _ = class_and_arguments(path)
    assert isinstance(flags.parse(config_class, arguments), config_class)
