"""What the stages validate, and how much at a time."""

import keras
import pytest
import tensorflow as tf

from tests.testing import (
    language_model_config,
    linear_probe_config,
    on_the_fly,
    replace,
    save_untrained_tokenizer,
    tokenizer_config,
)
from vim_tf.data import batches
from vim_tf.devices import strategies
from vim_tf.devices.strategies import build_strategy
from vim_tf.evaluation import linear_probe, reconstruction
from vim_tf.stages import language_model as language_model_stage
from vim_tf.stages.build import build_stage


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_untrained_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def config_of(task, tokenizer, microbatches):
    training = {"batch_size": 24, "gradient_accumulation_steps": microbatches}
    if task == "tokenizer":
        # Without a discriminator: its groups would be larger than the microbatches.
        return replace(tokenizer_config("unused"), losses={"adversarial_weight": 0.0}, training=training)
    if task == "language_model":
        config = on_the_fly(language_model_config("unused", "replaced", **training), tokenizer)
        return replace(config, validation={"samples_per_label": 0})
    return linear_probe_config("unused", tokenizer, **training)


def validated(task, tokenizer, microbatches=1, strategy=None):
    keras.utils.set_random_seed(0)
    stage = build_stage(config_of(task, tokenizer, microbatches), strategy or tf.distribute.get_strategy())
    if task == "linear_probe":
        for head in stage.trainer.trained.heads:
            head.kernel.assign(tf.random.stateless_normal(head.kernel.shape, (0, 1)))
    return stage.validate().metrics


@pytest.fixture
def rows_seen(monkeypatch):
    """Numbers of rows of each batch that a validation reads, and that it passes to the replicas of a process."""
    seen = {"read": [], "shared": []}
    replicated = strategies.replicated

    def recording(strategy, function):
        shared = replicated(strategy, function)

        def call(*models_and_batch):
            seen["shared"].append(len(tf.nest.flatten(models_and_batch[-1])[0]))
            return shared(*models_and_batch)

        return call

    def reading(source, batch_size, views=None):
        seen["read"].append(batch_size)
        return batches.eval_batches(source, batch_size, views)

    monkeypatch.setattr(strategies, "replicated", recording)
    for module in (language_model_stage, linear_probe, reconstruction):
        monkeypatch.setattr(module, "eval_batches", reading)
    return seen


TASKS = ("tokenizer", "language_model", "linear_probe")


@pytest.mark.parametrize("task", TASKS)
def test_a_validation_processes_a_microbatch_at_a_time_and_measures_the_same(task, tokenizer, rows_seen):
    whole = validated(task, tokenizer)
    assert max(rows_seen["shared"]) == 24
    rows_seen["shared"].clear()
    rows_seen["read"].clear()

    in_parts = validated(task, tokenizer, microbatches=4)

    # The digits' 359 images end with a part of five.
    assert rows_seen["shared"].count(6) == 359 // 6 * (2 if task == "language_model" else 1)
    assert set(rows_seen["shared"]) == {6, 5}
    assert set(rows_seen["read"]) == {6}
    assert in_parts == pytest.approx(whole, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_replicas_share_a_validation_and_measure_the_same(task, tokenizer, rows_seen):
    whole = validated(task, tokenizer)
    rows_seen["shared"].clear()

    on_two = validated(task, tokenizer, microbatches=3, strategy=build_strategy("mirrored"))

    assert set(rows_seen["shared"]) == {8, 7}  # four on each; 359 images end with a part of seven
    assert on_two == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(("microbatches", "at_once"), [(1, 20), (8, 3)])
def test_samples_of_a_validation_are_drawn_a_microbatch_at_a_time(tokenizer, microbatches, at_once, monkeypatch):
    """Ten labels of two samples each."""
    sizes = []
    sampler = language_model_stage.Sampler

    def recording(language_model, batch_size):
        sizes.append(batch_size)
        return sampler(language_model, batch_size)

    monkeypatch.setattr(language_model_stage, "Sampler", recording)
    config = replace(config_of("language_model", tokenizer, microbatches), validation={"samples_per_label": 2})
    stage = build_stage(config, tf.distribute.get_strategy())
    assert sizes == [at_once]
    assert "generation/samples" in stage.validate().pictures
