"""Measures how often linear heads on frozen features predict an image's class."""

import math

import numpy as np
import tensorflow as tf

from vim_tf.data.batches import eval_batches
from vim_tf.data.images.pixels import to_float
from vim_tf.devices import strategies
from vim_tf.errors import InputError
from vim_tf.evaluation.conditions import image_set, library_versions
from vim_tf.evaluation.results import EvaluationResult

# Two-sided 95 % of a normal distribution.
_Z = 1.959963984540054


def wilson_interval(num_right, num_trials):
    """95 % confidence interval of a proportion, by Wilson's score.

    Args:
        num_right: int.
        num_trials: int, at least 1.

    Returns:
        (low, high), floats in [0, 1].

    References:
        Wilson, 1927, https://doi.org/10.1080/01621459.1927.10502953.
    """
    share = num_right / num_trials
    weight = _Z**2 / num_trials
    center = (share + weight / 2) / (1 + weight)
    half = math.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    return max(center - half, 0.0), min(center + half, 1.0)


class LinearProbeEvaluator:
    """Top-1 accuracy of linear heads on images that they weren't trained on.

    Metrics: linear_probe/<feature>_top1 for each head, and where blocks are probed linear_probe/best_block, the number
    of the block with the highest accuracy (the first in a tie), and linear_probe/top1, its accuracy. The best block is
    chosen on the same images that it is measured on, so linear_probe/top1 is a little too high.

    Args:
        source: ImageSource; images without a label are skipped.
        batch_size: int, images that the replicas work on at once.
        features: ImageFeatures.
        conditions: dict of JSON values that the accuracy also depends on.
        strategy: tf.distribute.Strategy in whose scope the models were made; None = the current one.
    """

    def __init__(self, source, batch_size, features, conditions=None, strategy=None):
        self.source = source
        self.batch_size = batch_size
        self.features = features
        self.conditions = dict(conditions or {})
        # One trace is kept for each probe, so repeated validation doesn't compile it again.
        self._predict = strategies.replicated(
            strategy or tf.distribute.get_strategy(),
            tf.function(self._likeliest, reduce_retracing=True, autograph=False),
        )

    def run(self, probe):
        """EvaluationResult of a LinearProbe.

        Raises:
            InputError: there are no labelled images.
        """
        num_right, num_images = dict.fromkeys(self.features.sizes, 0), 0
        for batch in eval_batches(self.source, self.batch_size):
            labels = np.asarray(batch["label"])
            num_images += int(np.sum(labels >= 0))
            for name, predicted in self._predict(probe, batch["image"]).items():
                num_right[name] += int(np.sum(predicted.numpy() == labels))
        if not num_images:
            raise InputError(
                f"{self.source.name} has no labelled images in its {self.source.split} split: there is nothing to probe"
            )
        return self._result(num_right, num_images)

    def _likeliest(self, probe, images):
        images = to_float(images)
        logits = probe(self.features.of(images, self.features.encode(images)))
        return {name: tf.argmax(values, axis=-1) for name, values in logits.items()}

    def _result(self, num_right, num_images):
        base = {
            "measured": image_set(self.source, num_images),
            **self.conditions,
            "library_versions": library_versions(),
        }
        metrics, conditions = {}, {}
        for name, count in num_right.items():
            metrics[f"linear_probe/{name}_top1"] = count / num_images
            interval = list(wilson_interval(count, num_images))
            conditions[f"linear_probe/{name}_top1"] = base | {
                "interval_95": interval,
                "interval_method": "Wilson score",
                "feature_size": self.features.sizes[name],
            }
        blocks = self.features.block_names
        if blocks:
            best = max(range(len(blocks)), key=lambda index: num_right[blocks[index]])
            of_best = conditions[f"linear_probe/{blocks[best]}_top1"]
            chosen = {"block": best, "chosen": f"the best of {len(blocks)} blocks on the same images: optimistic"}
            metrics["linear_probe/top1"] = metrics[f"linear_probe/{blocks[best]}_top1"]
            metrics["linear_probe/best_block"] = float(best)
            conditions["linear_probe/top1"] = of_best | chosen
            conditions["linear_probe/best_block"] = base | {"chosen": chosen["chosen"]}
        return EvaluationResult(metrics, conditions)


def depth_curve(result):
    """Accuracy of the blocks by their number.

    Args:
        result: EvaluationResult of `LinearProbeEvaluator`, or of several evaluations merged.

    Returns:
        (blocks, accuracies, lows, highs): list of int and three of float; empty where no blocks were probed.
    """
    rows = []
    for name, value in sorted(result.metrics.items()):
        if name.startswith("linear_probe/block_"):
            rows.append((int(name.split("_")[2]), value, *result.conditions[name]["interval_95"]))
    return tuple(map(list, zip(*sorted(rows), strict=True))) if rows else ([], [], [], [])
