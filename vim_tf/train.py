"""Trains one stage: `python -m vim_tf.train --flagfile=configs/digits/tokenizer.flags --workdir=D`."""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

from vim_tf import config as configs
from vim_tf import flags
from vim_tf.errors import InputError


def run(config):
    """Trains a stage to its last step, going on from the workdir's latest checkpoint.

    Args:
        config: TokenizerTrainConfig or LanguageModelTrainConfig.

    Returns:
        dict from metric name to float, as last recorded.

    Raises:
        InputError: unusable data, tokens or workdir.
        FloatingPointError: a metric became NaN or infinite.
    """
    # TensorFlow takes seconds to import, and a mistyped flag should not cost them.
    import keras
    import tensorflow as tf

    from vim_tf import workdir
    from vim_tf.training import callbacks, strategies
    from vim_tf.training.checkpoints import Checkpoints

    # 1. Seed, and kernels that repeat bit for bit.
    keras.utils.set_random_seed(config.training.seed)
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    # 2. Where it runs.
    strategy = strategies.build_strategy(config.strategy, config.tpu)
    # 3. Data and model; what the data say about themselves completes the config.
    build_stage = {"tokenizer": _tokenizer_stage, "language_model": _language_model_stage}[config.task]
    stage = build_stage(config, strategy)
    config, step_model = stage.config, stage.step_model
    workdir.prepare(config)
    # 4. Restore. Precedence: the workdir's latest checkpoint, else the initial weights.
    settings = config.training
    checkpoints = Checkpoints(
        f"{config.workdir}/checkpoints", step_model.checkpointed(), step_model.step, settings.keep_checkpoints
    )
    start = checkpoints.restore()
    if start:
        print(f"{config.workdir}: going on from step {start} of {settings.total_steps}", file=sys.stderr, flush=True)
    # 5. Train: one epoch of all remaining steps, since the data are endless and callbacks count steps.
    recorder = callbacks.Recorder(config.workdir, start, settings.log_every_steps)
    if start < settings.total_steps:
        step_model.fit(
            strategy.experimental_distribute_dataset(stage.batches(start)),
            steps_per_epoch=settings.total_steps - start,
            shuffle=False,
            verbose=0,
            callbacks=[
                callbacks.Progress(start, settings.total_steps, settings.log_every_steps, config.task, stage.shown),
                recorder,
                callbacks.Validator(start, settings.validate_every_steps, stage.validate, recorder),
                callbacks.Saver(start, checkpoints, settings.checkpoint_every_steps),
                callbacks.SaveOnSignal(start, checkpoints),
            ],
        )
    # 6. Final save and validation.
    checkpoints.save()
    return {**recorder.latest, **stage.validate()}


@dataclasses.dataclass(frozen=True)
class _Stage:
    """What distinguishes the stages to the training loop.

    Attributes:
        config: the config, completed by what the data say.
        step_model: StepModel.
        batches: function of the first step that returns the endless training data.
        validate: function without arguments that returns validation metrics.
        shown: names of the metrics in the progress line.
    """

    config: Any
    step_model: Any
    batches: Callable
    validate: Callable
    shown: tuple[str, ...]


def _tokenizer_stage(config, strategy):
    from vim_tf.data import pipeline, sources
    from vim_tf.evaluation.evaluators import ReconstructionEvaluator
    from vim_tf.models.discriminators import build_discriminator
    from vim_tf.models.tokenizer import build_tokenizer
    from vim_tf.training.optimizers import build_optimizer
    from vim_tf.training.tokenizer_trainer import TokenizerTrainer

    settings, model = config.training, config.model
    group = model.discriminator.minibatch_stddev_group if config.losses.adversarial_weight else 1
    _check_batch(settings.batch_size, strategy.num_replicas_in_sync, group)
    train, validation = (
        sources.build_source(config.data, split, model.height, model.width) for split in configs.SPLITS
    )
    with strategy.scope():
        tokenizer = build_tokenizer(model)
        optimizer = build_optimizer(config.optimizer, settings.total_steps, tokenizer.trainable_variables)
        discriminator = discriminator_optimizer = None
        if config.losses.adversarial_weight:
            discriminator = build_discriminator(model)
            discriminator_optimizer = build_optimizer(
                config.optimizer, settings.total_steps, discriminator.trainable_variables
            )
        step_model = TokenizerTrainer(
            tokenizer,
            discriminator,
            config.losses,
            optimizer,
            discriminator_optimizer,
            model.quantizer.restart_unused_steps,
            settings.jit_compile,
            settings.seed,
        )
    evaluator = ReconstructionEvaluator(validation, settings.batch_size)
    return _Stage(
        config=config,
        step_model=step_model,
        batches=lambda start: pipeline.train_batches(train, settings.batch_size, settings.seed, start),
        validate=lambda: evaluator.run(tokenizer).metrics,
        shown=("tokenizer/l2_loss", "tokenizer/batch_codebook_usage", "tokenizer/discriminator_loss"),
    )


def _check_batch(batch_size, num_replicas, group=1):
    """Refuses a batch that replicas, or groups of the minibatch deviation within one, can't share evenly."""
    if batch_size % (num_replicas * group):
        groups = f" and groups of model.discriminator.minibatch_stddev_group {group}" if group > 1 else ""
        raise InputError(
            f"training.batch_size {batch_size} can't be divided into {num_replicas} replicas{groups}; use a multiple "
            f"of {num_replicas * group}"
        )


def _language_model_stage(config, strategy):
    from vim_tf.data import pipeline, token_records
    from vim_tf.evaluation.evaluators import TokenEvaluator
    from vim_tf.models.language_model import build_language_model
    from vim_tf.training.language_model_trainer import LanguageModelTrainer
    from vim_tf.training.optimizers import build_optimizer

    settings = config.training
    _check_batch(settings.batch_size, strategy.num_replicas_in_sync)
    train, validation = (token_records.load_tokens(config.tokens, split) for split in configs.SPLITS)
    manifest = train.manifest
    facts = configs.TokenFacts(
        **{field.name: getattr(manifest, field.name) for field in dataclasses.fields(configs.TokenFacts)}
    )
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, tokens=facts))
    with strategy.scope():
        language_model = build_language_model(config.model)
        optimizer = build_optimizer(config.optimizer, settings.total_steps, language_model.trainable_variables)
        step_model = LanguageModelTrainer(language_model, optimizer, settings.jit_compile, settings.seed)
    evaluator = TokenEvaluator(validation.tokens, validation.labels, settings.batch_size)
    return _Stage(
        config=config,
        step_model=step_model,
        batches=lambda start: pipeline.token_batches(
            train.tokens, train.labels, settings.batch_size, settings.seed, start
        ),
        validate=lambda: evaluator.run(language_model).metrics,
        shown=("language_model/bits_per_token",),
    )


def main():
    """The command."""

    def select(argv):
        return configs.TRAIN_CONFIGS[flags.choose("task", configs.TRAIN_CONFIGS, "tokenizer", argv)]

    flags.main(run, select, "Trains one stage of vim_tf; --task=language_model --help shows the other stage's flags.")


if __name__ == "__main__":
    main()
