"""Records, progress and leaving on a signal."""

import json
import os
import signal

import pytest

from vim_tf.training.callbacks import Progress, Recorder, SaveOnSignal, read_records


class FakeOptimizer:
    learning_rate = 0.25


class FakeModel:
    optimizer = FakeOptimizer()
    resets = 0

    def reset_metrics(self):
        self.resets += 1


def recorder(workdir, start_step=0, every=2):
    made = Recorder(str(workdir), start_step, every)
    made.set_model(FakeModel())
    return made


def test_recorder_writes_a_line_per_interval_and_starts_means_afresh(tmp_path):
    made = recorder(tmp_path)
    for batch in range(4):
        made.on_train_batch_end(batch, {"tokenizer/loss": float(batch)})
    lines = read_records(tmp_path / "metrics.jsonl")
    assert [(line["step"], line["tokenizer/loss"], line["tokenizer/learning_rate"]) for line in lines] == [
        (2, 1.0, 0.25),
        (4, 3.0, 0.25),
    ]
    assert made.model.resets == 2
    assert made.latest["tokenizer/loss"] == 3.0


def test_recorder_cuts_lines_after_the_restored_step(tmp_path):
    made = recorder(tmp_path)
    for batch in range(6):
        made.on_train_batch_end(batch, {"tokenizer/loss": 1.0})
    recorder(tmp_path, start_step=4)
    assert [line["step"] for line in read_records(tmp_path / "metrics.jsonl")] == [2, 4]


def test_line_that_a_kill_cut_off_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "los')
    assert read_records(path) == [{"step": 1}]


def test_nan_stops_the_run_and_names_the_metric_and_the_steps(tmp_path):
    made = recorder(tmp_path)
    made.on_train_batch_end(0, {"tokenizer/loss": 1.0})
    with pytest.raises(FloatingPointError, match="tokenizer/loss became NaN or infinite between steps 0 and 2"):
        made.on_train_batch_end(1, {"tokenizer/loss": float("nan")})


def test_progress_without_a_terminal_is_a_line_per_interval_with_rate_and_remaining_time(capsys):
    progress = Progress(start_step=10, total_steps=14, every=2, name="tokenizer", shown=("tokenizer/l2_loss",))
    progress.on_train_begin()
    for batch in range(4):
        progress.on_train_batch_end(batch, {"tokenizer/l2_loss": 0.5})
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["12/14", "14/14"]
    assert "steps/s" in lines[0] and "left" in lines[0] and "l2_loss 0.5000" in lines[0]


def test_sigterm_saves_after_the_step_and_leaves_with_143(capsys):
    class FakeCheckpoints:
        saved = 0

        def save(self):
            self.saved += 1

    checkpoints = FakeCheckpoints()
    callback = SaveOnSignal(0, checkpoints)
    callback.on_train_begin()
    try:
        callback.on_train_batch_end(0)
        assert checkpoints.saved == 0
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as leaving:
            callback.on_train_batch_end(1)
    finally:
        callback.on_train_end()
    assert leaving.value.code == 143
    assert checkpoints.saved == 1
    assert "step 2" in capsys.readouterr().err
