"""Learning rate schedule."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="vim_tf")
class WarmupThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, a constant part, then a decay that ends at `total_steps` and stays.

    Args:
        learning_rate: value after the warm-up.
        warmup_steps: length of the warm-up.
        schedule: form of the decay: constant (none), cosine or exponential.
        decay_start_step: step at which the decay begins, if the warm-up is over by then.
        final_learning_rate: value at `total_steps` and after.
        total_steps: length of the training.

    References:
        Yu et al., 2022, https://arxiv.org/abs/2110.04627, section 5.1 (cosine) and 5.2 (exponential).
    """

    def __init__(self, learning_rate, warmup_steps, schedule, decay_start_step, final_learning_rate, total_steps):
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.schedule = schedule
        self.decay_start_step = decay_start_step
        self.final_learning_rate = final_learning_rate
        self.total_steps = total_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        # Step 0 already moves the weights a little: the warm-up counts the step about to be made.
        warmup = ops.minimum((step + 1) / max(self.warmup_steps, 1), 1.0)
        start = max(self.decay_start_step, self.warmup_steps)
        progress = ops.clip((step - start) / max(self.total_steps - start, 1), 0.0, 1.0)
        ratio = self.final_learning_rate / self.learning_rate
        if self.schedule == "cosine":
            factor = ratio + (1 - ratio) * 0.5 * (1 + ops.cos(3.141592653589793 * progress))
        elif self.schedule == "exponential":
            factor = ops.power(ops.cast(ratio, "float32"), progress)
        else:
            factor = 1.0
        return self.learning_rate * warmup * factor

    def get_config(self):
        names = (
            "learning_rate",
            "warmup_steps",
            "schedule",
            "decay_start_step",
            "final_learning_rate",
            "total_steps",
        )
        return {name: getattr(self, name) for name in names}
