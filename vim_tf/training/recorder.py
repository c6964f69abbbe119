"""The metrics that a training records: `metrics.jsonl` and TensorBoard."""

import contextlib
import json
import math
import time

import tensorflow as tf

from vim_tf.errors import one_line
from vim_tf.storage.files import write_whole
from vim_tf.training.callbacks import StepCallback


class Recorder(StepCallback):
    """Writes metrics to `metrics.jsonl` and TensorBoard, and resets their means.

    Lines after `start_step` are cut first: a killed run may have written some that the resumed one writes again.

    Args:
        workdir: str.
        start_step: int.
        every: steps between two records.
        readings: dict from metric name to a function that returns its float at the time of a record, such as a
            learning rate.
        rates: dict from metric name to the amount per step, such as of images; recorded per second.
        histograms: dict from name to a function that returns an array, shown only in TensorBoard.
    """

    def __init__(self, workdir, start_step, every, readings=None, rates=None, histograms=None):
        super().__init__(start_step)
        self.every = every
        self.readings = readings or {}
        self.rates = rates or {}
        self.histograms = histograms or {}
        self.latest = {}
        self._workdir = workdir
        self._path = f"{workdir}/metrics.jsonl"
        self._lines = [line for line in read_records(self._path) if line["step"] <= start_step]
        self._rewrite()
        self._writer = tf.summary.create_file_writer(f"{workdir}/tensorboard")
        self._since = (start_step, time.monotonic())

    def on_step(self, step, logs):
        if step % self.every:
            return
        self.check_finite(step, logs)
        values = {name: float(value) for name, value in logs.items()}
        self.model.reset_metrics()
        before, then = self._since
        self._since = (step, time.monotonic())
        steps_per_second = (step - before) / max(self._since[1] - then, 1e-9)
        values |= {name: float(read()) for name, read in self.readings.items()}
        values |= {name: steps_per_second * count for name, count in self.rates.items()}
        self.record(step, values)
        with self._writing(), self._writer.as_default(step=step):
            for name, read in self.histograms.items():
                tf.summary.histogram(name, read())
            self._writer.flush()

    def check_finite(self, step, logs):
        """Stops the run where a metric is NaN or infinite.

        Args:
            step: int, steps made.
            logs: dict from metric name to its mean since the last record.

        Raises:
            FloatingPointError: the message has the metrics, the steps since the last record, and what to do.
        """
        broken = [name for name, value in logs.items() if not math.isfinite(float(value))]
        if broken:
            way_out = f"No checkpoint was written before: train in a workdir other than {self._workdir}"
            if tf.train.latest_checkpoint(f"{self._workdir}/checkpoints"):
                way_out = (
                    f"The latest checkpoint in {self._workdir} is from before that: start from it with "
                    f"--initialize_from={self._workdir} in another workdir"
                )
            raise FloatingPointError(
                f"{', '.join(broken)} became NaN or infinite between steps {self._since[0]} and {step}. {way_out}, "
                "with a lower optimizer.learning_rate or an optimizer.clip_norm"
            )

    def record(self, step, values):
        """Adds one line.

        Args:
            step: int.
            values: dict from metric name to float.

        Raises:
            OSError: it can't be written.
        """
        self.latest |= values
        with self._writing(), tf.io.gfile.GFile(self._path, "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        with self._writing(), self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
            self._writer.flush()

    def last(self, name):
        """Latest recorded value of a metric, possibly from before a resume; None where nothing is recorded."""
        if name in self.latest:
            return self.latest[name]
        earlier = self.earlier(name)
        return earlier[-1][1] if earlier else None

    def earlier(self, name):
        """Values of a metric recorded before a resume: list of (step, value)."""
        return [(line["step"], line[name]) for line in self._lines if name in line]

    def show(self, step, images):
        """Adds images to TensorBoard: a dict from name to uint8 [height, width, 3]."""
        with self._writing(), self._writer.as_default(step=step):
            for name, image in images.items():
                tf.summary.image(name, image[None])
            self._writer.flush()

    @contextlib.contextmanager
    def _writing(self):
        """Says in one line what to do if the disk is full or the path is read-only."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            raise OSError(
                f"metrics can't be written to {self._workdir} ({one_line(error)}); free some space or make the path "
                "writable, and run the same command again: it resumes from the latest checkpoint"
            ) from error

    def _rewrite(self):
        write_whole(self._path, "".join(json.dumps(line) + "\n" for line in self._lines))


def read_records(path):
    """Lines of a `metrics.jsonl` as dicts, without a last one that a kill cut off; empty if there is no file."""
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path) as file:
        lines = file.read().split("\n")
    # What follows the last newline is incomplete.
    return [json.loads(line) for line in lines[:-1]]
