"""Writes a page that compares several evaluations."""

import os

from vim_tf.errors import InputError
from vim_tf.evaluation import conditions, results
from vim_tf.evaluation.report.page import words, write_page
from vim_tf.evaluation.report.views import metric_order, model_rows


def write_comparison(path, folders):
    """Writes a page that puts the metrics of several evaluations side by side.

    A metric whose conditions differ between runs is left out of the tables; the page says what differs.

    Args:
        path: str, of the HTML file.
        folders: list of str, outputs of `vim_tf.evaluate`, at least two.

    Returns:
        (labels of the evaluations, dict from metric name to the list of its values, dict from metric name to the list
        of what differs).

    Raises:
        InputError: a folder holds no metrics.
    """
    runs = [_read(folder) for folder in folders]
    labels = _labels(folders)
    names = sorted({name for metrics, _ in runs for name in metrics}, key=metric_order)
    refused = {name: found for name in names if (found := _differences(name, labels, runs))}
    compared = [name for name in names if name not in refused]
    rows = [
        (label, {name: metrics[name] for name in compared if name in metrics})
        for label, (metrics, _) in zip(labels, runs, strict=True)
    ]
    tables = [
        model_rows(words(stage).capitalize(), [name for name in compared if _stage(name) == stage], rows)
        for stage in dict.fromkeys(map(_stage, compared))
    ]
    write_page(path, "comparison.html", "Comparison", f"{len(folders)} evaluations", tables=tables, refused=refused)
    return labels, {name: [values.get(name) for _, values in rows] for name in compared}, refused


def _stage(name):
    return name.partition("/")[0]


def _read(folder):
    path = os.path.join(folder, "metrics.json")
    try:
        return results.read_metrics(path)
    except InputError as error:
        raise InputError(f"--compare: {folder} holds no output of vim_tf.evaluate: {error}") from error


def _labels(folders):
    """The folders' names, with parent folders added until they differ."""
    paths = [os.path.normpath(folder).split(os.sep) for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        labels = ["/".join(path[-length:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{'/'.join(path)} ({number})" for number, path in enumerate(paths, start=1)]


def _differences(name, labels, runs):
    """What keeps a metric's values from being compared, as lines that name the run."""
    having = [
        (label, found.get(name, {})) for label, (metrics, found) in zip(labels, runs, strict=True) if name in metrics
    ]
    (_, first), *others = having
    return [f"{label}: {difference}" for label, other in others for difference in conditions.differences(other, first)]
