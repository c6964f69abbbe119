"""A pipeline's config to the arguments of `pipeline.create_pipeline` that no platform decides."""

import dataclasses

from vim_tf import config as configs
from vim_tf import flags


def stage_configs(config):
    """The configs of both trainings; which images, and where each reads and writes, is the pipeline's to say.

    Args:
        config: PipelineConfig.

    Returns:
        TokenizerTrainConfig and LanguageModelTrainConfig.

    Raises:
        InputError: a flagfile or an override that can't be used.
    """
    devices = [] if config.strategy == "auto" else [f"--strategy={config.strategy}"]
    devices += [f"--tpu={config.tpu}"] if config.tpu else []
    tokenizer = flags.parse(
        configs.TokenizerTrainConfig,
        [f"--flagfile={config.tokenizer_flagfile}", *devices, *_given(config.tokenizer_overrides)]
        + ["--workdir=pipeline"],
    )
    language_model = flags.parse(
        configs.LanguageModelTrainConfig,
        [f"--flagfile={config.language_model_flagfile}", *devices, *_given(config.language_model_overrides)]
        + ["--workdir=pipeline", "--tokens=pipeline"],
    )
    return dataclasses.replace(tokenizer, data=config.data), language_model


def pipeline_arguments(config):
    """Keyword arguments of `pipeline.create_pipeline`, without the places and the platform's.

    Args:
        config: PipelineConfig.

    Returns:
        dict.
    """
    from pipelines import fingerprints

    tokenizer, language_model = stage_configs(config)
    return {
        "name": config.name,
        "data": configs.to_dict(config.data),
        "input_fingerprint": fingerprints.source_fingerprint(config.data.source, configs.SPLITS),
        "num_shards": config.num_shards,
        "tokenizer": configs.to_dict(tokenizer),
        "language_model": configs.to_dict(language_model),
        "evaluation": configs.to_dict(config.evaluation),
        "sampling": configs.to_dict(config.sampling),
        "gates": configs.to_dict(config.gates),
        "export_sampling_batch_size": config.export_sampling_batch_size,
        "code_version": fingerprints.code_version(),
        "licence": config.licence,
        "warm_start": config.warm_start,
    }


def _given(overrides):
    """`name=value` or `--name=value` as flags."""
    return [f"--{override.strip().lstrip('-')}" for override in overrides]
