"""Learning rates worked out by hand, and AdamW with its schedule against PyTorch."""

import math
import pathlib

import keras
import numpy as np
import pytest

from vim_tf.config import OptimizerConfig
from vim_tf.training.optimizers import build_optimizer
from vim_tf.training.schedules import WarmupThenDecay

REFERENCES = pathlib.Path(__file__).parents[1] / "references"


def rates(schedule, steps, **settings):
    defaults = {
        "learning_rate": 0.8,
        "warmup_steps": 4,
        "decay_start_step": 0,
        "final_learning_rate": 0.2,
        "total_steps": 12,
    }
    schedule = WarmupThenDecay(schedule=schedule, **{**defaults, **settings})
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "exponential"])
class TestWarmup:
    def test_it_rises_linearly_to_the_learning_rate(self, schedule):
        # The first step counts as one of four, not as zero.
        assert rates(schedule, range(5)) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])

    def test_none_starts_at_the_learning_rate(self, schedule):
        assert rates(schedule, [0], warmup_steps=0) == pytest.approx([0.8])

    def test_one_longer_than_the_training_never_decays(self, schedule):
        assert rates(schedule, [0, 11], warmup_steps=24) == pytest.approx([0.8 / 24, 0.4])


def test_constant_stays():
    assert rates("constant", [4, 8, 12, 99]) == pytest.approx([0.8] * 4)


def test_cosine_falls_by_half_a_cosine():
    # A quarter, half and three quarters of the way from step 4 to step 12.
    expected = [0.2 + 0.6 * 0.5 * (1 + math.cos(math.pi * share)) for share in (0.25, 0.5, 0.75)]
    assert rates("cosine", [6, 8, 10]) == pytest.approx(expected)
    assert expected[1] == pytest.approx(0.5)


def test_exponential_falls_by_equal_factors():
    # From 0.8 to 0.2 is a factor of 1/2 for each half of the way.
    assert rates("exponential", [4, 8, 12]) == pytest.approx([0.8, 0.4, 0.2])


@pytest.mark.parametrize("schedule", ["cosine", "exponential"])
class TestDecay:
    def test_it_ends_at_the_final_learning_rate_and_stays(self, schedule):
        assert rates(schedule, [12, 13, 1000]) == pytest.approx([0.2] * 3)

    def test_it_begins_at_its_start_step(self, schedule):
        at = rates(schedule, [4, 8, 9, 12], decay_start_step=8)
        assert at[:2] == pytest.approx([0.8, 0.8])
        assert 0.2 < at[2] < 0.8
        assert at[3] == pytest.approx(0.2)

    def test_it_never_begins_before_the_warm_up_is_over(self, schedule):
        assert rates(schedule, [6], decay_start_step=2) == rates(schedule, [6], decay_start_step=0)

    def test_a_final_rate_above_the_first_one_rises(self, schedule):
        assert rates(schedule, [12], final_learning_rate=1.6) == pytest.approx([1.6])


def test_the_papers_language_model_schedule():
    """450,000 steps, decay from 4.5e-4 to 1e-5 after step 80,000 (arXiv 2110.04627, section 5.2)."""
    settings = {
        "learning_rate": 4.5e-4,
        "warmup_steps": 5000,
        "decay_start_step": 80_000,
        "final_learning_rate": 1e-5,
        "total_steps": 450_000,
    }
    expected = [4.5e-4, 4.5e-4, math.sqrt(4.5e-4 * 1e-5), 1e-5]
    assert rates("exponential", [4999, 80_000, 265_000, 450_000], **settings) == pytest.approx(expected, rel=1e-4)


def test_a_schedule_comes_back_from_its_config():
    schedule = WarmupThenDecay(0.8, 4, "cosine", 6, 0.2, 12)
    twin = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert twin.get_config() == schedule.get_config()
    assert float(twin(9)) == float(schedule(9))


SECTION = OptimizerConfig(
    learning_rate=0.05, warmup_steps=2, schedule="cosine", final_learning_rate=0.01, beta2=0.96, weight_decay=0.1
)


def weights_after_each_step(section, initial, gradients, total_steps=5):
    weight = keras.Variable(initial)
    optimizer = build_optimizer(section, total_steps, [weight])
    weights = []
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
        weights.append(weight.numpy().copy())
    return weights


def test_adamw_with_its_schedule_agrees_with_pytorch():
    with np.load(REFERENCES / "adamw.npz") as reference:
        weights = weights_after_each_step(SECTION, reference["initial"], reference["gradients"])
        np.testing.assert_allclose(weights, reference["weights"], rtol=1e-5, atol=1e-6)


def test_epsilon_is_added_before_the_bias_correction():
    """Keras and PyTorch differ here, which shows only with an epsilon as large as the gradients."""
    section = OptimizerConfig(
        learning_rate=0.1, warmup_steps=0, schedule="constant", beta2=0.96, epsilon=0.5, weight_decay=0.2
    )
    (first, second) = weights_after_each_step(section, np.array([2.0], "float32"), np.array([[1.0], [3.0]], "float32"))
    # Weights decay by learning rate * weight decay = 0.02 first; moments: m = 0.1, v = 0.04.
    by_hand = 2.0 * 0.98 - 0.1 * math.sqrt(0.04) / 0.1 * 0.1 / (math.sqrt(0.04) + 0.5)
    assert float(first[0]) == pytest.approx(by_hand)
    # m = 0.9 * 0.1 + 0.1 * 3, v = 0.96 * 0.04 + 0.04 * 9.
    m, v = 0.39, 0.3984
    by_hand = by_hand * 0.98 - 0.1 * math.sqrt(1 - 0.96**2) / (1 - 0.9**2) * m / (math.sqrt(v) + 0.5)
    assert float(second[0]) == pytest.approx(by_hand)
