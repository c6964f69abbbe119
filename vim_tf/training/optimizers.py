"""Optimizers."""

import keras

from vim_tf.training.factored_adam import FactoredAdam
from vim_tf.training.schedules import WarmupThenDecay


def build_optimizer(section, total_steps, variables, scale_loss=False):
    """An optimizer with its schedule, its slots already created.

    Args:
        section: OptimizerConfig.
        total_steps: int, length of the training.
        variables: the weights that it will update; creating slots later, inside a replica, would fail.
        scale_loss: whether gradients are of a loss that is scaled so that half precision can hold them; a step whose
            gradients overflow nevertheless is skipped, and the scale halved.
    """
    schedule = WarmupThenDecay(
        section.learning_rate,
        section.warmup_steps,
        section.schedule,
        section.decay_start_step,
        section.final_learning_rate,
        total_steps,
    )
    make = {"adamw": keras.optimizers.AdamW, "factored_adam": FactoredAdam}[section.name]
    optimizer = make(
        schedule,
        weight_decay=section.weight_decay,
        beta_1=section.beta1,
        beta_2=section.beta2,
        epsilon=section.epsilon,
    )
    if scale_loss:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer
