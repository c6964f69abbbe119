"""What an evaluation yields, what its metrics mean, and its file `metrics.json`."""

import dataclasses
import importlib.metadata
import json
import math
import os
import re

import tensorflow as tf

import vim_tf


@dataclasses.dataclass(frozen=True)
class MetricInfo:
    """What a reader needs to know of a metric.

    Attributes:
        unit: str, empty for a bare number.
        better: higher, lower, or empty for a value that only informs.
        meaning: one sentence.
        real: name of the metric that says what real images score, or empty.
    """

    unit: str
    better: str
    meaning: str
    real: str = ""


METRICS = {
    "reconstruction/psnr": MetricInfo("dB", "higher", "Peak signal-to-noise ratio of reconstructions."),
    "reconstruction/ssim": MetricInfo("", "higher", "Structural similarity of reconstructions, at most 1."),
    "reconstruction/l1": MetricInfo("", "lower", "Mean absolute difference of pixels in [0, 1]."),
    "reconstruction/l2": MetricInfo("", "lower", "Mean squared difference of pixels in [0, 1]."),
    "reconstruction/frechet_distance": MetricInfo(
        "", "lower", "Fréchet distance between reconstructions and the same images; 0 where they are equal."
    ),
    "codebook/usage": MetricInfo("", "higher", "Share of the codebook that the split's tokens use."),
    "codebook/usage_per_256": MetricInfo(
        "", "higher", "Share of the codebook that 256 images use, averaged over the split: the paper's usage."
    ),
    "codebook/perplexity": MetricInfo("codes", "higher", "Codes in effective use: exp of the entropy of the tokens."),
    "language_model/validation_bits_per_token": MetricInfo(
        "bits", "lower", "Mean negative log-likelihood of a token that the language model wasn't trained on."
    ),
    "language_model/generalization_gap": MetricInfo(
        "bits", "lower", "Bits per token of validation less those of training; a growing one is overfitting."
    ),
    "generation/frechet_distance": MetricInfo(
        "", "lower", "Fréchet distance between samples and real images.", "real/frechet_distance"
    ),
    "generation/classifier_score": MetricInfo(
        "", "higher", "How clear each sample's class is, and how evenly the classes occur.", "real/classifier_score"
    ),
    "generation/label_accuracy": MetricInfo(
        "",
        "higher",
        "Share of samples that the feature network recognises as the label asked for.",
        "real/label_accuracy",
    ),
    "linear_probe/top1": MetricInfo(
        "", "higher", "Share of images whose class a linear layer reads from the best block's mean output."
    ),
    "linear_probe/best_block": MetricInfo("", "", "Number of that block, counted from 0."),
    "linear_probe/pixels_top1": MetricInfo("", "higher", "The same from the image's pixels."),
    "linear_probe/latents_top1": MetricInfo("", "higher", "The same from the codes of the image's tokens."),
    "real/frechet_distance": MetricInfo("", "", "Fréchet distance between the two real splits: the floor for samples."),
    "real/classifier_score": MetricInfo("", "", "Classifier score of the real split."),
    "real/label_accuracy": MetricInfo("", "", "Share of the real split that the feature network recognises."),
}


def metric_info(name):
    """MetricInfo of a metric; an empty one of a name that isn't known."""
    if re.fullmatch(r"linear_probe/block_\d+_top1", name):
        return MetricInfo("", "higher", "The same from this block's mean output.")
    return METRICS.get(name, MetricInfo("", "", ""))


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """Metrics, how each came about, and pictures for the report.

    Attributes:
        metrics: dict from `stage/name` to float.
        conditions: dict from `stage/name` to a nested dict of JSON values: all that the value depends on. Two values
            may be compared only where these agree.
        pictures: dict from `stage/name` to `pictures.Picture`.
    """

    metrics: dict = dataclasses.field(default_factory=dict)
    conditions: dict = dataclasses.field(default_factory=dict)
    pictures: dict = dataclasses.field(default_factory=dict)

    def merged(self, other):
        """Both results as one; the other's values win where both have one."""
        return EvaluationResult(
            self.metrics | other.metrics, self.conditions | other.conditions, self.pictures | other.pictures
        )


def library_versions():
    """Versions that distribution metrics depend on."""
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "tensorflow-gan", "numpy")}
    return {"vim_tf": vim_tf.__version__, **versions}


def write_metrics(path, metrics, conditions):
    """Writes `metrics.json`: {"metrics": {...}, "conditions": {...}}, sorted; NaN and infinity become null.

    Args:
        path: str.
        metrics: dict from name to float.
        conditions: as in `EvaluationResult`.
    """
    document = {"metrics": _json_safe(metrics), "conditions": _json_safe(conditions)}
    write_whole(path, json.dumps(document, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_metrics(path):
    """(metrics, conditions) of a `metrics.json`; a metric that was not finite is None."""
    with tf.io.gfile.GFile(path) as file:
        document = json.loads(file.read())
    return document["metrics"], document["conditions"]


def write_whole(path, content):
    """Writes a file that is there whole or not at all.

    Args:
        path: str; its folder is made if need be.
        content: str or bytes.
    """
    tf.io.gfile.makedirs(os.path.dirname(path) or ".")
    temporary = f"{path}.tmp-{os.getpid()}"
    with tf.io.gfile.GFile(temporary, "wb") as file:
        file.write(content)
    tf.io.gfile.rename(temporary, path, overwrite=True)


def _json_safe(value):
    if isinstance(value, dict):
        return {str(name): _json_safe(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_safe(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
