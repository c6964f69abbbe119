"""What commands refuse before they read images, which is slow."""

import dataclasses

import pytest

from tests.testing import (
    language_model_config,
    on_the_fly,
    replace,
    save_untrained_language_model,
    save_untrained_tokenizer,
    tokenizer_config,
)
from vim_tf import config as configs
from vim_tf import encode_dataset, export, materialize, train
from vim_tf.errors import InputError
from vim_tf.stages import palette as palette_stage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_untrained_tokenizer(tmp_path_factory.mktemp("stage") / "tokenizer")


@pytest.fixture
def no_images(monkeypatch):
    """Fails where images are looked for."""

    def look(*args, **kwargs):
        pytest.fail("images were read before everything else was checked")

    for function in ("vim_tf.data.sources.build_source", "vim_tf.data.sources.plan_shards"):
        monkeypatch.setattr(function, look)


def refused(command, config, message):
    with pytest.raises(InputError, match=message) as refusal:
        command(config)
    assert "\n" not in str(refusal.value)


def trainings(tmp_path, tokenizer):
    return tokenizer_config(tmp_path / "run"), on_the_fly(language_model_config(tmp_path / "run", "unused"), tokenizer)


def test_a_workdir_of_something_else_and_one_that_can_not_be_made_are_refused(no_images, tokenizer, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    palette = configs.PaletteTrainConfig(workdir=str(tmp_path / "run"))
    for config in (*trainings(tmp_path, tokenizer), palette):
        command = palette_stage.run if config is palette else train.run
        refused(command, config, "run is not empty and holds no config.json")
        elsewhere = dataclasses.replace(config, workdir=str(tmp_path / "file" / "run"))
        refused(command, elsewhere, "--workdir=.*file/run can't be written")


def test_another_config_in_the_workdir_is_refused(tokenizer, tmp_path, monkeypatch):
    for index, config in enumerate(trainings(tmp_path, tokenizer)):
        config = dataclasses.replace(config, workdir=str(tmp_path / f"run{index}"))
        train.run(config)
        with monkeypatch.context() as patched:
            patched.setattr("vim_tf.data.sources.build_source", lambda *args: pytest.fail("images were read"))
            refused(train.run, replace(config, training={"seed": 5}), "another config: training.seed was 0, now 5")


def test_what_a_training_starts_from_and_judges_by_is_looked_for(no_images, tokenizer, tmp_path):
    images, tokens = trainings(tmp_path, tokenizer)
    for config in (images, tokens):
        refused(
            train.run, dataclasses.replace(config, initialize_from=str(tmp_path / "none")), "there is no folder .*none"
        )
    narrow = dataclasses.replace(images.model.quantizer, codebook_size=16)
    other = save_untrained_tokenizer(tmp_path / "other", model={"quantizer": narrow})
    message = (
        "--initialize_from=.*other has a different form: quantizer is .*'codebook_size': 16.* there and .*32.* here"
    )
    refused(train.run, dataclasses.replace(images, initialize_from=other), message)
    other = save_untrained_language_model(tmp_path / "other_model", tokenizer)
    changed = replace(tokens, model={"hidden_dim": 2 * tokens.model.hidden_dim})
    message = "--initialize_from=.*other_model has a different form: hidden_dim is"
    refused(train.run, dataclasses.replace(changed, initialize_from=other), message)
    refused(
        train.run,
        replace(tokens, training={"keep_best_metric": "x", "validate_every_steps": 2}),
        "keep_best_metric=x isn't measured",
    )
    weights = {"perceptual_weight": 0.1, "perceptual_weights_file": str(tmp_path / "none.npz")}
    refused(train.run, replace(images, losses=weights), "none.npz can't be read")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "config_class"),
    [(encode_dataset.run, configs.EncodeCommand), (materialize.run, configs.MaterializeCommand)],
)
def test_where_tokens_go_and_what_makes_them_is_checked(no_images, tokenizer, tmp_path, command, config_class):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "taken" / "manifest.json").mkdir(parents=True)
    for output, message in (
        ("file/o", "--output=.*file/o can't be written"),
        ("taken", "holds a folder manifest.json"),
    ):
        refused(command, config_class(tokenizer=tokenizer, output=str(tmp_path / output)), message)
    broken = save_untrained_tokenizer(tmp_path / "broken")
    for path in (tmp_path / "broken" / "checkpoints").iterdir():
        path.unlink()
    refused(command, config_class(tokenizer=broken, output=str(tmp_path / "o")), "checkpoint")
    assert not (tmp_path / "o").exists()


def test_an_export_is_refused_where_its_archive_could_not_be_written(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("vim_tf.serving.saved_model.export", lambda *args, **kwargs: pytest.fail("it was exported"))
    (tmp_path / "taken" / "hub.tar.gz").mkdir(parents=True)
    command = configs.ExportCommand(tokenizer=tokenizer, output=str(tmp_path / "taken"))
    refused(export.run, command, "holds a folder hub.tar.gz")
