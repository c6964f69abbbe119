"""Two processes that train together over the loopback interface are one process with the whole batch."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from tests.testing import assert_equal_weights
from tests.training import multi_worker_training
from vim_tf import train, workdir
from vim_tf.training.recorder import read_records

# Two processes that import TensorFlow and trace a step on busy cores.
TIMEOUT = 300


def run_workers(folder, *arguments):
    """Exit status and standard error of two workers that run the script together on `<folder>/two`."""
    with socket.socket() as one, socket.socket() as other:
        for listener in (one, other):
            listener.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{listener.getsockname()[1]}" for listener in (one, other)]
    command = [sys.executable, multi_worker_training.__file__, str(folder / "two"), *arguments]
    processes = []
    # Files, since a worker that waits for its pipe to be read would make the other wait for it.
    logs = [folder / f"worker{index}.log" for index in range(2)]
    for index, log in enumerate(logs):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        with log.open("w") as file:
            processes.append(
                subprocess.Popen(command, env=os.environ | {"TF_CONFIG": json.dumps(cluster)}, stderr=file)
            )
    deadline = time.monotonic() + TIMEOUT
    try:
        statuses = [process.wait(max(deadline - time.monotonic(), 1)) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return statuses, [log.read_text() for log in logs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("multi_worker")


@pytest.fixture(scope="module")
def terminated(folder):
    """A run in which the second worker alone was told to stop at step 2."""
    return run_workers(folder, "2")


@pytest.fixture(scope="module")
def finished(folder, terminated):
    """The same command called again."""
    return run_workers(folder)


@pytest.mark.slow
def test_sigterm_on_one_worker_stops_all_of_them_at_the_same_step_with_143(folder, terminated):
    statuses, errors = terminated
    assert statuses == [143, 143], errors
    assert all("Stopped by SIGTERM at step 2" in text for text in errors)
    assert sorted(path.name for path in (folder / "two" / "checkpoints").glob("*.index")) == ["ckpt-2.index"]


@pytest.mark.slow
def test_two_workers_train_like_one_process_with_the_whole_batch(folder, finished):
    assert finished[0] == [0, 0], finished[1]
    train.run(multi_worker_training.config(folder / "one", "one"))
    one, two = (workdir.load_tokenizer(str(folder / name)) for name in ("one", "two"))
    assert_equal_weights(one, two, tolerance=1e-5)
    lines_of_one, lines_of_two = (read_records(folder / name / "metrics.jsonl") for name in ("one", "two"))
    assert [line["step"] for line in lines_of_two] == [line["step"] for line in lines_of_one]
    for name in ("tokenizer/loss", "tokenizer/gradient_norm", "reconstruction/psnr"):
        values = [[line[name] for line in lines if name in line] for lines in (lines_of_one, lines_of_two)]
        assert values[1] == pytest.approx(values[0], abs=1e-4), name


@pytest.mark.slow
def test_only_the_chief_writes_and_speaks(folder, finished):
    assert "tokenizer  6/6" in finished[1][0]
    assert "tokenizer  6/6" not in finished[1][1]
    assert len(list((folder / "two" / "tensorboard").iterdir())) == 2  # one file of each of the chief's two runs
