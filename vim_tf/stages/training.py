"""Trains a stage: restore, train, validate, save."""

import sys

import keras
import tensorflow as tf

from vim_tf import config as configs
from vim_tf.devices import memory, strategies
from vim_tf.errors import InputError
from vim_tf.stages import saved
from vim_tf.stages.base import build_best_model
from vim_tf.stages.build import build_stage, with_compilation
from vim_tf.training import callbacks
from vim_tf.training.alarms import GapAlarm, LowMetricAlarm
from vim_tf.training.callbacks import Progress
from vim_tf.training.checkpoints import Checkpoints
from vim_tf.training.factored_adam import state_bytes_per_parameter
from vim_tf.training.recorder import Recorder


def run(config):
    """Trains a stage to its last step, resuming from the workdir's latest checkpoint.

    Args:
        config: TokenizerTrainConfig, PaletteTrainConfig, LanguageModelTrainConfig or LinearProbeTrainConfig.

    Returns:
        dict from metric name to float, as last recorded.

    Raises:
        InputError: unusable data, tokens or workdir.
        FloatingPointError: a metric became NaN or infinite.
    """
    if isinstance(config, configs.PaletteTrainConfig):
        from vim_tf.stages import palette

        # Clustering doesn't train in steps: nothing below applies to it.
        return palette.run(config)
    if config.training.keep_freed_memory:
        memory.keep_freed_memory()
    # 1. Seed, and deterministic kernels.
    keras.utils.set_random_seed(config.training.seed)
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    # 2. Devices. Of several workers only the chief's files are kept.
    strategy = strategies.build_strategy(config.strategy, config.tpu)
    with strategies.output_folder(strategy, config.workdir) as folder:
        return _train(config, strategy, folder)


def _train(config, strategy, folder):
    """`run` from the data on; it writes to `folder` and resumes from `config.workdir`."""
    config = with_compilation(config, strategy)
    saved.check_start(config, folder)
    # 3. Data and model; facts from the data complete the config.
    stage = build_stage(config, strategy)
    config, trainer, settings = stage.config, stage.trainer, config.training
    best = build_best_model(stage, folder)
    saved.prepare(config, folder)
    # 4. Restore. Precedence: the workdir's latest checkpoint, else the stage's own start (the weights of another run,
    # statistics of the data), else the initial weights.
    checkpoints = Checkpoints(f"{folder}/checkpoints", trainer.checkpointed(), trainer.step, settings.keep_checkpoints)
    start, is_chief = checkpoints.restore(f"{config.workdir}/checkpoints"), strategies.is_chief(strategy)
    strategies.check_same_step(strategy, start)
    _check_execution(config, start)
    if start and is_chief:
        print(f"{config.workdir}: resuming from step {start} of {settings.total_steps}", file=sys.stderr, flush=True)
    elif not start:
        stage.begin()
        trainer.copy_to_average()
    if is_chief:
        bytes_per_weight = state_bytes_per_parameter(trainer.optimizer, trainer.trained.trainable_variables)
        print(f"The optimizer's state takes {bytes_per_weight:.2f} bytes per weight.", file=sys.stderr, flush=True)
    # 5. Train: one epoch of all remaining steps, since the data are endless and callbacks count steps.
    every, total = settings.log_every_steps, settings.total_steps
    recorder = Recorder(folder, start, every, stage.readings, stage.rates, stage.histograms)
    # Every worker measures the gap, and only the chief reports it.
    gap = GapAlarm(stage.gap, recorder.last, prints=is_chief) if stage.gap else None
    validator = callbacks.Validator(start, settings.validate_every_steps, stage.validate, recorder, best, gap)
    any_worker, of_chief = strategies.any_worker(strategy), strategies.of_chief(strategy)
    if start < total:
        saver = callbacks.Saver(start, checkpoints, settings.checkpoint_every_steps, recorder, last_step=total)
        on_signal = callbacks.SaveOnSignal(start, checkpoints, recorder, any_worker, of_chief, last_step=total)
        trainer.compile(optimizer=trainer.optimizer, steps_per_execution=settings.steps_per_execution)
        shown = _shown(stage, recorder, start) if is_chief else []
        with on_signal:
            trainer.fit(
                strategies.distribute(strategy, lambda rows=None: stage.batches(start, rows), settings.batch_size),
                steps_per_epoch=total - start,
                shuffle=False,
                verbose=0,
                callbacks=[recorder, *shown, validator, saver, on_signal],
            )
    # 6. Final validation; the last step is saved. A run that was stopped right after it hasn't been validated yet.
    is_validated = any(step == total for step, _ in recorder.earlier(stage.validated[0]))
    is_left_over = is_chief and start == total and not is_validated
    if start < total or any_worker(is_left_over):
        validator.validate(total)
    return recorder.latest or stage.validate().metrics


def _shown(stage, recorder, start):
    """Callbacks that only print messages for the user."""
    settings = stage.config.training
    every, total = settings.log_every_steps, settings.total_steps
    return [
        Progress(start, total, every, stage.config.task, stage.shown, settings.batch_size, stage.unit),
        *(LowMetricAlarm(metric, start, every, recorder.earlier(metric.name)) for metric in stage.low_metrics),
    ]


def _check_execution(config, start):
    """Refuses to resume from a step between the ends of two executions."""
    each = config.training.steps_per_execution
    if start % each:
        raise InputError(
            f"{config.workdir} resumes from step {start}, which isn't a multiple of training.steps_per_execution "
            f"{each}; use a divisor of it, such as --training.steps_per_execution=1"
        )
