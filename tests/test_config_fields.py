"""Fields of the hyperparameters: help, defaults, what a resume may change, and conversion to JSON and back."""

import dataclasses
import json

import pytest

from tests.config_sections import SECTIONS, make, name_of
from vim_tf import config as configs
from vim_tf.errors import InputError


@pytest.mark.parametrize("section", SECTIONS, ids=name_of)
def test_every_field_has_a_default_and_a_help_text(section):
    for field in dataclasses.fields(section):
        assert field.metadata["help"], field.name
        assert (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING), field.name


def test_what_a_resume_may_change_is_run_length_paths_records_and_devices():
    for config_class in configs.TRAIN_CONFIGS.values():
        resumable = {name for name, field in configs.leaves(config_class) if field.metadata["resumable"]}
        training = {
            "total_steps",
            "steps_per_execution",
            "log_every_steps",
            "validate_every_steps",
            "checkpoint_every_steps",
            "keep_checkpoints",
            "keep_best_metric",
            "keep_freed_memory",
        }
        fields = {field.name for field in dataclasses.fields(config_class)}
        paths = {"workdir", "tokens", "tokenizer", "language_model", "initialize_from"} & fields
        shown = {name for name, _ in configs.leaves(config_class) if name.startswith(("alarms.", "validation."))}
        devices = {"strategy", "tpu"} & fields
        names = {"model.tokens.class_names"} if "tokens" in fields else set()
        loop = {f"training.{name}" for name in training} if "training" in fields else set()
        assert resumable == loop | shown | paths | devices | names


def test_the_defaults_are_the_papers():
    """arXiv 2110.04627, table 2 and sections 3.3 and 5."""
    tokenizer = make(configs.TokenizerTrainConfig)
    assert (tokenizer.model.height, tokenizer.model.width, tokenizer.model.patch_size) == (256, 256, 8)
    assert (tokenizer.model.quantizer.codebook_size, tokenizer.model.quantizer.codebook_dim) == (8192, 32)
    assert (tokenizer.training.batch_size, tokenizer.training.total_steps) == (256, 500_000)
    language_model = make(configs.LanguageModelTrainConfig)
    sizes = ("num_layers", "num_heads", "hidden_dim", "mlp_dim")
    assert [getattr(language_model.model, name) for name in sizes] == [24, 16, 1536, 6144]
    assert (language_model.training.batch_size, language_model.training.total_steps) == (1024, 450_000)


@pytest.mark.parametrize("section", SECTIONS, ids=name_of)
def test_a_config_comes_back_from_json(section):
    config = make(section)
    assert configs.from_dict(section, json.loads(json.dumps(configs.to_dict(config)))) == config


def test_values_other_than_defaults_come_back_from_json():
    config = make(
        configs.LanguageModelTrainConfig,
        model=configs.LanguageModelConfig(class_conditional=False, tokens=configs.TokenFacts("abc", 2, 3, 1, 64, 10)),
        optimizer=configs.OptimizerConfig(schedule="constant"),
    )
    values = configs.to_dict(config)
    assert values["model"]["tokens"]["grid_width"] == 3
    assert configs.from_dict(configs.LanguageModelTrainConfig, values) == config


def test_fields_that_json_lacks_take_their_defaults():
    config = configs.from_dict(configs.ExportCommand, {"tokenizer": "t", "output": "o"})
    assert config == make(configs.ExportCommand)


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(InputError, match="TrainingConfig has no field epochs"):
        configs.from_dict(configs.TokenizerTrainConfig, {"workdir": "w", "training": {"epochs": 3}})


def test_leaves_and_get_reach_every_value():
    config = make(configs.TokenizerTrainConfig)
    values = {name: configs.get(config, name) for name, _ in configs.leaves(configs.TokenizerTrainConfig)}
    assert values["model.quantizer.codebook_size"] == 8192
    assert values["data.source"] == "digits"
    assert all(not dataclasses.is_dataclass(value) for value in values.values())
