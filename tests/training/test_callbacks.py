"""Progress, checkpoints, validation and the exit on a signal."""

import os
import signal
import threading

import numpy as np
import pytest

from vim_tf.evaluation.pictures import Picture
from vim_tf.evaluation.results import EvaluationResult
from vim_tf.training.callbacks import Progress, SaveOnSignal, Saver, Validator


class FakeRecorder:
    """Remembers what it was given, and considers everything finite except NaN."""

    def __init__(self):
        self.records, self.shown = [], []

    def check_finite(self, step, logs):
        if any(value != value for value in (logs or {}).values()):
            raise FloatingPointError(f"step {step}")

    def record(self, step, values):
        self.records.append((step, values))

    def show(self, step, images):
        self.shown.append((step, images))


class FakeCheckpoints:
    saved = 0

    def save(self):
        self.saved += 1


def test_progress_without_a_terminal_is_a_line_per_interval_with_rate_and_remaining_time(capsys):
    progress = Progress(10, 14, 2, "tokenizer", ("tokenizer/l2_loss",), batch_size=8, unit="images")
    progress.on_train_begin()
    for batch in range(4):
        progress.on_train_batch_end(batch, {"tokenizer/l2_loss": 0.5})
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["12/14", "14/14"]
    assert "steps/s" in lines[0] and "images/s" in lines[0] and "left" in lines[0] and "l2_loss 0.5000" in lines[0]


def test_rates_and_remaining_time_leave_out_a_slow_first_step(capsys, monkeypatch):
    """The first step takes 100 s, the others 1 s: of 4 steps 2 are left after the second."""
    times = iter([0.0, 100.0, 101.0, 102.0, 103.0])
    monkeypatch.setattr("vim_tf.training.callbacks.time.monotonic", lambda: next(times))
    progress = Progress(0, 4, 1, "tokenizer", (), batch_size=8, unit="images")
    progress.on_train_begin()
    for batch in range(4):
        progress.on_train_batch_end(batch, {})
    lines = capsys.readouterr().err.splitlines()
    assert "1.0 steps/s  8 images/s  0:02 left" in lines[1]


def test_checkpoints_are_written_at_regular_steps_counted_across_resumes():
    checkpoints = FakeCheckpoints()
    saver = Saver(3, checkpoints, every=4, recorder=FakeRecorder())
    for batch in range(6):  # steps 4 to 9
        saver.on_train_batch_end(batch, {"tokenizer/loss": 1.0})
    assert checkpoints.saved == 2


def test_the_last_step_is_saved_too_unless_a_metric_is_not_finite():
    checkpoints = FakeCheckpoints()
    saver = Saver(0, checkpoints, every=4, recorder=FakeRecorder(), last_step=3)
    for batch in range(3):
        saver.on_train_batch_end(batch, {"tokenizer/loss": 1.0})
    assert checkpoints.saved == 1
    with pytest.raises(FloatingPointError):
        saver.on_train_batch_end(2, {"tokenizer/loss": float("nan")})
    assert checkpoints.saved == 1


def test_no_checkpoint_is_written_once_a_metric_is_nan():
    checkpoints = FakeCheckpoints()
    saver = Saver(0, checkpoints, every=1, recorder=FakeRecorder())
    with pytest.raises(FloatingPointError):
        saver.on_train_batch_end(0, {"tokenizer/loss": float("nan")})
    assert checkpoints.saved == 0


def test_validation_is_recorded_shown_and_offered_to_the_best_model():
    offered = []

    class Best:
        def offer(self, step, metrics):
            offered.append((step, metrics))

    image = np.zeros((2, 2, 3), np.uint8)
    result = EvaluationResult({"reconstruction/psnr": 20.0}, {}, {"reconstruction/examples": Picture("t", image, "a")})
    recorder = FakeRecorder()
    validator = Validator(0, 2, lambda: result, recorder, Best())
    for batch in range(3):
        validator.on_train_batch_end(batch, {})
    assert recorder.records == offered == [(2, {"reconstruction/psnr": 20.0})]
    assert recorder.shown[0][1]["reconstruction/examples"] is image


def test_a_step_is_validated_once():
    recorder = FakeRecorder()
    validator = Validator(0, 2, lambda: EvaluationResult({"reconstruction/psnr": 20.0}), recorder)
    validator.on_train_batch_end(1, {})
    assert validator.validate(2) == {"reconstruction/psnr": 20.0}
    assert len(recorder.records) == 1


def test_the_gap_is_recorded_with_the_validation():
    class Gap:
        def of(self, step, metrics):
            return {"gap": metrics["bits"] - step}

    recorder = FakeRecorder()
    validator = Validator(0, 2, lambda: EvaluationResult({"bits": 20.0}), recorder, gap=Gap())
    assert validator.validate(2) == {"bits": 20.0, "gap": 18.0}
    assert recorder.records == [(2, {"bits": 20.0, "gap": 18.0})]


def told_to_stop(callback, logs=None):
    """Sends SIGTERM between two steps; the exit that follows the second one."""
    with callback:
        callback.on_train_batch_end(0, {})
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises((SystemExit, FloatingPointError)) as leaving:
            callback.on_train_batch_end(1, logs or {})
    return leaving.value


def test_sigterm_saves_after_the_step_and_exits_with_143(capsys):
    checkpoints = FakeCheckpoints()
    leaving = told_to_stop(SaveOnSignal(0, checkpoints, FakeRecorder()))
    assert leaving.code == 143
    assert checkpoints.saved == 1
    assert "step 2" in capsys.readouterr().err


def test_sigterm_after_a_nan_saves_nothing():
    checkpoints = FakeCheckpoints()
    leaving = told_to_stop(SaveOnSignal(0, checkpoints, FakeRecorder()), {"tokenizer/loss": float("nan")})
    assert isinstance(leaving, FloatingPointError)
    assert checkpoints.saved == 0


def test_sigterm_is_handled_as_before_once_a_training_has_failed():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(FloatingPointError), SaveOnSignal(0, FakeCheckpoints(), FakeRecorder()):
        assert signal.getsignal(signal.SIGTERM) != before
        raise FloatingPointError
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_sigterm_is_not_handled_and_one_line_says_so(capsys):
    before, stepped = signal.getsignal(signal.SIGTERM), []

    def train():
        with SaveOnSignal(0, FakeCheckpoints(), FakeRecorder()) as callback:
            for batch in range(3):
                callback.on_train_batch_end(batch, {})
                stepped.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert stepped == [before] * 3
    assert capsys.readouterr().err.splitlines() == [
        "This training doesn't run in its process's main thread: SIGTERM will end it without a checkpoint."
    ]


def ask_at_each_step(monkeypatch, seconds_a_step, num_steps, of_chief=lambda number: number, **kwargs):
    """Steps at which the workers agree, where nobody was told to stop."""
    now, asked = [0.0], []
    monkeypatch.setattr("vim_tf.training.callbacks.time.monotonic", lambda: now[0])
    step = [0]

    def agreed(stop):
        asked.append(step[0])
        return stop

    with SaveOnSignal(0, FakeCheckpoints(), FakeRecorder(), agreed, of_chief, **kwargs) as callback:
        for batch in range(num_steps):
            now[0] += seconds_a_step
            step[0] = batch + 1
            callback.on_train_batch_end(batch, {})
    return asked


def test_workers_agree_about_every_five_seconds_at_intervals_that_at_most_double(monkeypatch):
    assert ask_at_each_step(monkeypatch, 0.5, 40) == [1, 3, 7, 15, 25, 35]


def test_workers_whose_steps_take_long_agree_at_each_of_them(monkeypatch):
    assert ask_at_each_step(monkeypatch, 20.0, 4) == [1, 2, 3, 4]


def test_workers_use_the_chiefs_number_of_steps_at_any_pace_of_their_own(monkeypatch):
    assert ask_at_each_step(monkeypatch, 20.0, 10, of_chief=lambda number: 4.0) == [1, 5, 9]
    assert ask_at_each_step(monkeypatch, 0.001, 10, of_chief=lambda number: 4.0) == [1, 5, 9]


def test_workers_agree_at_the_last_step_in_any_case(monkeypatch):
    assert ask_at_each_step(monkeypatch, 0.5, 12, last_step=12) == [1, 3, 7, 12]


def test_a_single_process_checks_after_every_step(monkeypatch):
    assert ask_at_each_step(monkeypatch, 0.5, 5, of_chief=None) == [1, 2, 3, 4, 5]


def test_workers_stop_at_the_step_at_which_they_agree():
    asked = []

    def agreed(stop):
        asked.append(stop)
        return len(asked) == 2  # another worker was told to stop

    checkpoints = FakeCheckpoints()
    with SaveOnSignal(0, checkpoints, FakeRecorder(), agreed, of_chief=lambda number: 3) as callback:
        for batch in range(3):
            callback.on_train_batch_end(batch, {})
        with pytest.raises(SystemExit):
            callback.on_train_batch_end(3, {})
    assert (asked, checkpoints.saved) == ([False, False], 1)
