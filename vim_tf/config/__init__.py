"""Every hyperparameter of every command: its default, unit, meaning and check.

Defaults are defined only in the dataclasses here and in the table `vim_tf.ranges.SAMPLING`, from which `SamplingConfig`
takes its first fields. `cli/flags.py` turns each field into a dotted flag (`model.quantizer.codebook_size`), and a
trained stage stores its resolved config as `config.json`. The defaults of the two training configs are the paper's
ImageNet settings (arXiv 2110.04627, sections 3.3 and 5, table 2) unless a field's help says otherwise;
`docs/paper_choices.md` lists what the paper leaves open. The files in `configs/` hold only what differs.

A command's config is named after it, such as `SampleCommand`; the names of sections, and of the configs that trainings
store, end in `Config`.
"""

from vim_tf.config.commands import (
    CompleteCommand,
    EncodeCommand,
    ExportCommand,
    ImportWeightsCommand,
    MaterializeCommand,
    ReconstructCommand,
    SampleCommand,
    SamplingConfig,
)
from vim_tf.config.data import SPLITS, AugmentationConfig, DataConfig
from vim_tf.config.evaluation import EVALUATION_KINDS, EvaluateCommand, EvaluationConfig, MeasureReferenceCommand
from vim_tf.config.fields import from_dict, get, leaves, to_dict
from vim_tf.config.models import (
    CNNConfig,
    DiscriminatorConfig,
    LanguageModelConfig,
    QuantizerConfig,
    TokenFacts,
    TokenizerModelConfig,
    TransformerConfig,
    ViTConfig,
)
from vim_tf.config.palette import ClusteringConfig, PaletteModelConfig, PaletteTrainConfig
from vim_tf.config.pipelines import GateConfig, KubeflowConfig, PipelineConfig, StatusCommand
from vim_tf.config.probe import LinearProbeTrainConfig, ProbeConfig, ProbeFacts
from vim_tf.config.training import (
    AlarmConfig,
    LanguageModelAlarmConfig,
    LanguageModelTrainConfig,
    LanguageModelValidationConfig,
    OptimizerConfig,
    TokenizerLossConfig,
    TokenizerTrainConfig,
    TrainingConfig,
)

# Choices of `--task`.
TRAIN_CONFIGS = {
    "tokenizer": TokenizerTrainConfig,
    "palette": PaletteTrainConfig,
    "language_model": LanguageModelTrainConfig,
    "linear_probe": LinearProbeTrainConfig,
}

__all__ = [
    "EVALUATION_KINDS",
    "SPLITS",
    "TRAIN_CONFIGS",
    "AlarmConfig",
    "AugmentationConfig",
    "CNNConfig",
    "ClusteringConfig",
    "CompleteCommand",
    "DataConfig",
    "DiscriminatorConfig",
    "EncodeCommand",
    "EvaluateCommand",
    "EvaluationConfig",
    "ExportCommand",
    "GateConfig",
    "ImportWeightsCommand",
    "KubeflowConfig",
    "LanguageModelAlarmConfig",
    "LanguageModelConfig",
    "LanguageModelTrainConfig",
    "LanguageModelValidationConfig",
    "MaterializeCommand",
    "MeasureReferenceCommand",
    "LinearProbeTrainConfig",
    "OptimizerConfig",
    "PaletteModelConfig",
    "PaletteTrainConfig",
    "PipelineConfig",
    "ProbeConfig",
    "ProbeFacts",
    "QuantizerConfig",
    "ReconstructCommand",
    "SampleCommand",
    "SamplingConfig",
    "StatusCommand",
    "TokenFacts",
    "TokenizerLossConfig",
    "TokenizerModelConfig",
    "TokenizerTrainConfig",
    "TrainingConfig",
    "TransformerConfig",
    "ViTConfig",
    "from_dict",
    "get",
    "leaves",
    "to_dict",
]
