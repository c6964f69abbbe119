"""The best model of a training by a validation metric."""

import json
import math

import tensorflow as tf

from vim_tf.storage import files


class BestModel:
    """Keeps the model of the best validation in a separate folder, which every command takes as a trained stage.

    Its `best.json` holds the metric, its value and the step. The folder is replaced as a whole. A resumed run keeps it
    as the best so far: the model belongs to this training even if the run resumes before its step, since the validation
    of that step gives the same result.

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

    def best(self):
        """Content of `best.json`: dict of metric, value, step; None where there is none of this metric."""
        files.restore_folder(self.folder)
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
        best = {"metric": self.metric, "value": value, "step": step}
        with files.whole_folder(self.folder) as unfinished:
            self.save(unfinished)
            files.write_whole(f"{unfinished}/best.json", json.dumps(best) + "\n")
