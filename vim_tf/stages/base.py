"""The interface between a stage and the training loop, and the parts that several stages are built from."""

import dataclasses
from collections.abc import Callable
from typing import Any

from vim_tf.devices import compilation, strategies
from vim_tf.errors import InputError
from vim_tf.evaluation.metrics.names import metric_info
from vim_tf.stages import saved
from vim_tf.training.best_model import BestModel
from vim_tf.training.optimizers import build_optimizer


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage that is ready for training.

    Attributes:
        config: the config, completed with facts from the data.
        trainer: Trainer.
        batches: function of the first step and the rows of each batch that are wanted, as in `batches`, that returns
            the endless training data.
        validate: function without arguments that returns an EvaluationResult.
        validated: names of the metrics that it measures.
        begin: function without arguments, called once before the first step of a training without checkpoint.
        shown: names of the metrics in the progress line.
        unit: name of an example of a batch.
        rates, readings, histograms: as `Recorder` takes them.
        low_metrics: tuple of LowMetric, which raise an alarm.
        gap: Gap between training and validation, or None.
    """

    config: Any
    trainer: Any
    batches: Callable
    validate: Callable
    validated: tuple[str, ...]
    begin: Callable
    shown: tuple[str, ...]
    unit: str
    rates: dict
    readings: dict
    histograms: dict = dataclasses.field(default_factory=dict)
    low_metrics: tuple = ()
    gap: Any = None


def build_best_model(stage, folder):
    """The BestModel in a folder that the stage's config asks for, or None.

    Raises:
        InputError: validation doesn't measure the metric.
    """
    metric = stage.config.training.keep_best_metric
    check_best_metric(metric, stage.validated)
    if not metric:
        return None
    return BestModel(
        f"{folder}/best",
        metric,
        higher_is_better=metric_info(metric).better == "higher",
        save=lambda folder: saved.save_stage(stage.trainer.inference_model, stage.config, folder),
    )


def check_best_metric(metric, validated):
    if metric and metric not in validated:
        raise InputError(
            f"training.keep_best_metric={metric} isn't measured in validation; choose one of {', '.join(validated)}"
        )


def learning_rates(task, trainer, discriminator_optimizer=None):
    """Functions that read the learning rates, by metric name."""
    readings = {f"{task}/learning_rate": lambda: trainer.optimizer.learning_rate}
    if discriminator_optimizer:
        readings[f"{task}/discriminator_learning_rate"] = lambda: discriminator_optimizer.learning_rate
    return readings


def rows_at_once(settings):
    return strategies.rows_at_once(settings.batch_size, settings.gradient_accumulation_steps)


def initialize(config, trainer):
    """Sets a new model's weights to those of the stage `initialize_from`, if the config has one."""
    if config.initialize_from:
        saved.initialize(trainer.trained, config.initialize_from, config.task)


def trained_model(build, optimizer_section, settings, is_float32=False):
    """The model to train, and the arguments that its trainer shares with those of the other stages.

    Args:
        build: function without arguments that returns the built model.
        optimizer_section: OptimizerConfig.
        settings: TrainingConfig.
        is_float32: whether the model computes in float32 under any precision.
    """
    model = build()
    average = build() if settings.ema_decay else None
    return model, {
        "optimizer": model_optimizer(optimizer_section, settings, model, is_float32),
        "jit_compile": compilation.compiles_parts(settings.jit_compile),
        "seed": settings.seed,
        "num_microbatches": settings.gradient_accumulation_steps,
        "clip_norm": optimizer_section.clip_norm,
        "ema_model": average,
        "ema_decay": settings.ema_decay,
    }


def model_optimizer(section, settings, model, is_float32=False):
    """The optimizer of a model's weights that the OptimizerConfig `section` describes."""
    scale_loss = settings.precision == "mixed_float16" and not is_float32
    return build_optimizer(section, settings.total_steps, model.trainable_variables, scale_loss)


def check_batch(settings, strategy, group=1):
    """Refuses a batch that doesn't divide evenly into replicas, microbatches and groups of the minibatch deviation."""
    num_replicas, num_microbatches = strategy.num_replicas_in_sync, settings.gradient_accumulation_steps
    share = num_replicas * num_microbatches * group
    if settings.batch_size % share:
        microbatches = f", {num_microbatches} microbatches" if num_microbatches > 1 else ""
        groups = f" and groups of model.discriminator.minibatch_stddev_group {group}" if group > 1 else ""
        raise InputError(
            f"training.batch_size {settings.batch_size} can't be divided into {num_replicas} replicas{microbatches}"
            f"{groups}; use a multiple of {share}"
        )
