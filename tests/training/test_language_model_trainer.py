"""The language model's training step."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.testing import assert_equal_weights, language_model_config
from vim_tf import config as configs
from vim_tf.devices.strategies import build_strategy
from vim_tf.models.language_model import build_language_model
from vim_tf.training.language_model_trainer import LanguageModelTrainer
from vim_tf.training.optimizers import build_optimizer

FACTS = configs.TokenFacts("checksum", 2, 2, 1, 16, 3)
BATCH = {
    "tokens": np.random.default_rng(0).integers(0, 16, (8, 4)).astype("int32"),
    "label": np.array([0, 1, 2, 0, 1, 2, -1, 0], "int32"),
}


def build_trainer(strategy=None, jit_compile=False, **model):
    config = language_model_config("unused", "unused")
    section = dataclasses.replace(config.model, tokens=FACTS, **model)
    keras.utils.set_random_seed(0)
    with (strategy or tf.distribute.get_strategy()).scope():
        language_model = build_language_model(section)
        optimizer = build_optimizer(config.optimizer, 100, language_model.trainable_variables)
        return LanguageModelTrainer(language_model, optimizer, jit_compile=jit_compile, seed=0)


def fit(trainer, steps):
    batches = trainer.distribute_strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(BATCH).repeat())
    history = trainer.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
    return {name: values[-1] for name, values in history.history.items()}


def test_first_loss_is_the_mean_negative_log_probability_of_the_tokens():
    trainer = build_trainer(dropout=0.0, label_dropout=0.0)
    model = trainer.language_model
    logits = model(BATCH["tokens"], model.known_labels(BATCH["label"])).numpy().astype("float64")
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_probabilities, BATCH["tokens"][..., None], -1).mean()

    metrics = fit(trainer, 1)

    np.testing.assert_allclose(metrics["language_model/loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["language_model/bits_per_token"], expected / math.log(2), rtol=1e-5)


@pytest.mark.slow
def test_two_replicas_train_like_one_with_the_whole_batch():
    one = build_trainer(dropout=0.0, label_dropout=0.0)
    two = build_trainer(build_strategy("mirrored"), dropout=0.0, label_dropout=0.0)

    one_metrics, two_metrics = fit(one, 6), fit(two, 6)

    assert_equal_weights(one.language_model, two.language_model, tolerance=1e-5)
    np.testing.assert_allclose(one_metrics["language_model/loss"], two_metrics["language_model/loss"], rtol=1e-5)


@pytest.mark.slow
def test_a_compiled_step_trains_like_one_that_is_not():
    # Without dropout: XLA's random numbers are different.
    plain, compiled = (build_trainer(None, jit, dropout=0.0, label_dropout=0.0) for jit in (False, True))

    plain_metrics, compiled_metrics = fit(plain, 3), fit(compiled, 3)

    assert_equal_weights(plain.language_model, compiled.language_model, tolerance=1e-5)
    for name, value in plain_metrics.items():
        np.testing.assert_allclose(compiled_metrics[name], value, rtol=1e-4)


def test_replicas_draw_different_dropout_masks():
    strategy = build_strategy("mirrored")
    with strategy.scope():
        section = dataclasses.replace(language_model_config("unused", "unused").model, tokens=FACTS)
        model = build_language_model(section)
        trainer = LanguageModelTrainer(model, keras.optimizers.SGD(0.1), jit_compile=False, seed=5)
        trainer.optimizer.build(model.trainable_variables)
        values = strategy.run(lambda: trainer.step_seed())
    np.testing.assert_array_equal([value.numpy() for value in values.values], [[5, 0], [5, 1]])


@pytest.mark.slow
def test_label_dropout_trains_the_null_label_only_where_it_is_on():
    with_dropout, without = build_trainer(label_dropout=0.9), build_trainer(label_dropout=0.0)
    # Row 3 is the null label; the batch's unlabelled example (label -1) uses it, so it is left out here.
    labelled = BATCH | {"label": np.zeros(8, "int32")}

    def null_row_moved(trainer):
        before = trainer.language_model.label_embedding.embeddings.numpy()[3]
        batches = tf.data.Dataset.from_tensors(labelled).repeat()
        # Weight decay by itself would move it.
        trainer.optimizer.weight_decay = 0.0
        trainer.fit(batches, steps_per_epoch=1, verbose=0)
        return not np.array_equal(before, trainer.language_model.label_embedding.embeddings.numpy()[3])

    assert null_row_moved(with_dropout)
    assert not null_row_moved(without)
