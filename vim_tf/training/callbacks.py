"""What happens between training steps: records, progress, checkpoints, validation, leaving on SIGTERM."""

import json
import math
import signal
import sys
import time

import keras
import tensorflow as tf


class StepCallback(keras.callbacks.Callback):
    """A callback that counts training steps over resumes.

    Args:
        start_step: int, steps made before this `fit`.
    """

    def __init__(self, start_step):
        super().__init__()
        self.start_step = start_step

    def on_train_batch_end(self, batch, logs=None):
        self.on_step(self.start_step + batch + 1, logs)

    def on_step(self, step, logs):
        """Called after each step with its number, counted from 1, and the metrics since the last record."""
        raise NotImplementedError(f"{type(self).__name__} must say what happens after a step")


class Recorder(StepCallback):
    """Writes metrics to `metrics.jsonl` and TensorBoard, and starts their means afresh.

    Lines after `start_step` are cut first: a killed run may have written some that the resumed one writes again.

    Args:
        workdir: str.
        start_step: int.
        every: steps between two records.
    """

    def __init__(self, workdir, start_step, every):
        super().__init__(start_step)
        self.every = every
        self.latest = {}
        self._path = f"{workdir}/metrics.jsonl"
        self._lines = [line for line in read_records(self._path) if line["step"] <= start_step]
        self._rewrite()
        self._writer = tf.summary.create_file_writer(f"{workdir}/tensorboard")
        self._since = (start_step, time.monotonic())

    def on_step(self, step, logs):
        if step % self.every:
            return
        values = {name: float(value) for name, value in logs.items()}
        self.model.reset_metrics()
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise FloatingPointError(
                f"{', '.join(broken)} became NaN or infinite between steps {step - self.every} and {step}; the last "
                "checkpoint is from before"
            )
        before, then = self._since
        self._since = (step, time.monotonic())
        stage = next(iter(values)).split("/")[0]
        values[f"{stage}/learning_rate"] = float(self.model.optimizer.learning_rate)
        values[f"{stage}/steps_per_second"] = (step - before) / max(self._since[1] - then, 1e-9)
        self.record(step, values)

    def record(self, step, values):
        """Adds one line: a dict from metric name to float."""
        self.latest |= values
        with tf.io.gfile.GFile(self._path, "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def _rewrite(self):
        temporary = f"{self._path}.tmp"
        with tf.io.gfile.GFile(temporary, "w") as file:
            file.write("".join(json.dumps(line) + "\n" for line in self._lines))
        tf.io.gfile.rename(temporary, self._path, overwrite=True)


def read_records(path):
    """Lines of a `metrics.jsonl` as dicts, without a last one that a kill cut off; none where there is no file."""
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path) as file:
        lines = file.read().split("\n")
    # What follows the last newline was not written whole.
    return [json.loads(line) for line in lines[:-1]]


class Progress(StepCallback):
    """Step, rate and remaining time: one moving line on a terminal, else one line per interval.

    Args:
        start_step: int.
        total_steps: int.
        every: steps between two lines where there is no terminal.
        name: what is trained.
        shown: names of the metrics to show.
    """

    def __init__(self, start_step, total_steps, every, name, shown):
        super().__init__(start_step)
        self.total_steps = total_steps
        self.every = every
        self.name = name
        self.shown = shown
        self._terminal = sys.stderr.isatty()
        self._last_draw = 0.0

    def on_train_begin(self, logs=None):
        self._begin = time.monotonic()

    def on_step(self, step, logs):
        now = time.monotonic()
        due = step % self.every == 0 or step == self.total_steps
        if not due and not (self._terminal and now - self._last_draw > 0.5):
            return
        self._last_draw = now
        rate = (step - self.start_step) / max(now - self._begin, 1e-9)
        remaining = _duration((self.total_steps - step) / max(rate, 1e-9))
        values = "  ".join(f"{name.split('/')[-1]} {float(logs[name]):.4f}" for name in self.shown if name in logs)
        width = len(str(self.total_steps))
        line = f"{self.name}  {step:{width}d}/{self.total_steps}  {rate:.1f} steps/s  {remaining} left  {values}"
        if self._terminal:
            print(f"\r\x1b[K{line}", end="\n" if step == self.total_steps else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _duration(seconds):
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Saver(StepCallback):
    """Writes checkpoints every so many steps.

    Args:
        start_step: int.
        checkpoints: Checkpoints.
        every: steps between two checkpoints.
    """

    def __init__(self, start_step, checkpoints, every):
        super().__init__(start_step)
        self.checkpoints = checkpoints
        self.every = every

    def on_step(self, step, logs):
        if step % self.every == 0:
            self.checkpoints.save()


class Validator(StepCallback):
    """Measures the model on held-out data and records the result.

    Args:
        start_step: int.
        every: steps between two validations; 0 = never.
        evaluate: function without arguments that returns a dict from metric name to float.
        recorder: Recorder.
    """

    def __init__(self, start_step, every, evaluate, recorder):
        super().__init__(start_step)
        self.every = every
        self.evaluate = evaluate
        self.recorder = recorder

    def on_step(self, step, logs):
        if self.every and step % self.every == 0:
            self.recorder.record(step, self.evaluate())


class SaveOnSignal(StepCallback):
    """On SIGTERM, saves after the step in progress and leaves with status 143, so that a restart goes on.

    Args:
        start_step: int.
        checkpoints: Checkpoints.
    """

    def __init__(self, start_step, checkpoints):
        super().__init__(start_step)
        self.checkpoints = checkpoints
        self._stop = False

    def on_train_begin(self, logs=None):
        self._previous = signal.signal(signal.SIGTERM, self._note)

    def on_train_end(self, logs=None):
        signal.signal(signal.SIGTERM, self._previous)

    def _note(self, signum, frame):
        self._stop = True

    def on_step(self, step, logs):
        if self._stop:
            self.checkpoints.save()
            print(f"\nStopped by SIGTERM at step {step}; the same command goes on from here.", file=sys.stderr)
            raise SystemExit(143)
