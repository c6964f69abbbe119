"""The linear probe's accuracy, its interval and its best block."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from vim_tf.errors import InputError
from vim_tf.evaluation.linear_probe import LinearProbeEvaluator, depth_curve, wilson_interval
from vim_tf.evaluation.metrics.names import metric_info
from vim_tf.models.linear_probe import build_linear_probe

LEVELS = 16


class StandIn:
    """ImageFeatures of flat images: pixels know the level, block 1 whether it is even, blocks 0 and 2 nothing."""

    block_names = ["block_00", "block_01", "block_02"]
    sizes = {"pixels": LEVELS, "block_00": LEVELS, "block_01": LEVELS, "block_02": LEVELS}

    def encode(self, images):
        return tf.cast(tf.round(images[:, 0, 0, 0] * 15), tf.int32)[:, None]

    def of(self, images, tokens):
        levels = tokens[:, 0]
        nothing = tf.one_hot(tf.zeros_like(levels), LEVELS)
        return {
            "pixels": tf.one_hot(levels, LEVELS),
            "block_00": nothing,
            "block_01": tf.one_hot(levels % 2, LEVELS),
            "block_02": nothing,
        }


@pytest.fixture(scope="module")
def probe():
    """Heads that predict the class that their feature points to."""
    probe = build_linear_probe(StandIn.sizes, LEVELS)
    for head in probe.heads:
        head.kernel.assign(np.eye(LEVELS))
    return probe


def evaluate(fakes, probe, labels, shown=None, batch_size=4):
    images = fakes.flat_images(labels if shown is None else shown)
    source = fakes.ArraySource(images, labels)
    return LinearProbeEvaluator(source, batch_size, StandIn(), {"steps": 7}).run(probe)


def test_interval_of_eight_in_ten_by_hand():
    """z = 1.96: (0.8 + 0.19207) / 1.38415 = 0.7167, +- 1.96 sqrt(0.016 + 0.0096036) / 1.38415 = 0.2266."""
    low, high = wilson_interval(8, 10)
    assert (low, high) == (pytest.approx(0.4901, abs=1e-3), pytest.approx(0.9433, abs=1e-3))


@pytest.mark.parametrize(("right", "trials"), [(0, 1), (0, 359), (1, 3), (180, 359), (358, 359), (359, 359)])
def test_interval_is_scipys(right, trials):
    expected = stats.binomtest(right, trials).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(wilson_interval(right, trials), (expected.low, expected.high), atol=1e-12)


def test_accuracy_of_each_feature_and_the_best_block(fakes, probe):
    """Labels 0, 0, 1, 3, 5: blocks 0 and 2 say 0 (2 of 5 right), block 1 says 0 or 1 (3 of 5), pixels all."""
    result = evaluate(fakes, probe, [0, 0, 1, 3, 5])
    assert result.metrics == {
        "linear_probe/pixels_top1": 1.0,
        "linear_probe/block_00_top1": 0.4,
        "linear_probe/block_01_top1": 0.6,
        "linear_probe/block_02_top1": 0.4,
        "linear_probe/top1": 0.6,
        "linear_probe/best_block": 1.0,
    }


def test_of_equal_blocks_the_first_is_the_best(fakes, probe):
    assert evaluate(fakes, probe, [0, 2, 4]).metrics["linear_probe/best_block"] == 0


def test_conditions_hold_the_interval_and_say_that_the_best_block_was_chosen_on_the_same_images(fakes, probe):
    conditions = evaluate(fakes, probe, [0, 0, 1, 3, 5]).conditions
    assert conditions["linear_probe/pixels_top1"]["interval_95"] == list(wilson_interval(5, 5))
    best = conditions["linear_probe/top1"]
    assert best["interval_95"] == list(wilson_interval(3, 5))
    assert best["chosen"] == "the best of 3 blocks on the same images: optimistic"
    assert (best["steps"], best["measured"]["num_images"], best["measured"]["split"]) == (7, 5, "validation")
    assert "chosen" not in conditions["linear_probe/block_01_top1"]


def test_images_without_a_label_do_not_count(fakes, probe):
    result = evaluate(fakes, probe, [0, -1, 5, -1], shown=[0, 3, 4, 2])
    assert result.metrics["linear_probe/pixels_top1"] == 0.5
    assert result.conditions["linear_probe/pixels_top1"]["measured"]["num_images"] == 2


def test_without_any_label_there_is_nothing_to_probe(fakes, probe):
    with pytest.raises(InputError, match="patterns has no labelled images in its validation split"):
        evaluate(fakes, probe, [-1, -1], shown=[0, 1])


def test_batches_do_not_matter(fakes, probe):
    labels = np.random.default_rng(0).integers(0, 6, 23)
    assert evaluate(fakes, probe, labels, batch_size=5).metrics == evaluate(fakes, probe, labels, batch_size=23).metrics


def test_curve_over_depth_is_in_the_order_of_the_blocks(fakes, probe):
    blocks, values, lows, highs = depth_curve(evaluate(fakes, probe, [0, 0, 1, 3, 5]))
    assert (blocks, values) == ([0, 1, 2], [0.4, 0.6, 0.4])
    assert (lows[1], highs[1]) == wilson_interval(3, 5)


def test_every_metric_has_its_meaning(fakes, probe):
    for name in evaluate(fakes, probe, [0, 1]).metrics:
        info = metric_info(name)
        assert info.meaning, name
        assert info.better == ("" if name == "linear_probe/best_block" else "higher")
