"""What a language model learns from: tokens on disk, or images that a frozen tokenizer encodes in the training step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging

from vim_tf import config as configs
from vim_tf.data import augmentation, sources
from vim_tf.data.batches import eval_batches, token_batches, train_batches
from vim_tf.data.records import tokens as token_records
from vim_tf.devices import strategies
from vim_tf.encode_dataset import encoded_examples, tokenizer_facts
from vim_tf.errors import InputError
from vim_tf.stages import saved


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
        place = f"--tokens={config.tokens}" if config.tokens else f"--data.source={config.data.source}"
        raise InputError(
            f"{place} has no labels, on which the model is to be conditioned: say --nomodel.class_conditional, or give "
            "the images labels (--data.label_feature names them in record files)"
        )
    return inputs


def _cached(config, tokenizer):
    settings = config.training
    if config.augmentation != configs.AugmentationConfig():
        logging.warning(
            "--augmentation.* does nothing to --tokens=%s: vim_tf.encode_dataset --views chose their views",
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
    # Once: the tokenizer doesn't change, and validation sees the images as they are.
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
