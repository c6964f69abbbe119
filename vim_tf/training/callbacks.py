"""Callbacks between training steps: progress, checkpoints, validation, exit on SIGTERM."""

import collections
import sys
import time

import keras

from vim_tf.cli import terminal

_RATE_SECONDS = 60
# How long workers may take to agree on stopping after a SIGTERM; systems that send one wait 30 s or more for the exit.
_AGREEMENT_SECONDS = 5.0


class StepCallback(keras.callbacks.Callback):
    """A callback that counts training steps across resumes.

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
        raise NotImplementedError(f"{type(self).__name__} must define what happens after a step")


class Progress(StepCallback):
    """Prints step, rates and remaining time: one updating line on a terminal, else one line per interval.

    Rates are of the last minute or so, and aren't distorted by a slow first step, which compiles the graph.

    Args:
        start_step: int.
        total_steps: int.
        every: steps between two lines if there is no terminal.
        name: what is being trained.
        shown: names of the metrics to show.
        batch_size: int, examples per step.
        unit: what an example is called.
    """

    def __init__(self, start_step, total_steps, every, name, shown, batch_size, unit):
        super().__init__(start_step)
        self.batch_size = batch_size
        self.unit = unit
        self.total_steps = total_steps
        self.every = every
        self.name = name
        self.shown = shown
        self._terminal = sys.stderr.isatty()
        self._last_draw = 0.0

    def on_train_begin(self, logs=None):
        self._times = collections.deque([(self.start_step, time.monotonic())])

    def on_step(self, step, logs):
        now = time.monotonic()
        self._times.append((step, now))
        while len(self._times) > 2 and now - self._times[0][1] > _RATE_SECONDS:
            self._times.popleft()
        due = step % self.every == 0 or step == self.total_steps
        if not due and not (self._terminal and now - self._last_draw > 0.5):
            return
        self._last_draw = now
        first_step, then = self._times[1] if len(self._times) > 2 else self._times[0]
        rate = (step - first_step) / max(now - then, 1e-9)
        remaining = duration((self.total_steps - step) / max(rate, 1e-9))
        values = "  ".join(f"{name.split('/')[-1]} {float(logs[name]):.4f}" for name in self.shown if name in logs)
        width = len(str(self.total_steps))
        rates = f"{rate:.1f} steps/s  {rate * self.batch_size:.0f} {self.unit}/s"
        line = f"{self.name}  {step:{width}d}/{self.total_steps}  {rates}  {remaining} left  {values}"
        if self._terminal:
            print(f"\r\x1b[K{line}", end="\n" if step == self.total_steps else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def duration(seconds):
    """Seconds in readable form: 1:05 or 2:03:04."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Saver(StepCallback):
    """Writes checkpoints at regular steps and at the last one, unless a metric isn't finite since the last record.

    Args:
        start_step: int.
        checkpoints: Checkpoints.
        every: steps between two checkpoints.
        recorder: Recorder, which checks that the metrics are finite.
        last_step: int, step at which the training ends.
    """

    def __init__(self, start_step, checkpoints, every, recorder, last_step=None):
        super().__init__(start_step)
        self.checkpoints = checkpoints
        self.every = every
        self.recorder = recorder
        self.last_step = last_step

    def on_step(self, step, logs):
        if step % self.every == 0 or step == self.last_step:
            self.recorder.check_finite(step, logs)
            self.checkpoints.save()


class Validator(StepCallback):
    """Measures the model on held-out data, records the result and keeps the best model.

    Args:
        start_step: int.
        every: steps between two validations; 0 = never.
        evaluate: function without arguments that returns an EvaluationResult.
        recorder: Recorder.
        best: BestModel, or None.
        gap: GapAlarm, or None.
    """

    def __init__(self, start_step, every, evaluate, recorder, best=None, gap=None):
        super().__init__(start_step)
        self.every = every
        self.evaluate = evaluate
        self.recorder = recorder
        self.best = best
        self.gap = gap
        self._latest = (None, None)

    def on_step(self, step, logs):
        if self.every and step % self.every == 0:
            self.validate(step)

    def validate(self, step):
        """Validates the model of a step, unless that was already done: dict from metric name to float."""
        if self._latest[0] != step:
            self._latest = (step, self._validate(step))
        return self._latest[1]

    def _validate(self, step):
        result = self.evaluate()
        metrics = result.metrics | (self.gap.of(step, result.metrics) if self.gap else {})
        # First: the record marks all of this as done, and a run that is killed before it repeats it.
        if self.best:
            self.best.offer(step, metrics)
        self.recorder.record(step, metrics)
        self.recorder.show(step, {name: picture.image for name, picture in result.pictures.items()})
        return metrics


class SaveOnSignal(StepCallback):
    """On SIGTERM, saves after the step in progress and exits with status 143, so that a restart resumes.

    It listens while it is entered as a context manager. Outside the main thread, the only one that gets signals, it
    prints a warning and has no effect.

    Args:
        start_step: int.
        checkpoints: Checkpoints.
        recorder: Recorder; once a metric is NaN or infinite, nothing is saved.
        agreed: function of a bool, whether this process was told to stop, that returns whether any was. Several workers
            must stop at the same step.
        of_chief: function of a number that gives every worker the chief's. Since an agreement costs a collective, the
            workers then agree only about every five seconds; None = at every step.
        last_step: int, step at which the training ends, where they always agree.
    """

    def __init__(self, start_step, checkpoints, recorder, agreed=bool, of_chief=None, last_step=None):
        super().__init__(start_step)
        self.checkpoints = checkpoints
        self.recorder = recorder
        self.agreed = agreed
        self.of_chief = of_chief
        self.last_step = last_step
        self._stop = False
        self._due = start_step

    def __enter__(self):
        self._previous = terminal.on_sigterm(self._note)
        if self._previous is None:
            print(
                "This training doesn't run in its process's main thread: SIGTERM will end it without a checkpoint.",
                file=sys.stderr,
            )
        self._agreed_at = (self.start_step, time.monotonic())
        return self

    def __exit__(self, *exception):
        if self._previous is not None:
            terminal.on_sigterm(self._previous)

    def _note(self, signum, frame):
        self._stop = True

    def on_step(self, step, logs):
        if step < self._due and step != self.last_step:
            return
        if self.agreed(self._stop):
            self.recorder.check_finite(step, logs)
            self.checkpoints.save()
            print(f"\nStopped by SIGTERM at step {step}; run the same command again to resume.", file=sys.stderr)
            raise SystemExit(143)
        if self.of_chief:
            self._due = step + round(self.of_chief(self._steps_until_next(step)))

    def _steps_until_next(self, step):
        """Number of steps that take about `_AGREEMENT_SECONDS`, estimated from those since the last agreement: int."""
        before, then = self._agreed_at
        self._agreed_at = (step, time.monotonic())
        per_second = (step - before) / max(self._agreed_at[1] - then, 1e-9)
        # At most doubled: a few steps say little about many.
        return max(int(min(per_second * _AGREEMENT_SECONDS, 2 * (step - before))), 1)
