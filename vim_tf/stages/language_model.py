"""The language model's stage, and its inputs.

These are tokens on disk, or images that a frozen tokenizer encodes in the training step.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from absl import logging

from vim_tf import config as configs
from vim_tf.data import augmentation, sources
from vim_tf.data.batches import eval_batches, token_batches, train_batches
from vim_tf.data.records import tokens as token_records
from vim_tf.data.records.encode import encoded_examples, tokenizer_facts
from vim_tf.devices import strategies
from vim_tf.devices.precision import precision
from vim_tf.errors import InputError
from vim_tf.evaluation.generation import SampleEvaluator
from vim_tf.evaluation.tokens import TokenEvaluator
from vim_tf.models.language_model import build_language_model
from vim_tf.sampling.generate import Sampler
from vim_tf.stages import saved
from vim_tf.stages.base import (
    Stage,
    check_batch,
    check_best_metric,
    initialize,
    learning_rates,
    rows_at_once,
    trained_model,
)
from vim_tf.training.alarms import Gap
from vim_tf.training.language_model_trainer import LanguageModelTrainer


def language_model_stage(config, strategy):
    """The Stage that a LanguageModelTrainConfig describes; arguments as in `build_stage`."""
    settings, validated = config.training, ("language_model/validation_bits_per_token",)
    check_batch(settings, strategy)
    check_best_metric(settings.keep_best_metric, validated)
    tokenizer = None
    if config.tokenizer:
        # Before the precision is set: its tokens are the same everywhere.
        with strategy.scope():
            tokenizer = saved.load_tokenizer(config.tokenizer)
        # Building it drew random numbers, on which the language model's initial weights must not depend.
        keras.utils.set_random_seed(settings.seed)
    with strategy.scope():
        inputs = open_inputs(config, tokenizer)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, tokens=inputs.facts))
    with strategy.scope(), precision(settings.precision):
        language_model, shared = trained_model(
            lambda: build_language_model(config.model, settings.rematerialize), config.optimizer, settings
        )
        trainer = LanguageModelTrainer(language_model, encode=inputs.encode, **shared)
    return Stage(
        config=config,
        trainer=trainer,
        batches=inputs.batches,
        validate=_language_model_validation(config, strategy, trainer.inference_model, tokenizer, inputs),
        validated=validated,
        begin=lambda: initialize(config, trainer),
        shown=("language_model/bits_per_token",),
        unit="images",
        rates={
            "language_model/steps_per_second": 1,
            "language_model/tokens_per_second": settings.batch_size * language_model.num_tokens,
        },
        readings=learning_rates("language_model", trainer),
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
    """`Stage.validate`: bits per token, and with a tokenizer an image of samples."""
    with strategy.scope():
        rows = rows_at_once(config.training)
        evaluator = TokenEvaluator(inputs.tokens, inputs.labels, rows)
    samples_per_label = config.validation.samples_per_label
    if tokenizer is None or not samples_per_label:
        return lambda: evaluator.run(language_model)
    shown = SampleEvaluator(inputs.class_names[: language_model.num_classes], samples_per_label)
    # Built once: a sampler compiles its loop when it first draws. It draws on one device.
    rows_of_one = rows // strategies.num_local_replicas(strategy)
    sampler = Sampler(language_model, batch_size=min(len(shown.labels), rows_of_one))
    return lambda: evaluator.run(language_model).merged(shown.run(tokenizer, sampler))


@dataclasses.dataclass(frozen=True)
class TokenInputs:
    """Training batches and validation tokens of a language model.

    Attributes:
        facts: TokenFacts.
        class_names: list of str [num_classes].
        batches: function of the first step and the rows of each batch that are wanted, as in `batches`, that returns
            the endless training data: `tokens` or `image`, and `label`.
        encode: function from such images to tokens, as `LanguageModelTrainer` takes it; None = batches hold tokens.
        tokens: int32 [examples, views, num_tokens] of the validation split.
        labels: int32 [examples] of the validation split, -1 = none.
    """

    facts: configs.TokenFacts
    class_names: list[str]
    batches: Callable
    encode: Callable | None
    tokens: Any
    labels: Any


def open_inputs(config, tokenizer):
    """The inputs that a LanguageModelTrainConfig describes; to be called in the strategy's scope.

    Args:
        config: LanguageModelTrainConfig.
        tokenizer: the trained tokenizer of `config.tokenizer`, or None.

    Raises:
        InputError: unusable tokens or images, tokens of another tokenizer, or no labels where the model needs them.
    """
    inputs = _cached(config, tokenizer) if config.tokens else _on_the_fly(config, tokenizer)
    if config.model.class_conditional and not inputs.facts.num_classes:
        source = f"--tokens={config.tokens}" if config.tokens else f"--data.source={config.data.source}"
        raise InputError(
            f"{source} has no labels to condition the model on: use --nomodel.class_conditional, or label the images "
            "(--data.label_feature is the feature that holds the labels in record files)"
        )
    return inputs


def _cached(config, tokenizer):
    settings = config.training
    if config.augmentation != configs.AugmentationConfig():
        logging.warning(
            "--augmentation.* has no effect on --tokens=%s: vim_tf.encode_dataset --views chose their views",
            config.tokens,
        )
    train, validation = (token_records.load_tokens(config.tokens, split) for split in configs.SPLITS)
    manifest = train.manifest
    if tokenizer:
        saved.check_same_tokenizer(f"--tokens={config.tokens}", manifest.tokenizer_checksum, tokenizer.checksum)
    facts = {field.name: getattr(manifest, field.name) for field in dataclasses.fields(configs.TokenFacts)}
    return TokenInputs(
        facts=configs.TokenFacts(**facts | {"class_names": tuple(manifest.class_names)}),
        class_names=manifest.class_names,
        batches=lambda start, rows=None: token_batches(
            train.tokens, train.labels, settings.batch_size, settings.seed, start, rows=rows
        ),
        encode=None,
        tokens=validation.tokens,
        labels=validation.labels,
    )


def _on_the_fly(config, tokenizer):
    settings = config.training
    size = tokenizer.height, tokenizer.width
    train, validation = (sources.build_source(config.data, split, *size) for split in configs.SPLITS)
    augment = augmentation.build_augment(config.augmentation, *size)
    # Once: the tokenizer doesn't change, and validation doesn't augment the images.
    rows = strategies.rows_at_once(settings.batch_size, settings.gradient_accumulation_steps)
    examples = encoded_examples(tokenizer, eval_batches(validation, rows))
    tokens, labels, _ = zip(*examples, strict=True)
    return TokenInputs(
        facts=configs.TokenFacts(
            **tokenizer_facts(tokenizer), num_classes=train.num_classes, class_names=tuple(train.class_names)
        ),
        class_names=train.class_names,
        batches=lambda start, rows=None: train_batches(
            train, settings.batch_size, settings.seed, start, augment=augment, rows=rows
        ),
        encode=tokenizer.encode,
        tokens=np.stack(tokens),
        labels=np.array(labels, np.int32),
    )
