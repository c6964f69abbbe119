"""The result of an evaluation, and its file `metrics.json`."""

import dataclasses
import json
import math

import tensorflow as tf

from vim_tf.errors import InputError, one_line
from vim_tf.storage.files import write_whole


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """Metrics, how each was measured, and images for the report.

    Attributes:
        metrics: dict from `stage/name` to float.
        conditions: dict from `stage/name` to a nested dict of JSON values: all that the value depends on. Two values
            can be compared only if these agree.
        pictures: dict from `stage/name` to `pictures.Picture`.
        histograms: dict from `stage/name` to int [bins].
    """

    metrics: dict = dataclasses.field(default_factory=dict)
    conditions: dict = dataclasses.field(default_factory=dict)
    pictures: dict = dataclasses.field(default_factory=dict)
    histograms: dict = dataclasses.field(default_factory=dict)

    def merged(self, other):
        """Both results as one; where both have a value, the other's wins."""
        return EvaluationResult(
            *(getattr(self, field.name) | getattr(other, field.name) for field in dataclasses.fields(self))
        )


def undefined(metrics):
    """Names of the metrics that are not finite."""
    return [name for name, value in metrics.items() if not math.isfinite(value)]


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
    """(metrics, conditions) of a `metrics.json`; a metric that wasn't finite is None.

    Raises:
        InputError: there is none, or its content is something else.
    """
    try:
        with tf.io.gfile.GFile(path) as file:
            document = json.loads(file.read())
        metrics, conditions = dict(document["metrics"]), dict(document["conditions"])
        if not all(value is None or isinstance(value, int | float) for value in metrics.values()):
            raise ValueError("a metric isn't a number")
        if not all(isinstance(value, dict) for value in conditions.values()):
            raise ValueError("a metric's conditions aren't an object")
    except (tf.errors.OpError, KeyError, TypeError, ValueError) as error:
        reason = one_line(error, 200)
        raise InputError(f"{path} can't be read as the metrics.json of vim_tf.evaluate: {reason}") from error
    return metrics, conditions


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
