"""The linear probe's stage, and its inputs.

These are labelled images and the frozen stages that compute their features.
"""

import dataclasses
from collections.abc import Callable

from vim_tf import config as configs
from vim_tf.data import augmentation, sources
from vim_tf.data.batches import train_batches
from vim_tf.devices import strategies
from vim_tf.devices.precision import precision
from vim_tf.errors import InputError
from vim_tf.evaluation.linear_probe import LinearProbeEvaluator
from vim_tf.models.linear_probe import ImageFeatures, build_linear_probe
from vim_tf.stages import saved
from vim_tf.stages.base import Stage, check_batch, learning_rates, trained_model
from vim_tf.training.linear_probe_trainer import LinearProbeTrainer


def linear_probe_stage(config, strategy):
    """The Stage that a LinearProbeTrainConfig describes; arguments as in `build_stage`."""
    settings = config.training
    check_batch(settings, strategy)
    with strategy.scope():
        inputs = open_probe_inputs(config)
        probe, shared = trained_model(
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
        readings=learning_rates("linear_probe", trainer),
    )


@dataclasses.dataclass(frozen=True)
class ProbeInputs:
    """Training batches, features and validation of a linear probe.

    Attributes:
        config: the LinearProbeTrainConfig, completed with the facts of stages and images.
        features: ImageFeatures.
        image_size: (height, width) in pixels.
        batches: function of the first step and the rows of each batch that are wanted, as in `batches`, that returns
            the endless training data: `image` and `label`.
        evaluator: LinearProbeEvaluator of the validation split.
    """

    config: configs.LinearProbeTrainConfig
    features: ImageFeatures
    image_size: tuple[int, int]
    batches: Callable
    evaluator: LinearProbeEvaluator


def open_probe_inputs(config):
    """The inputs that a LinearProbeTrainConfig describes; to be called in the strategy's scope.

    Raises:
        InputError: unusable stages or images, or images without labels.
    """
    settings = config.training
    # Before the precision is set: its tokens are the same everywhere.
    tokenizer = saved.load_tokenizer(config.tokenizer)
    language_model = None
    if config.language_model and "blocks" in config.probe.features:
        with precision(settings.precision):
            language_model = saved.load_language_model(config.language_model, tokenizer)
    size = tokenizer.height, tokenizer.width
    train, validation = (sources.build_source(config.data, split, *size) for split in configs.SPLITS)
    config = with_facts(config, tokenizer, language_model, train)
    features = ImageFeatures(tokenizer, language_model, config.probe.features, config.probe.latents)
    augment = augmentation.build_augment(config.augmentation, *size)
    return ProbeInputs(
        config=config,
        features=features,
        image_size=size,
        batches=lambda start, rows=None: train_batches(
            train, settings.batch_size, settings.seed, start, augment=augment, rows=rows
        ),
        evaluator=LinearProbeEvaluator(
            validation,
            strategies.rows_at_once(settings.batch_size, settings.gradient_accumulation_steps),
            features,
            _conditions(config, train, language_model),
        ),
    )


def with_facts(config, tokenizer, language_model, train):
    """A LinearProbeTrainConfig completed with the facts of its stages and images; language_model can be None.

    Raises:
        InputError: the images have no labels.
    """
    if not train.num_classes:
        raise InputError(
            f"--data.source={config.data.source} has no labels, which a linear probe needs; "
            "folder:<path> takes each sub-folder as a class"
        )
    facts = configs.ProbeFacts(
        tokenizer_checksum=tokenizer.checksum,
        language_model_checksum=saved.checksum(language_model) if language_model else "",
        num_classes=train.num_classes,
    )
    return dataclasses.replace(config, facts=facts)


def _conditions(config, train, language_model):
    """The conditions that the accuracy depends on besides the images that it is measured on."""
    plain = configs.to_dict(config)
    conditions = {
        "trained_on": {"split": train.split, "num_images": train.num_examples, "augmentation": plain["augmentation"]},
        "steps": config.training.total_steps,
        "batch_size": config.training.batch_size,
        "seed": config.training.seed,
        "precision": config.training.precision,
        "optimizer": plain["optimizer"],
        "probe": plain["probe"] | {"features": ", ".join(config.probe.features)},
        "model": {"tokenizer_checksum": config.facts.tokenizer_checksum},
    }
    if language_model:
        conditions["model"]["language_model"] = {
            "checksum": config.facts.language_model_checksum,
            "num_layers": language_model.num_layers,
            "hidden_dim": language_model.hidden_dim,
            "trained_with_labels": bool(language_model.num_classes),
            # Used instead of the label; a conditional model without label dropout has never seen it.
            "start_was_trained": language_model.can_be_guided or not language_model.num_classes,
        }
    return conditions
