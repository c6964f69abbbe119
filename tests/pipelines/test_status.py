"""The command that shows what a pipeline did; its output for a real run is tested in test_pipeline_runs.py."""

import os
import subprocess
import sys
import time

import pytest

from pipelines import status
from vim_tf import config as configs
from vim_tf.errors import InputError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run_command(*arguments):
    command = [sys.executable, "-m", "pipelines.status", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_help_answers_within_a_second():
    seconds = []
    # The best of three, since other tests keep the machine busy.
    for _ in range(3):
        start = time.monotonic()
        result = run_command("--help")
        seconds.append(time.monotonic() - start)
        assert (result.returncode, result.stderr) == (0, "")
        assert "--last_runs=5" in result.stdout
    assert min(seconds) < 1


def test_a_folder_without_a_store_is_refused_and_none_is_created(tmp_path):
    result = run_command(f"--output={tmp_path}")
    assert result.returncode == 2
    assert result.stderr == f"Error: --output={tmp_path} holds no metadata/metadata.sqlite: no pipeline has run there\n"
    assert os.listdir(tmp_path) == []


def test_columns_are_aligned():
    assert status.table(("id", "component"), [(1, "A"), (10, "Longer")]) == [
        "  id  component",
        "  1   A",
        "  10  Longer",
    ]


def test_a_version_that_was_not_pushed_is_refused_with_those_that_were():
    from pipelines.local import store

    pushed = {"pushed": 1, "pushed_version": "1700000000"}
    artifact = store.Artifact(1, "PushedModel", "/out", "LIVE", pushed, None, "pushed_model")
    with pytest.raises(InputError, match="--model=7 was not pushed by this pipeline; it pushed: 1700000000"):
        status.explain(store.Contents([], {}, {1: artifact}), "7")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("FAILED", "SchemaGen failed or was killed"),
        ("RUNNING", "SchemaGen is running, or was killed with no run after it"),
    ],
)
def test_a_run_that_did_not_end_names_the_component(state, said):
    from pipelines.local import store

    execution = store.Execution(1, "monday", "SchemaGen", state, 0.0, 1.5, (), (), (), {})
    lines = status.overview(store.Contents(["monday"], {1: execution}, {}))
    assert lines[0] == f"Run monday: {said}"
    assert lines[-1] == "No model was pushed."


def test_only_the_last_runs_are_shown():
    from pipelines.local import store

    executions = {
        number: store.Execution(number, f"run{number}", "SchemaGen", "COMPLETE", 0.0, 1.0, (), (), (), {})
        for number in (1, 2, 3)
    }
    contents = store.Contents(["run1", "run2", "run3"], executions, {})
    shown = [line.split(":")[0] for line in status.overview(contents, 2) if line.startswith("Run")]
    assert shown == ["Run run2", "Run run3"]


def test_the_output_must_be_named():
    with pytest.raises(InputError, match="--output is needed"):
        configs.StatusCommand()
