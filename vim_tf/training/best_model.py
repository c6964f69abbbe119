"""The best model of a training by a validation metric."""

import json
import math

import tensorflow as tf


class BestModel:
    """Keeps the model of the best validation in a folder of its own, which every command takes as a trained stage.

    Its `best.json` says the metric, its value and the step. The folder is replaced whole. A resumed run goes on from
    it: the model is one of this training even where the run resumes before its step, and the validation of that step
    comes out the same.

    Args:
        folder: str.
        metric: name of the validation metric.
        higher_is_better: bool.
        save: function of a folder that writes the model there as a stage.
    """

    def __init__(self, folder, metric, higher_is_better, save):
        self.folder = folder
        self.metric = metric
        self.higher_is_better = higher_is_better
        self.save = save
        self._before = f"{folder}.before"

    def best(self):
        """What `best.json` says: dict of metric, value, step; None where there is none of this metric."""
        if not tf.io.gfile.exists(self.folder) and tf.io.gfile.exists(self._before):
            tf.io.gfile.rename(self._before, self.folder)  # a kill came between the two renames below
        path = f"{self.folder}/best.json"
        if not tf.io.gfile.exists(path):
            return None
        with tf.io.gfile.GFile(path) as file:
            found = json.load(file)
        return found if found["metric"] == self.metric else None

    def offer(self, step, metrics):
        """Keeps the model if its metric beats the best so far; NaN or an infinite value beats nothing.

        Args:
            step: int.
            metrics: dict from name to float.
        """
        value, before = metrics[self.metric], self.best()
        if (
            not math.isfinite(value)
            or before
            and not (value > before["value"] if self.higher_is_better else value < before["value"])
        ):
            return
        staging = f"{self.folder}.tmp"
        for leftover in (staging, self._before):
            if tf.io.gfile.exists(leftover):
                tf.io.gfile.rmtree(leftover)
        self.save(staging)
        with tf.io.gfile.GFile(f"{staging}/best.json", "w") as file:
            file.write(json.dumps({"metric": self.metric, "value": value, "step": step}) + "\n")
        if tf.io.gfile.exists(self.folder):
            tf.io.gfile.rename(self.folder, self._before)
        tf.io.gfile.rename(staging, self.folder)
        if tf.io.gfile.exists(self._before):
            tf.io.gfile.rmtree(self._before)
