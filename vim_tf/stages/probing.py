"""Trains and measures a linear probe on the stages of an evaluation."""

import dataclasses

from vim_tf import config as configs
from vim_tf.cli import flags


def measure(config):
    """Trains the heads, or resumes their training, and measures them as they are on disk.

    Args:
        config: LinearProbeTrainConfig.

    Returns:
        EvaluationResult; metrics as in `LinearProbeEvaluator`.

    Raises:
        InputError: unusable stages, images or workdir.
    """
    from vim_tf.stages import saved, training
    from vim_tf.stages.linear_probe import open_probe_inputs

    training.run(config)
    inputs = open_probe_inputs(config)
    return inputs.evaluator.run(saved.load_linear_probe(config.workdir, inputs.features.sizes))


def check(config, tokenizer, language_model, train):
    """Refuses what `measure` would refuse, without training.

    Args:
        config: LinearProbeTrainConfig.
        tokenizer: the trained tokenizer.
        language_model: the trained language model, or None.
        train: ImageSource of the training split.

    Raises:
        InputError: images without labels, or a workdir of something else.
    """
    from vim_tf.stages import saved
    from vim_tf.stages.linear_probe import with_facts

    if "blocks" not in config.probe.features:
        language_model = None
    if not saved.check_workdir(with_facts(config, tokenizer, language_model, train)):
        saved.check_empty(config.workdir)


def train_config(config):
    """The LinearProbeTrainConfig of an EvaluateCommand; its heads are kept in `<output>/linear_probe`.

    Raises:
        InputError: the flagfile can't be read or holds something other than flags of the probe.
    """
    argv = [f"--flagfile={config.linear_probe_flagfile}"] if config.linear_probe_flagfile else []
    stages = [f"--tokenizer={config.tokenizer}", f"--language_model={config.language_model}"]
    parsed = flags.parse(configs.LinearProbeTrainConfig, [*argv, *stages, f"--workdir={config.output}/linear_probe"])
    return dataclasses.replace(parsed, data=config.data)
