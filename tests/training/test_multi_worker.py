"""Two processes that train together over the loopback interface are one process with the whole batch."""

import re

import pytest

from tests.testing import assert_equal_weights
from tests.training import multi_worker_training, workers
from vim_tf import train
from vim_tf.stages import saved
from vim_tf.training.recorder import read_records


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("multi_worker")


@pytest.fixture(scope="module")
def terminated(folder):
    """A run in which only the second worker was told to stop, at step 2."""
    return workers.run_two(multi_worker_training.__file__, folder, folder / "two", "2")


@pytest.fixture(scope="module")
def finished(folder, terminated):
    """The same command, run again."""
    return workers.run_two(multi_worker_training.__file__, folder, folder / "two")


@pytest.mark.slow
def test_sigterm_on_one_worker_stops_all_of_them_at_the_same_step_with_143(folder, terminated):
    statuses, errors = terminated
    assert statuses == [143, 143], errors
    steps = [re.search(r"Stopped by SIGTERM at step (\d+)", text)[1] for text in errors]
    # They agree after the first step, then after the second or the third, depending on the chief's measured pace.
    assert steps in (["2", "2"], ["3", "3"])
    saved = sorted(path.name for path in (folder / "two" / "checkpoints").glob("*.index"))
    assert saved == [f"ckpt-{steps[0]}.index"]


@pytest.mark.slow
def test_two_workers_train_like_one_process_with_the_whole_batch(folder, finished):
    assert finished[0] == [0, 0], finished[1]
    train.run(multi_worker_training.config(folder / "one", "one"))
    one, two = (saved.load_tokenizer(str(folder / name)) for name in ("one", "two"))
    assert_equal_weights(one, two, tolerance=1e-5)
    lines_of_one, lines_of_two = (read_records(folder / name / "metrics.jsonl") for name in ("one", "two"))
    assert [line["step"] for line in lines_of_two] == [line["step"] for line in lines_of_one]
    for name in ("tokenizer/loss", "tokenizer/gradient_norm", "reconstruction/psnr"):
        values = [[line[name] for line in lines if name in line] for lines in (lines_of_one, lines_of_two)]
        assert values[1] == pytest.approx(values[0], abs=1e-4), name


@pytest.mark.slow
def test_only_the_chief_writes_and_prints(folder, finished):
    assert "tokenizer  6/6" in finished[1][0]
    assert "tokenizer  6/6" not in finished[1][1]
    assert len(list((folder / "two" / "tensorboard").iterdir())) == 2  # one file of each of the chief's two runs
