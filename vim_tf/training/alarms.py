"""Reports of a training that goes on, but wrong."""

import sys

from vim_tf.training.callbacks import StepCallback


class GeneralizationGap:
    """How much worse a validation is than the training, and one line for the run once that is too much.

    Training is measured with dropout, and over the steps since the record before, so the true gap is rather larger.

    Args:
        read: function from a metric's name to its latest recorded value, or None where there is none.
        name: metric of the gap, in the unit of the other two.
        training, validation: names of the metrics that are compared; lower is better.
        limit: float; 0 = no alarm.
        meaning: what a gap over the limit means and what to do, for the line.
    """

    def __init__(self, read, name, training, validation, limit, meaning):
        self.read = read
        self.name = name
        self.training = training
        self.validation = validation
        self.limit = limit
        self.meaning = meaning
        self._raised = False

    def of(self, step, metrics):
        """The gap after a validation.

        Args:
            step: int.
            metrics: dict from name to float, what the validation measured.

        Returns:
            dict of the gap by its name; empty where training has recorded nothing yet.
        """
        training = self.read(self.training)
        if training is None:
            return {}
        gap = metrics[self.validation] - training
        if self.limit and gap > self.limit and not self._raised:
            self._raised = True
            _say(f"{self.name} is {gap:.4g} at step {step}, over {self.limit:g}: {self.meaning}")
        return {self.name: gap}


class LowMetricAlarm(StepCallback):
    """One line when a metric has stayed under a limit for some steps, and one when it is back.

    A resumed run counts the steps before it, and says again what the killed one may have said.

    Args:
        start_step: int.
        every: steps between two looks; the metric is a mean over them.
        earlier: list of (step, value), what the looks up to `start_step` saw.
        name: metric.
        limit: float; 0 = no alarm.
        steps: int, steps in a row under the limit that raise the alarm.
        meaning: what it means and what to do, for the line.
    """

    def __init__(self, start_step, every, earlier, name, limit, steps, meaning):
        super().__init__(start_step)
        self.name = name
        self.limit = limit
        self.steps = steps
        self.every = every
        self.meaning = meaning
        self._low_since = None
        self._raised = False
        for step, value in earlier:
            self._count(step, value)

    def on_step(self, step, logs):
        if step % self.every or self.name not in logs:
            return
        value = float(logs[self.name])
        self._count(step, value)
        if self._low_since is None:
            if self._raised:
                _say(f"{self.name} is back at {value:.4g} at step {step}")
            self._raised = False
        elif not self._raised and step - self._low_since >= self.steps:
            self._raised = True
            low = f"under {self.limit:g} since step {self._low_since}"
            _say(f"{self.name} is {value:.4g} at step {step}, {low}: {self.meaning}")

    def _count(self, step, value):
        if value >= self.limit:
            self._low_since = None
        elif self._low_since is None:
            # The mean that is low is that of the steps since the look before.
            self._low_since = step - self.every


def _say(line):
    print(f"\nAlarm: {line}", file=sys.stderr, flush=True)
