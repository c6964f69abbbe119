"""The inputs of a language model: tokens on disk, or images and a frozen tokenizer."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.testing import language_model_config, on_the_fly, replace, save_untrained_tokenizer
from vim_tf import config as configs
from vim_tf import encode_dataset, train
from vim_tf.data import augmentation, sources
from vim_tf.data.batches import train_batches
from vim_tf.data.images.pixels import to_float
from vim_tf.errors import InputError
from vim_tf.stages import language_model as language_model_stage
from vim_tf.stages import saved
from vim_tf.stages.language_model import open_inputs
from vim_tf.training.recorder import read_records


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_untrained_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def tokens(tokenizer, tmp_path_factory):
    """Folder of the digits' tokens."""
    folder = str(tmp_path_factory.mktemp("tokens"))
    encode_dataset.run(configs.EncodeCommand(tokenizer=tokenizer, output=folder))
    return folder


def lines_of(workdir):
    return [
        {name: value for name, value in line.items() if not name.endswith("_per_second")}
        for line in read_records(f"{workdir}/metrics.jsonl")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
def test_training_on_the_fly_is_training_on_cached_tokens(parts, tokens, tokenizer, tmp_path):
    settings = {"validate_every_steps": 2, "gradient_accumulation_steps": parts, "total_steps": 4}
    train.run(language_model_config(tmp_path / "cached", tokens, **settings))
    train.run(on_the_fly(language_model_config(tmp_path / "images", tokens, **settings), tokenizer))
    cached, images = lines_of(tmp_path / "cached"), lines_of(tmp_path / "images")
    assert {"language_model/loss", "language_model/validation_bits_per_token"} <= set().union(*cached)
    assert cached == images
    models = [saved.load_language_model(str(tmp_path / name)) for name in ("cached", "images")]
    for one, other in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)


@pytest.fixture
def unlabelled(tmp_path):
    """DataConfig of a flat folder of images."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        image = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        (folder / f"{number}.png").write_bytes(tf.io.encode_png(image).numpy())
    return configs.DataConfig(f"folder:{folder}")


def test_a_model_that_is_conditioned_on_labels_refuses_images_without_labels(tokenizer, unlabelled, tmp_path):
    tokens = f"{tmp_path}/tokens"
    encode_dataset.run(configs.EncodeCommand(tokenizer=tokenizer, data=unlabelled, output=tokens))
    cached = language_model_config(tmp_path / "run", tokens)
    images = dataclasses.replace(on_the_fly(cached, tokenizer), data=unlabelled)
    for config, source in ((cached, f"--tokens={tokens}"), (images, f"--data.source={unlabelled.source}")):
        with pytest.raises(InputError) as caught:
            train.run(config)
        assert str(caught.value).startswith(f"{source} has no labels to condition the model on")
    train.run(replace(cached, model={"class_conditional": False}))
    assert saved.load_language_model(f"{tmp_path}/run").num_classes == 0


def test_augmentation_of_tokens_is_reported_to_have_no_effect(tokens, tmp_path, caplog):
    config = replace(language_model_config(tmp_path, tokens), augmentation={"flip": False})
    open_inputs(config, None)
    assert [record.getMessage() for record in caplog.records if "augmentation" in record.getMessage()] == [
        f"--augmentation.* has no effect on --tokens={tokens}: vim_tf.encode_dataset --views chose their views"
    ]


@pytest.mark.slow
def test_a_checkpoint_holds_nothing_of_the_tokenizer_and_the_config_holds_its_facts(tokens, tokenizer, tmp_path):
    train.run(on_the_fly(language_model_config(tmp_path / "images", tokens, total_steps=2), tokenizer))
    train.run(language_model_config(tmp_path / "cached", tokens, total_steps=2))
    names = [
        sorted(name for name, _ in tf.train.list_variables(tf.train.latest_checkpoint(f"{tmp_path}/{run}/checkpoints")))
        for run in ("images", "cached")
    ]
    assert names[0] == names[1]
    facts = [
        json.loads((tmp_path / run / "config.json").read_text())["model"]["tokens"] for run in ("images", "cached")
    ]
    assert facts[0] == facts[1]
    assert facts[0]["tokenizer_checksum"] == saved.load_tokenizer(tokenizer).checksum
    assert facts[0]["num_classes"] == 10
    assert facts[0]["class_names"] == [str(label) for label in range(10)]


def test_training_images_are_augmented_and_validation_images_are_not(tokenizer):
    loaded = saved.load_tokenizer(tokenizer)
    config = on_the_fly(language_model_config("unused", "unused"), tokenizer, flip=True)
    inputs = open_inputs(config, loaded)
    train_split, validation = (sources.open_source("digits", split, 8, 8) for split in configs.SPLITS)
    batch = next(iter(inputs.batches(3)))
    expected = next(iter(train_batches(train_split, 8, 0, 3, augment=augmentation.Flip())))
    np.testing.assert_array_equal(batch["image"], expected["image"])
    images = np.stack([each["image"] for each in itertools.islice(validation.ordered(), 1000)])
    np.testing.assert_array_equal(inputs.tokens[:, 0], loaded.encode(to_float(images)))
    assert inputs.tokens.shape[1] == 1 and inputs.class_names == train_split.class_names


def test_tokens_of_another_tokenizer_are_refused(tokens, tmp_path):
    other = save_untrained_tokenizer(tmp_path / "other")
    config = configs.LanguageModelTrainConfig(workdir=str(tmp_path / "run"), tokens=tokens, tokenizer=other)
    with pytest.raises(InputError, match=f"--tokens={tokens} belongs to the tokenizer with checksum"):
        open_inputs(config, saved.load_tokenizer(other))


@pytest.mark.slow
def test_a_training_with_a_tokenizer_shows_samples_and_measures_the_gap(tokens, tokenizer, tmp_path, monkeypatch):
    built = []
    original = language_model_stage.Sampler
    monkeypatch.setattr(
        language_model_stage, "Sampler", lambda *args, **kwargs: built.append(kwargs) or original(*args, **kwargs)
    )
    config = language_model_config(tmp_path, tokens, validate_every_steps=2)
    metrics = train.run(configs.from_dict(type(config), configs.to_dict(config) | {"tokenizer": tokenizer}))
    # No more at once than a training step processes, though 20 samples are shown.
    assert built == [{"batch_size": 8}]
    events = EventAccumulator(f"{tmp_path}/tensorboard")
    events.Reload()
    assert [event.step for event in events.Tensors("generation/samples")] == [2, 4]
    for step in (2, 4):
        values = {}
        for line in lines_of(tmp_path):
            values |= line if line["step"] == step else {}
        bits = values["language_model/validation_bits_per_token"] - values["language_model/bits_per_token"]
        assert values["language_model/generalization_gap"] == pytest.approx(bits)
    assert metrics["language_model/generalization_gap"] == pytest.approx(bits)
