"""How a pipeline's flags change its trainings' flagfiles."""

import dataclasses
import pathlib

import pytest

from pipelines import settings
from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def in_the_top_folder(monkeypatch):
    monkeypatch.chdir(ROOT)


def stages(*arguments):
    config = flags.parse(configs.PipelineConfig, ["--flagfile=configs/digits/pipeline.flags", *arguments])
    return settings.stage_configs(config)


def test_overrides_win_over_the_flagfile_each_for_its_stage():
    tokenizer, language_model = stages(
        "--tokenizer_overrides=training.total_steps=100,--optimizer.learning_rate=2e-3",
        "--language_model_overrides=training.total_steps=200",
    )
    assert (tokenizer.training.total_steps, tokenizer.optimizer.learning_rate) == (100, 2e-3)
    assert (language_model.training.total_steps, language_model.optimizer.learning_rate) == (200, 1e-3)


def test_a_mistyped_override_is_named():
    with pytest.raises(InputError, match="training.total_step"):
        stages("--tokenizer_overrides=training.total_step=100")


def test_an_override_without_a_value_is_refused():
    with pytest.raises(InputError, match="'training.total_steps' isn't an override"):
        stages("--language_model_overrides=training.total_steps")


def test_devices_reach_both_trainings():
    for stage in stages("--strategy=tpu", "--tpu=pod"):
        assert (stage.strategy, stage.tpu) == ("tpu", "pod")


def test_without_a_choice_of_devices_the_flagfiles_say(tmp_path):
    (tmp_path / "tokenizer.flags").write_text("--flagfile=configs/digits/tokenizer.flags\n--strategy=mirrored\n")
    tokenizer, language_model = stages(f"--tokenizer_flagfile={tmp_path}/tokenizer.flags")
    assert (tokenizer.strategy, language_model.strategy) == ("mirrored", "auto")


def test_changed_flags_give_the_config_back():
    tokenizer, _ = stages()
    changed = settings.changed_flags(tokenizer)
    assert "--model.height=16" in changed
    assert not [flag for flag in changed if flag.startswith("--losses.commitment_weight")]
    assert flags.parse(configs.TokenizerTrainConfig, changed) == tokenizer


def test_changed_flags_name_what_differs_from_another_default_than_the_class_s():
    changed = settings.changed_flags(configs.LanguageModelTrainConfig(workdir="w", tokens="t"))
    assert changed == ["--workdir=w", "--tokens=t"]


def test_another_content_of_the_probe_s_flagfile_makes_another_pipeline(tmp_path):
    # Parameters are the cache's key: with only a file's name, the cache would serve the result of its old contents.
    path = tmp_path / "probe.flags"

    def arguments(text):
        path.write_text(text)
        given = ["--evaluation.kind=linear_probe", f"--linear_probe_flagfile={path}"]
        config = flags.parse(configs.PipelineConfig, ["--flagfile=configs/digits/pipeline.flags", *given])
        return settings.contents(config)

    assert arguments("--training.total_steps=5\n") != arguments("--training.total_steps=6\n")


@pytest.mark.parametrize(
    ("flag", "part"),
    [
        ("--tokenizer_overrides=initialize_from=", "tokenizer"),
        ("--tokenizer_overrides=losses.perceptual_weights_file=", "tokenizer"),
        ("--language_model_overrides=initialize_from=", "language_model"),
        ("--evaluation.lpips_weights_file=", "evaluation"),
        ("--evaluation.feature_network_path=", "evaluation"),
        ("--sampling.rejection_candidates=2 --sampling.classifier=", "evaluation"),
    ],
)
def test_another_content_of_a_file_that_a_setting_names_makes_another_pipeline(flag, part, tmp_path):
    path = tmp_path / "model" / "weights.npz"
    path.parent.mkdir()

    def arguments(content):
        path.write_bytes(content)
        given = f"{flag}{path.parent}".split()
        config = flags.parse(configs.PipelineConfig, ["--flagfile=configs/digits/pipeline.flags", *given])
        return settings.contents(config)

    before, after = arguments(b"1"), arguments(b"22")
    assert dataclasses.replace(after, file_fingerprints=before.file_fingerprints) == before
    changed = {name for name, value in before.file_fingerprints.items() if after.file_fingerprints[name] != value}
    assert changed == {part}


def test_the_probe_s_flags_give_its_config_back(tmp_path):
    given = ["--evaluation.kind=linear_probe", "--linear_probe_flagfile=configs/digits/linear_probe.flags"]
    config = flags.parse(configs.PipelineConfig, ["--flagfile=configs/digits/pipeline.flags", *given])
    (tmp_path / "probe.flags").write_text(settings.contents(config).linear_probe_flags)
    parsed = flags.parse(configs.LinearProbeTrainConfig, [f"--flagfile={tmp_path}/probe.flags"])
    expected = flags.parse(
        configs.LinearProbeTrainConfig,
        ["--flagfile=configs/digits/linear_probe.flags", "--workdir=w", "--tokenizer=t", "--language_model=l"],
    )
    for name in ("training", "optimizer", "probe", "augmentation"):
        assert getattr(parsed, name) == getattr(expected, name)
