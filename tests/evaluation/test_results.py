"""metrics.json and merging."""

import json

import numpy as np
import pytest

from vim_tf.errors import InputError
from vim_tf.evaluation import results
from vim_tf.evaluation.results import EvaluationResult


def test_metrics_json_is_sorted_and_holds_no_nan(tmp_path):
    path = tmp_path / "new" / "metrics.json"
    metrics = {"b/x": np.float32(0.5), "a/y": float("nan"), "a/x": float("inf")}
    results.write_metrics(str(path), metrics, {"a/x": {"num_images": np.int64(3), "limits": (1, 2)}})

    def refuse(constant):
        raise AssertionError(constant)

    document = json.loads(path.read_text(), parse_constant=refuse)
    assert document == {
        "conditions": {"a/x": {"limits": [1, 2], "num_images": 3}},
        "metrics": {"a/x": None, "a/y": None, "b/x": 0.5},
    }
    assert list(document["metrics"]) == ["a/x", "a/y", "b/x"]


def test_metrics_come_back(tmp_path):
    path = str(tmp_path / "metrics.json")
    results.write_metrics(path, {"a/x": 1.5}, {"a/x": {"split": "validation"}})
    assert results.read_metrics(path) == ({"a/x": 1.5}, {"a/x": {"split": "validation"}})


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        "{}",
        '{"metrics": {}}',
        '{"metrics": [1], "conditions": {}}',
        '{"metrics": {"a/x": "1"}, "conditions": {}}',
        '{"metrics": {"a/x": 1}, "conditions": {"a/x": 3}}',
    ],
)
def test_a_file_that_is_not_a_metrics_json_is_named(content, tmp_path):
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(
        InputError, match="metrics.json can't be read as the metrics.json of vim_tf.evaluate: "
    ) as caught:
        results.read_metrics(str(path))
    assert "\n" not in str(caught.value)


def test_writing_again_replaces_the_file_and_leaves_nothing_else(tmp_path):
    for value in (1.0, 2.0):
        results.write_metrics(str(tmp_path / "metrics.json"), {"a/x": value}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert results.read_metrics(str(tmp_path / "metrics.json"))[0] == {"a/x": 2.0}


def test_merging_keeps_both_and_prefers_the_other():
    merged = EvaluationResult({"a": 1, "b": 1}, {"a": {}}).merged(EvaluationResult({"b": 2, "c": 2}, {"c": {}}))
    assert (merged.metrics, merged.conditions) == ({"a": 1, "b": 2, "c": 2}, {"a": {}, "c": {}})
