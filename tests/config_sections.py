"""Every config class, with the values it needs besides its defaults."""

import dataclasses

from vim_tf import config as configs

SECTIONS = [
    value
    for value in vars(configs).values()
    if dataclasses.is_dataclass(value) and value.__module__.startswith(f"{configs.__name__}.")
]
# The values that a class needs besides its defaults.
GIVEN = {
    configs.TokenizerTrainConfig: {"workdir": "w"},
    configs.LanguageModelTrainConfig: {"workdir": "w", "tokens": "t"},
    configs.PaletteTrainConfig: {"workdir": "w"},
    configs.LinearProbeTrainConfig: {"workdir": "w", "tokenizer": "t", "language_model": "l"},
    configs.EncodeCommand: {"tokenizer": "t", "output": "o"},
    configs.MaterializeCommand: {"tokenizer": "t", "output": "o"},
    configs.MeasureReferenceCommand: {
        "evaluation": configs.EvaluationConfig(feature_network="inception"),
        "output": "o",
    },
    configs.ReconstructCommand: {"tokenizer": "t", "images": ("a.png", "b.png"), "output": "o"},
    configs.SampleCommand: {"tokenizer": "t", "language_model": "l", "output": "o", "labels": (1, 2)},
    configs.CompleteCommand: {"tokenizer": "t", "language_model": "l", "images": ("a.png",), "output": "o"},
    configs.EvaluateCommand: {"tokenizer": "t", "language_model": "l", "output": "o"},
    configs.ExportCommand: {"tokenizer": "t", "output": "o"},
    configs.ImportWeightsCommand: {"checkpoint": "c", "output": "o"},
    configs.PipelineConfig: {"output": "o", "tokenizer_flagfile": "t.flags", "language_model_flagfile": "l.flags"},
    configs.KubeflowConfig: {
        "output": "o",
        "tokenizer_flagfile": "t.flags",
        "language_model_flagfile": "l.flags",
        "pipeline_root": "gs://b/p",
    },
    configs.StatusCommand: {"output": "o"},
}


def make(config_class, **values):
    """A config of a class with these values."""
    return config_class(**{**GIVEN.get(config_class, {}), **values})


def name_of(value):
    """A test parameter's id: a class's name."""
    return value.__name__ if isinstance(value, type) else None
