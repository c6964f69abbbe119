"""Codebook usage over a window of steps, worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vim_tf.devices.strategies import build_strategy
from vim_tf.models.quantizers import VectorQuantizer
from vim_tf.training.codebook_monitor import CodebookMonitor
from vim_tf.training.trainer import Trainer

SIZE = 4


class Tokenizer:
    """The part of a tokenizer that the monitor uses."""

    def __init__(self):
        self.quantizer = VectorQuantizer(SIZE, 2, l2_normalize=False)
        self.quantizer.build()


@pytest.fixture
def tokenizer():
    return Tokenizer()


def monitor_of(tokenizer, restart_unused_steps=0, window_steps=2, num_microbatches=1):
    trainer = Trainer(keras.layers.Identity(), 0, (), num_microbatches=num_microbatches)
    return CodebookMonitor(trainer, tokenizer, restart_unused_steps, window_steps)


def step(monitor, *tokens, candidates=()):
    metrics = monitor.update(monitor.counts(tf.constant([tokens])), list(candidates))
    return {name.removeprefix("codebook/"): float(value) for name, value in metrics.items()}


def test_counts_are_how_often_each_code_was_chosen(tokenizer):
    np.testing.assert_array_equal(monitor_of(tokenizer).counts(tf.constant([[0, 3], [3, 3]])), [1, 0, 0, 3])


def test_usage_is_the_share_of_codes_chosen_within_the_window(tokenizer):
    monitor = monitor_of(tokenizer, window_steps=2)
    assert step(monitor, 0, 1)["window_usage"] == 1.0  # the window isn't full
    second = step(monitor, 0, 0)
    assert (second["window_usage"], second["dead_codes"]) == (0.5, 2)
    third = step(monitor, 2, 2)  # 1 was chosen two steps ago
    assert (third["window_usage"], third["dead_codes"]) == (0.5, 2)


def test_perplexity_is_that_of_fading_frequencies(tokenizer):
    monitor = monitor_of(tokenizer, window_steps=2)
    assert step(monitor, 0, 1, 2, 3)["window_perplexity"] == pytest.approx(4)
    # Frequencies 1/2 + 1, and three times 1/2.
    shares = np.array([1.5, 0.5, 0.5, 0.5]) / 3
    assert step(monitor, 0)["window_perplexity"] == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), rel=1e-5)


def test_a_code_is_restarted_each_time_it_was_unused_for_the_limit(tokenizer):
    monitor = monitor_of(tokenizer, restart_unused_steps=2)
    codebook = tokenizer.quantizer.codebook
    pool = [tf.constant([[[7.0, 8.0]]])]
    before = codebook.numpy()
    step(monitor, 0, 1, 2, candidates=pool)
    np.testing.assert_array_equal(codebook, before)
    step(monitor, 0, 1, 2, candidates=pool)
    np.testing.assert_array_equal(codebook, [*before[:3], [7, 8]])
    codebook.assign(before)
    step(monitor, 0, 1, 2, candidates=pool)
    np.testing.assert_array_equal(codebook, before)
    step(monitor, 0, 1, 2, candidates=pool)
    np.testing.assert_array_equal(codebook, [*before[:3], [7, 8]])


def test_candidates_of_microbatches_add_up_to_those_of_the_batch(tokenizer):
    latents = tf.random.stateless_normal([4, 3, 2], [1, 2])
    whole = monitor_of(tokenizer, restart_unused_steps=2).candidates(latents, 0)[0]
    halves = monitor_of(tokenizer, restart_unused_steps=2, num_microbatches=2)
    parts = halves.candidates(latents[:2], 0)[0] + halves.candidates(latents[2:], 1)[0]
    np.testing.assert_array_equal(tf.reshape(parts, [-1, 2]), tf.reshape(whole, [-1, 2]))


def test_candidates_of_each_replica_and_microbatch_have_separate_positions():
    strategy = build_strategy("mirrored")
    with strategy.scope():
        monitor = monitor_of(Tokenizer(), restart_unused_steps=2, num_microbatches=2)

    def both_microbatches():
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
        return tf.add_n([monitor.candidates(tf.fill([1, 1, 2], 1 + 2 * replica + part), part)[0] for part in range(2)])

    sums = tf.add_n(strategy.experimental_local_results(strategy.run(both_microbatches)))
    np.testing.assert_array_equal(sums[..., 0], [[1], [2], [3], [4]])


def test_without_restarts_no_candidates_are_kept(tokenizer):
    assert monitor_of(tokenizer).candidates(tf.zeros([1, 3, 2]), 0) == []
