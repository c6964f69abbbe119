"""What distinguishes the stages to the training loop: their data, models, training step and validation."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from vim_tf import config as configs
from vim_tf.data import augmentation, sources
from vim_tf.data.batches import train_batches
from vim_tf.devices import strategies
from vim_tf.devices.precision import precision
from vim_tf.errors import InputError
from vim_tf.evaluation.generation import SampleEvaluator
from vim_tf.evaluation.reconstruction import ReconstructionEvaluator
from vim_tf.evaluation.results import metric_info
from vim_tf.evaluation.tokens import TokenEvaluator
from vim_tf.losses.perceptual import load_perceptual
from vim_tf.models.discriminators import build_discriminator
from vim_tf.models.language_model import build_language_model
from vim_tf.models.linear_probe import build_linear_probe
from vim_tf.models.tokenizer import build_tokenizer
from vim_tf.sampling.generate import Sampler
from vim_tf.stages import saved
from vim_tf.stages.language_model import open_inputs
from vim_tf.stages.linear_probe import open_probe_inputs
from vim_tf.training import compilation
from vim_tf.training.alarms import Gap, LowMetric
from vim_tf.training.best_model import BestModel
from vim_tf.training.language_model_trainer import LanguageModelTrainer
from vim_tf.training.linear_probe_trainer import LinearProbeTrainer
from vim_tf.training.optimizers import build_optimizer
from vim_tf.training.tokenizer_trainer import TokenizerTrainer


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage that is ready to be trained.

    Attributes:
        config: the config, completed by what the data say.
        trainer: Trainer.
        batches: function of the first step and the rows of each batch that are wanted, as in `batches`, that returns
            the endless training data.
        validate: function without arguments that returns an EvaluationResult.
        validated: names of the metrics that it measures.
        begin: function without arguments, called once before the first step of a training without checkpoint.
        shown: names of the metrics in the progress line.
        unit: what an example of a batch is called.
        rates: what is counted per second, as `Recorder` takes it; likewise `readings` and `histograms`.
        low_metrics: tuple of LowMetric, what raises an alarm.
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


def build_stage(config, strategy):
    """The stage that a train config describes.

    Args:
        config: TokenizerTrainConfig, LanguageModelTrainConfig or LinearProbeTrainConfig.
        strategy: tf.distribute.Strategy in whose scope models are built.

    Raises:
        InputError: unusable data, weights or tokens, or a batch that the replicas can't share.
    """
    build = {
        "tokenizer": _tokenizer_stage,
        "language_model": _language_model_stage,
        "linear_probe": _linear_probe_stage,
    }[config.task]
    return build(_with_compilation(config, strategy), strategy)


def _with_compilation(config, strategy):
    """The config with `training.jit_compile` on or off; a training that goes on keeps to what it began with."""
    settings = config.training
    choice = settings.jit_compile
    if choice == "auto":
        choice = saved.recorded(config, "training.jit_compile") or choice
    with strategy.scope():
        choice = compilation.choose(choice, settings.precision)
    return dataclasses.replace(config, training=dataclasses.replace(settings, jit_compile=choice))


def build_best_model(stage, folder):
    """The BestModel in a folder that the stage's config asks for, or None.

    Raises:
        InputError: the metric is none that validation measures.
    """
    metric = stage.config.training.keep_best_metric
    _check_best_metric(metric, stage.validated)
    if not metric:
        return None
    return BestModel(
        f"{folder}/best",
        metric,
        higher_is_better=metric_info(metric).better == "higher",
        save=lambda folder: saved.save_stage(stage.trainer.inference_model, stage.config, folder),
    )


def _check_best_metric(metric, validated):
    if metric and metric not in validated:
        raise InputError(
            f"training.keep_best_metric={metric} is not measured in validation; choose one of {', '.join(validated)}"
        )


def _tokenizer_stage(config, strategy):
    settings, model, losses = config.training, config.model, config.losses
    is_grouped = losses.adversarial_weight and model.discriminator.kind == "stylegan2"
    _check_batch(settings, strategy, model.discriminator.minibatch_stddev_group if is_grouped else 1)
    perceptual = None
    if losses.perceptual_weight:
        # Before the images are read, which takes time.
        with strategy.scope(), precision(settings.precision):
            perceptual = load_perceptual(losses.perceptual, losses.perceptual_weights_file)
        # Keras' VGG16 draws numbers, on which the tokenizer's first weights must not depend.
        keras.utils.set_random_seed(settings.seed)
    train, validation = (
        sources.build_source(config.data, split, model.height, model.width) for split in configs.SPLITS
    )
    augment = augmentation.build_augment(config.augmentation, model.height, model.width)
    with strategy.scope(), precision(settings.precision):
        tokenizer, shared = _trained(lambda: build_tokenizer(model, settings.rematerialize), config.optimizer, settings)
        discriminator = discriminator_optimizer = None
        if losses.adversarial_weight:
            discriminator = build_discriminator(model)
            discriminator_optimizer = _optimizer(config.optimizer, settings, discriminator)
        trainer = TokenizerTrainer(
            tokenizer,
            discriminator,
            perceptual,
            losses,
            discriminator_optimizer=discriminator_optimizer,
            quantizer_settings=model.quantizer,
            window_steps=config.alarms.codebook_window_steps,
            **shared,
        )
        evaluator = ReconstructionEvaluator(validation, _rows_at_once(settings))
    return Stage(
        config=config,
        trainer=trainer,
        batches=lambda start, rows=None: train_batches(
            train, settings.batch_size, settings.seed, start, augment=augment, rows=rows
        ),
        validate=lambda: evaluator.run(trainer.inference_model),
        validated=tuple(f"reconstruction/{name}" for name in ("psnr", "ssim", "l1", "l2"))
        + ("codebook/usage", "codebook/perplexity"),
        begin=lambda: _initialize(config, trainer),
        shown=("tokenizer/l2_loss", "codebook/window_usage", "tokenizer/discriminator_loss"),
        unit="images",
        rates={"tokenizer/steps_per_second": 1, "tokenizer/images_per_second": settings.batch_size},
        readings=_learning_rates("tokenizer", trainer, discriminator_optimizer),
        histograms={"codebook/counts": lambda: trainer.codebook_monitor.frequencies.numpy()},
        low_metrics=_tokenizer_alarms(config.alarms),
    )


def _tokenizer_alarms(section):
    return (
        LowMetric(
            name="codebook/window_usage",
            limit=section.min_codebook_usage,
            steps=section.codebook_window_steps,
            meaning="most codes are dead; l2-normalised codes of few dimensions (model.quantizer.codebook_dim) or "
            "model.quantizer.restart_unused_steps help",
        ),
        LowMetric(
            name="tokenizer/discriminator_loss",
            limit=section.min_discriminator_loss,
            steps=section.discriminator_steps,
            meaning="the discriminator tells every image and the tokenizer learns nothing from it; a higher "
            "losses.r1_gamma or a losses.lecam_weight holds it back",
        ),
    )


def _learning_rates(task, trainer, discriminator_optimizer=None):
    """Functions that read the learning rates, by metric name."""
    readings = {f"{task}/learning_rate": lambda: trainer.optimizer.learning_rate}
    if discriminator_optimizer:
        readings[f"{task}/discriminator_learning_rate"] = lambda: discriminator_optimizer.learning_rate
    return readings


def _language_model_stage(config, strategy):
    settings, validated = config.training, ("language_model/validation_bits_per_token",)
    _check_batch(settings, strategy)
    _check_best_metric(settings.keep_best_metric, validated)
    tokenizer = None
    if config.tokenizer:
        # Before the precision is set: its tokens are the same everywhere.
        with strategy.scope():
            tokenizer = saved.load_tokenizer(config.tokenizer)
        # Building it drew numbers, on which the language model's first weights must not depend.
        keras.utils.set_random_seed(settings.seed)
    with strategy.scope():
        inputs = open_inputs(config, tokenizer)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, tokens=inputs.facts))
    with strategy.scope(), precision(settings.precision):
        language_model, shared = _trained(
            lambda: build_language_model(config.model, settings.rematerialize), config.optimizer, settings
        )
        trainer = LanguageModelTrainer(language_model, encode=inputs.encode, **shared)
    return Stage(
        config=config,
        trainer=trainer,
        batches=inputs.batches,
        validate=_language_model_validation(config, strategy, trainer.inference_model, tokenizer, inputs),
        validated=validated,
        begin=lambda: _initialize(config, trainer),
        shown=("language_model/bits_per_token",),
        unit="images",
        rates={
            "language_model/steps_per_second": 1,
            "language_model/tokens_per_second": settings.batch_size * language_model.num_tokens,
        },
        readings=_learning_rates("language_model", trainer),
        gap=Gap(
            name="language_model/generalization_gap",
            training="language_model/bits_per_token",
            validation="language_model/validation_bits_per_token",
            limit=config.alarms.max_generalization_gap,
            meaning="the model overfits; more model.dropout or more views of the images (encode_dataset --views, or "
            "--tokenizer with augmentation) help, and training.keep_best_metric keeps the best model in <workdir>/best",
        ),
    )


def _language_model_validation(config, strategy, language_model, tokenizer, inputs):
    """`Stage.validate`: bits per token, and with a tokenizer a picture of samples."""
    with strategy.scope():
        rows = _rows_at_once(config.training)
        evaluator = TokenEvaluator(inputs.tokens, inputs.labels, rows)
    samples_per_label = config.validation.samples_per_label
    if tokenizer is None or not samples_per_label:
        return lambda: evaluator.run(language_model)
    shown = SampleEvaluator(inputs.class_names[: language_model.num_classes], samples_per_label)
    # Built once: a sampler compiles its loop when it first draws. It draws on one device.
    rows_of_one = rows // strategies.num_local_replicas(strategy)
    sampler = Sampler(language_model, batch_size=min(len(shown.labels), rows_of_one))
    return lambda: evaluator.run(language_model).merged(shown.run(tokenizer, sampler))


def _linear_probe_stage(config, strategy):
    settings = config.training
    _check_batch(settings, strategy)
    with strategy.scope():
        inputs = open_probe_inputs(config)
        probe, shared = _trained(
            lambda: build_linear_probe(inputs.features.sizes, inputs.config.facts.num_classes),
            config.optimizer,
            settings,
            is_float32=True,
        )
        trainer = LinearProbeTrainer(probe, inputs.features, **shared)

    def begin():
        parts = settings.gradient_accumulation_steps * strategy.num_replicas_in_sync
        batches = strategies.split_batches(inputs.batches(0).take(config.probe.statistics_steps), parts)
        trainer.standardize(batches, config.probe.min_deviation)

    features, summary = tuple(inputs.features.sizes), ("top1",) if inputs.features.block_names else ()
    return Stage(
        config=inputs.config,
        trainer=trainer,
        batches=inputs.batches,
        validate=lambda: inputs.evaluator.run(trainer.inference_model),
        validated=tuple(f"linear_probe/{name}" for name in (*summary, *(f"{feature}_top1" for feature in features))),
        begin=begin,
        shown=("linear_probe/loss",),
        unit="images",
        rates={"linear_probe/steps_per_second": 1, "linear_probe/images_per_second": settings.batch_size},
        readings=_learning_rates("linear_probe", trainer),
    )


def _rows_at_once(settings):
    return strategies.rows_at_once(settings.batch_size, settings.gradient_accumulation_steps)


def _initialize(config, trainer):
    if config.initialize_from:
        saved.initialize(trainer.trained, config.initialize_from, config.task)


def _trained(build, optimizer_section, settings, is_float32=False):
    """The model to train, and the arguments that its trainer shares with those of the other stages.

    Args:
        build: function without arguments that returns the built model.
        optimizer_section: OptimizerConfig.
        settings: TrainingConfig.
        is_float32: whether the model computes in float32 whatever the precision is.
    """
    model = build()
    average = build() if settings.ema_decay else None
    return model, {
        "optimizer": _optimizer(optimizer_section, settings, model, is_float32),
        "jit_compile": compilation.compiles_parts(settings.jit_compile),
        "seed": settings.seed,
        "num_microbatches": settings.gradient_accumulation_steps,
        "clip_norm": optimizer_section.clip_norm,
        "ema_model": average,
        "ema_decay": settings.ema_decay,
    }


def _optimizer(section, settings, model, is_float32=False):
    scale_loss = settings.precision == "mixed_float16" and not is_float32
    return build_optimizer(section, settings.total_steps, model.trainable_variables, scale_loss)


def _check_batch(settings, strategy, group=1):
    """Refuses a batch that replicas, microbatches and groups of the minibatch deviation can't share evenly."""
    num_replicas, num_microbatches = strategy.num_replicas_in_sync, settings.gradient_accumulation_steps
    share = num_replicas * num_microbatches * group
    if settings.batch_size % share:
        microbatches = f", {num_microbatches} microbatches" if num_microbatches > 1 else ""
        groups = f" and groups of model.discriminator.minibatch_stddev_group {group}" if group > 1 else ""
        raise InputError(
            f"training.batch_size {settings.batch_size} can't be divided into {num_replicas} replicas{microbatches}"
            f"{groups}; use a multiple of {share}"
        )
