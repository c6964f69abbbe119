"""Alarms: one line for the user when a training continues but is going wrong."""

import dataclasses
import sys

from vim_tf.training.callbacks import StepCallback


@dataclasses.dataclass(frozen=True)
class Gap:
    """How much worse a validation can be than the training without an alarm.

    Attributes:
        name: metric of the gap, in the unit of the two that are compared.
        training, validation: names of the metrics that are compared; lower is better.
        limit: float; 0 = no alarm.
        meaning: what a gap over the limit means and what to do.
    """

    name: str
    training: str
    validation: str
    limit: float
    meaning: str


@dataclasses.dataclass(frozen=True)
class LowMetric:
    """How long a metric can stay under a limit without an alarm.

    Attributes:
        name: metric.
        limit: float; 0 = no alarm.
        steps: int, consecutive steps under the limit that raise the alarm.
        meaning: what it means and what to do.
    """

    name: str
    limit: float
    steps: int
    meaning: str


class GapAlarm:
    """Measures a gap, and prints one line per run once it is too large.

    Training is measured with dropout, and over the steps since the previous record, so the true gap is rather larger.

    Args:
        gap: Gap.
        read: function from a metric's name to its latest recorded value, or None where nothing is recorded.
        prints: whether the line is printed.
    """

    def __init__(self, gap, read, prints=True):
        self.gap = gap
        self.read = read
        self._prints = prints

    def of(self, step, metrics):
        """The gap after a validation.

        Args:
            step: int.
            metrics: dict from name to float, what the validation measured.

        Returns:
            dict of the gap by its name; empty where training has recorded nothing yet.
        """
        training = self.read(self.gap.training)
        if training is None:
            return {}
        gap = metrics[self.gap.validation] - training
        if self._prints and self.gap.limit and gap > self.gap.limit:
            self._prints = False
            _say(f"{self.gap.name} is {gap:.4g} at step {step}, over {self.gap.limit:g}: {self.gap.meaning}")
        return {self.gap.name: gap}


class LowMetricAlarm(StepCallback):
    """Prints one line when a metric has stayed under its limit for too long, and one when it is back.

    A resumed run counts the steps before it, and repeats an alarm that the killed run may have printed.

    Args:
        metric: LowMetric.
        start_step: int.
        every: steps between two checks; the metric is a mean over them.
        earlier: list of (step, value), the checks up to `start_step`.
    """

    def __init__(self, metric, start_step, every, earlier):
        super().__init__(start_step)
        self.metric = metric
        self.every = every
        self._low_since = None
        self._raised = False
        for step, value in earlier:
            self._count(step, value)

    def on_step(self, step, logs):
        if step % self.every or self.metric.name not in logs:
            return
        value = float(logs[self.metric.name])
        self._count(step, value)
        if self._low_since is None:
            if self._raised:
                _say(f"{self.metric.name} is back at {value:.4g} at step {step}")
            self._raised = False
        elif not self._raised and step - self._low_since >= self.metric.steps:
            self._raised = True
            low = f"under {self.metric.limit:g} since step {self._low_since}"
            _say(f"{self.metric.name} is {value:.4g} at step {step}, {low}: {self.metric.meaning}")

    def _count(self, step, value):
        if value >= self.metric.limit:
            self._low_since = None
        elif self._low_since is None:
            # The low mean is over the steps since the previous check.
            self._low_since = step - self.every


def _say(line):
    print(f"\nAlarm: {line}", file=sys.stderr, flush=True)
