"""The arguments of `pipeline.create_pipeline`: what a pipeline does, its folders and its platform."""

import dataclasses
from collections.abc import Callable
from typing import Any

from vim_tf import config as configs
from vim_tf.cli import flags


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a pipeline does; the same on every platform.

    Attributes:
        name: str, the pipeline's name in the metadata store.
        data: dict of a DataConfig, the images.
        span, version: int, of the images.
        input_fingerprint: str that changes when the images do.
        file_fingerprints: dict from tokenizer, language_model, linear_probe and evaluation to a str that changes when
            the files named in their settings do.
        num_shards: files per split.
        min_image_side: smallest height and width in pixels of an image.
        max_duplicates: validation images that may also be in the training split.
        views, view_scale: what is kept of each image for the language model, as in an EncodeCommand.
        tokenizer, language_model: dicts of a TokenizerTrainConfig and a LanguageModelTrainConfig.
        evaluation, sampling, gates: dicts of an EvaluationConfig, a SamplingConfig and a GateConfig.
        linear_probe_flags: str, flags of a linear probe for the evaluation, one per line; empty = no probe.
        linear_probe: dict of a LinearProbeTrainConfig whose accuracy is measured for each class; None = no probe.
        export_sampling_batch_size: samples that the served sampler draws at once.
        code_version: str; a new version invalidates the cache.
        licence: str, of the model, for its card.
        warm_start: whether the tokenizer's training starts from the last blessed tokenizer.
    """

    name: str
    data: dict
    span: int
    version: int
    input_fingerprint: str
    file_fingerprints: dict
    num_shards: int
    min_image_side: int
    max_duplicates: int
    views: str
    view_scale: float
    tokenizer: dict
    language_model: dict
    evaluation: dict
    sampling: dict
    gates: dict
    linear_probe_flags: str
    linear_probe: dict | None
    export_sampling_batch_size: int
    code_version: str
    licence: str
    warm_start: bool


@dataclasses.dataclass(frozen=True)
class Folders:
    """The folders of a pipeline.

    Attributes:
        artifacts: of the runs.
        training: unfinished trainings, which a later run resumes.
        serving: receives <version>/ of a blessed model.
        hub: receives the pushed model as a TF Hub module.
    """

    artifacts: str
    training: str
    serving: str
    hub: str

    @classmethod
    def below(cls, root):
        """All of them below one folder."""
        return cls(**{field.name: f"{root}/{field.name}" for field in dataclasses.fields(cls)})


@dataclasses.dataclass(frozen=True)
class Platform:
    """The platform that a pipeline runs on.

    Attributes:
        beam_pipeline_args: list of str, for Beam's runner.
        metadata_connection_config: where the metadata store is; None = the platform keeps its own.
        own_resolvers: whether the strategies of `pipelines.components.resolvers` look up the last blessed model,
            which keep the cache valid; False if the platform knows only TFX's.
        parameter: function of a name and an int or str, which may return a runtime parameter with that as default.
        training_machine: the platform's description of the machines for both trainings; None = its own choice.
    """

    beam_pipeline_args: list
    metadata_connection_config: Any = None
    own_resolvers: bool = True
    parameter: Callable = lambda name, value: value
    training_machine: Any = None


def stage_configs(config):
    """The configs of both trainings; the pipeline sets the images and all paths.

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


def contents(config):
    """The contents of a config's pipeline.

    Args:
        config: PipelineConfig.

    Returns:
        Contents.

    Raises:
        InputError: there is no such span or version of the images.
    """
    from pipelines import fingerprints, spans

    data, span, version = spans.resolve(config.data, config.span, config.version)
    tokenizer, language_model = stage_configs(dataclasses.replace(config, data=data))
    probe = _probe_config(config, data)
    return Contents(
        name=config.name,
        data=configs.to_dict(data),
        span=span,
        version=version,
        input_fingerprint=fingerprints.source_fingerprint(data.source, configs.SPLITS),
        file_fingerprints=_file_fingerprints(config, tokenizer, language_model),
        num_shards=config.num_shards,
        min_image_side=config.min_image_side,
        max_duplicates=config.max_duplicates,
        views=config.views,
        view_scale=config.view_scale,
        tokenizer=configs.to_dict(tokenizer),
        language_model=configs.to_dict(language_model),
        evaluation=configs.to_dict(config.evaluation),
        sampling=configs.to_dict(config.sampling),
        gates=configs.to_dict(config.gates),
        linear_probe_flags="\n".join(changed_flags(probe)) if "linear_probe" in config.evaluation.kind else "",
        linear_probe=configs.to_dict(probe) if config.probe_classes else None,
        export_sampling_batch_size=config.export_sampling_batch_size,
        code_version=fingerprints.code_version(),
        licence=config.licence,
        warm_start=config.warm_start,
    )


def _file_fingerprints(config, tokenizer, language_model):
    """Fingerprints of the files named in settings, by the part of the pipeline that reads them."""
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
    """LinearProbeTrainConfig; the pipeline sets the stages, the images and all paths."""
    argv = [f"--flagfile={config.linear_probe_flagfile}"] if config.linear_probe_flagfile else []
    paths = ["--workdir=pipeline", "--tokenizer=pipeline", "--language_model=pipeline"]
    return dataclasses.replace(flags.parse(configs.LinearProbeTrainConfig, [*argv, *paths]), data=data)


def changed_flags(section, prefix=""):
    """The fields of a config that differ from their defaults.

    Args:
        section: dataclass of `vim_tf.config`.
        prefix: str, path of the section, such as `model.`.

    Returns:
        list of str, flags.
    """
    return [
        f"--{prefix}{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, field in configs.leaves(type(section))
        if field.metadata["flag"] and (value := configs.get(section, name)) != _default(type(section), name)
    ]


def _default(section_class, name):
    """Default of a dotted name, in a class whose other defaults may not pass its checks."""
    first, _, rest = name.partition(".")
    field = next(field for field in dataclasses.fields(section_class) if field.name == first)
    default = field.default_factory() if field.default is dataclasses.MISSING else field.default
    return configs.get(default, rest) if rest else default


def _given(overrides):
    """`name=value` or `--name=value` as flags."""
    return [f"--{override.strip().lstrip('-')}" for override in overrides]
