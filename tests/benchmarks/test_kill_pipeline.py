"""The differences found by the comparison of the killed pipeline."""

import os

import pytest
import tensorflow as tf

from benchmarks import kill_pipeline

NAMES = ("variables/variables", "assets.extra/tokenizer/checkpoints/x", "assets.extra/language_model/checkpoints/x")


def push(output, values, version="1"):
    for name, value in zip(NAMES, values, strict=True):
        path = os.path.join(output, "serving", version, name)
        os.makedirs(os.path.dirname(path))
        tf.train.Checkpoint(weight=tf.Variable(value)).write(path)
        if name.endswith("/x"):
            with open(os.path.join(os.path.dirname(path), "checkpoint"), "w") as file:
                file.write('model_checkpoint_path: "x"\n')
    return str(output)


def test_equal_models_have_no_differences(tmp_path):
    one, other = push(tmp_path / "one", [1.0, 2.0, 3.0]), push(tmp_path / "other", [1.0, 2.0, 3.0], version="2")
    assert kill_pipeline.compare_models(one, other) == []


@pytest.mark.parametrize("index", range(3))
def test_one_different_bit_is_found(tmp_path, index):
    values = [1.0, 2.0, 3.0]
    one = push(tmp_path / "one", values)
    values[index] += 2.0**-22
    (difference,) = kill_pipeline.compare_models(one, push(tmp_path / "other", values))
    assert difference.startswith(NAMES[index].removesuffix("/x"))
    assert "weight" in difference


def test_missing_or_duplicate_executions_are_reported(tmp_path, capsys):
    from pipelines.local import store

    def contents(number):
        executions = {1: store.Execution(1, "run", "SchemaGen", "COMPLETE", 0.0, 1.0, (), (), (), {})}
        uris = [str(tmp_path / "artifacts" / "SchemaGen" / "schema" / str(each)) for each in range(number)]
        for uri in uris:
            os.makedirs(uri, exist_ok=True)
        artifacts = {
            each: store.Artifact(each, "Schema", uri, "LIVE", {}, 1, "schema") for each, uri in enumerate(uris)
        }
        return store.Contents(["run"], executions, artifacts)

    for name in ("serving", "hub"):
        (tmp_path / name / "1").mkdir(parents=True)
    states = {"SchemaGen": "RUNNING"}
    expected = contents(1)
    assert kill_pipeline._report(["SchemaGen"], states, expected, contents(1), str(tmp_path)) == []
    twice = kill_pipeline._report(["SchemaGen"], states, expected, contents(2), str(tmp_path))
    assert twice == ["SchemaGen has the artifacts ['schema', 'schema']"]
    (tmp_path / "serving" / "2").mkdir()
    (tmp_path / "artifacts" / "SchemaGen" / "schema" / "9").mkdir()
    left = kill_pipeline._report(["SchemaGen"], states, contents(2), contents(2), str(tmp_path))
    assert [line.split(" ")[1] for line in left] == ["has", "has"]
    assert "SchemaGen" in capsys.readouterr().out
