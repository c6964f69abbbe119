"""Builds the data, model and validation of each training stage from its config."""

import dataclasses

from vim_tf.devices import compilation
from vim_tf.stages import saved
from vim_tf.stages.language_model import language_model_stage
from vim_tf.stages.linear_probe import linear_probe_stage
from vim_tf.stages.tokenizer import tokenizer_stage


def build_stage(config, strategy):
    """The stage that a train config describes.

    Args:
        config: TokenizerTrainConfig, LanguageModelTrainConfig or LinearProbeTrainConfig.
        strategy: tf.distribute.Strategy in whose scope models are built.

    Raises:
        InputError: unusable data, weights or tokens, or a batch that the replicas can't share.
    """
    build = {
        "tokenizer": tokenizer_stage,
        "language_model": language_model_stage,
        "linear_probe": linear_probe_stage,
    }[config.task]
    return build(with_compilation(config, strategy), strategy)


def with_compilation(config, strategy):
    """The config with `training.jit_compile` on or off; a training that resumes keeps the value it started with."""
    settings = config.training
    choice = settings.jit_compile
    if choice == "auto":
        choice = saved.recorded(config, "training.jit_compile") or choice
    with strategy.scope():
        choice = compilation.choose(choice, settings.precision)
    return dataclasses.replace(config, training=dataclasses.replace(settings, jit_compile=choice))
