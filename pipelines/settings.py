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

    Raises:
        InputError: there is no such span or version of the images.
    """
    from pipelines import fingerprints, spans

    data, span, version = spans.resolve(config.data, config.span, config.version)
    tokenizer, language_model = stage_configs(dataclasses.replace(config, data=data))
    probe = _probe_config(config, data)
    return {
        "name": config.name,
        "data": configs.to_dict(data),
        "span": span,
        "version": version,
        "input_fingerprint": fingerprints.source_fingerprint(data.source, configs.SPLITS),
        "file_fingerprints": _file_fingerprints(config, tokenizer, language_model),
        "num_shards": config.num_shards,
        "min_image_side": config.min_image_side,
        "max_duplicates": config.max_duplicates,
        "views": config.views,
        "view_scale": config.view_scale,
        "tokenizer": configs.to_dict(tokenizer),
        "language_model": configs.to_dict(language_model),
        "evaluation": configs.to_dict(config.evaluation),
        "sampling": configs.to_dict(config.sampling),
        "linear_probe_flags": "\n".join(changed_flags(probe)) if "linear_probe" in config.evaluation.kind else "",
        "linear_probe": configs.to_dict(probe) if config.probe_classes else None,
        "gates": configs.to_dict(config.gates),
        "export_sampling_batch_size": config.export_sampling_batch_size,
        "code_version": fingerprints.code_version(),
        "licence": config.licence,
        "warm_start": config.warm_start,
    }


def _file_fingerprints(config, tokenizer, language_model):
    """What tells that files have changed that settings name, by the part of the pipeline that reads them."""
    from pipelines import fingerprints

    files = {
        "tokenizer": [tokenizer.initialize_from, tokenizer.losses.perceptual_weights_file],
        "language_model": [language_model.initialize_from],
        "linear_probe": [],
        "evaluation": [
            config.evaluation.lpips_weights_file,
            config.evaluation.feature_network_path,
            config.sampling.classifier,
        ],
    }
    return {part: fingerprints.files_fingerprint(paths) for part, paths in files.items()}


def _probe_config(config, data):
    """LinearProbeTrainConfig; which stages and images, and where it is trained, is the pipeline's to say."""
    argv = [f"--flagfile={config.linear_probe_flagfile}"] if config.linear_probe_flagfile else []
    places = ["--workdir=pipeline", "--tokenizer=pipeline", "--language_model=pipeline"]
    return dataclasses.replace(flags.parse(configs.LinearProbeTrainConfig, [*argv, *places]), data=data)


def changed_flags(section, prefix=""):
    """What of a config differs from its defaults.

    Args:
        section: dataclass of `vim_tf.config`.
        prefix: str, where the section stands, such as `model.`.

    Returns:
        list of str, flags.
    """
    return [
        f"--{prefix}{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, field in configs.leaves(type(section))
        if field.metadata["flag"] and (value := configs.get(section, name)) != _default(type(section), name)
    ]


def _default(section_class, name):
    """Default at a dotted name, of a class whose other fields may have none that pass its checks."""
    first, _, rest = name.partition(".")
    field = next(field for field in dataclasses.fields(section_class) if field.name == first)
    default = field.default_factory() if field.default is dataclasses.MISSING else field.default
    return configs.get(default, rest) if rest else default


def _given(overrides):
    """`name=value` or `--name=value` as flags."""
    return [f"--{override.strip().lstrip('-')}" for override in overrides]
