"""Settings of the pipeline and of the commands around it."""

import dataclasses
from typing import Literal

from vim_tf.config.commands import SamplingConfig
from vim_tf.config.data import DataConfig
from vim_tf.config.evaluation import EvaluationConfig
from vim_tf.config.fields import (
    check,
    check_choices,
    check_finite,
    check_given,
    check_not_negative,
    check_positive,
    setting,
)


@dataclasses.dataclass(frozen=True)
class GateConfig:
    """What a model must reach to be pushed, and how much worse than the last blessed model it may be; 0 = off."""

    min_reconstruction_psnr: float = setting(0.0, "reconstruction/psnr, dB")
    min_codebook_usage: float = setting(0.0, "codebook/usage, in [0, 1]")
    min_label_accuracy: float = setting(0.0, "generation/label_accuracy, in [0, 1]")
    min_linear_probe_top1: float = setting(0.0, "linear_probe/top1, in [0, 1]")
    max_generation_frechet_distance: float = setting(0.0, "generation/frechet_distance")
    max_generation_fid: float = setting(0.0, "generation/fid")
    max_reconstruction_psnr_loss: float = setting(0.0, "dB below the last blessed model's reconstruction/psnr")
    max_label_accuracy_loss: float = setting(0.0, "below the last blessed model's generation/label_accuracy")
    max_generation_frechet_distance_rise: float = setting(
        0.0, "above the last blessed model's generation/frechet_distance, as a share of it"
    )
    max_generation_fid_rise: float = setting(0.0, "above the last blessed model's generation/fid, as a share of it")

    def __post_init__(self):
        check_not_negative(self, *(f.name for f in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """`pipelines.local_runner`: the whole chain as one TFX pipeline."""

    name: str = setting("digits", "pipeline name, under which the metadata store records its runs")
    output: str = setting("", "folder for the artifacts, the metadata store and what the last run pushed")
    data: DataConfig = setting(DataConfig(), "images")
    tokenizer_flagfile: str = setting("", "flags of vim_tf.train --task=tokenizer")
    language_model_flagfile: str = setting("", "flags of vim_tf.train --task=language_model")
    evaluation: EvaluationConfig = setting(EvaluationConfig(), "what is measured")
    linear_probe_flagfile: str = setting(
        "",
        "flags of vim_tf.train --task=linear_probe, for evaluation.kind linear_probe and probe_classes; empty = the "
        "defaults",
    )
    probe_classes: bool = setting(
        False,
        "train a linear probe of the language model and measure its accuracy for each class with TensorFlow Model "
        "Analysis",
    )
    sampling: SamplingConfig = setting(SamplingConfig(), "how tokens are drawn for the evaluation")
    gates: GateConfig = setting(GateConfig(), "what a model must reach to be pushed")
    export_sampling_batch_size: int = setting(16, "samples that the served sampler draws at once")
    num_shards: int = setting(2, "files per split of examples and tokens")
    span: int = setting(-1, "span to read if the source's path has {SPAN}; -1 = the latest")
    version: int = setting(-1, "version of the span to read if the source's path has {VERSION}; -1 = the latest")
    min_image_side: int = setting(8, "minimum height and width in pixels of an image to train on")
    max_duplicates: int = setting(0, "validation images that may also be in the training split before the run stops")
    views: Literal["center", "flips", "ten_crop"] = setting(
        "center", "views kept of each image for the language model, as in vim_tf.encode_dataset"
    )
    view_scale: float = setting(1.125, "ten_crop: as in vim_tf.encode_dataset")
    tokenizer_overrides: tuple[str, ...] = setting(
        (), "flags of the tokenizer's training that override its flagfile, as name=value, separated by commas"
    )
    language_model_overrides: tuple[str, ...] = setting(
        (), "flags of the language model's training that override its flagfile, as name=value, separated by commas"
    )
    strategy: Literal["auto", "one", "mirrored", "multi_worker", "tpu"] = setting(
        "auto", "devices of both trainings, as in vim_tf.train; auto = as in their flagfiles"
    )
    tpu: str = setting("", "name or address of the TPU for strategy tpu; empty = as in the flagfiles")
    warm_start: bool = setting(
        False, "start the tokenizer's training from the last blessed tokenizer, if that comes from another training"
    )
    licence: str = setting("", "licence of the pushed model, for its model card")
    from_node: str = setting("", "start at this component, with the earlier ones' existing outputs; empty = the first")
    to_node: str = setting("", "stop after this component; empty = the last")
    keep_runs: int = setting(
        0, "runs whose artifacts are kept, besides those that the last pushed model was made from; 0 = all"
    )

    def __post_init__(self):
        check_choices(self)
        check_given(self, "name", "output", "tokenizer_flagfile", "language_model_flagfile")
        check_positive(self, "export_sampling_batch_size", "num_shards", "min_image_side")
        check_not_negative(self, "max_duplicates")
        check_finite(self, "view_scale")
        check(self.view_scale >= 1, f"--view_scale must be at least 1, not {self.view_scale:g}")
        check(self.span >= -1, f"--span must be -1 or more, not {self.span}")
        check(self.version >= -1, f"--version must be -1 or more, not {self.version}")
        check_not_negative(self, "keep_runs")
        for override in (*self.tokenizer_overrides, *self.language_model_overrides):
            check("=" in override, f"{override!r} isn't an override: it must look like training.total_steps=1000")


@dataclasses.dataclass(frozen=True)
class StatusCommand:
    """`pipelines.status`: what a pipeline did, and what a pushed model was made from."""

    output: str = setting("", "output folder of a pipeline")
    model: str = setting("", "pushed model to explain: its version, or last; empty = show the runs")
    last_runs: int = setting(5, "runs to show; 0 = all")

    def __post_init__(self):
        check_given(self, "output")
        check_not_negative(self, "last_runs")


@dataclasses.dataclass(frozen=True)
class KubeflowConfig(PipelineConfig):
    """`pipelines.kubeflow_runner`: the same pipeline as a specification for Kubeflow Pipelines v2 and Vertex AI."""

    image: str = setting("vim_tf:0.1.0", "container image of every component, built from pipelines/Dockerfile")
    pipeline_root: str = setting(
        "", "folder that every machine can access, such as gs://bucket/digits; it replaces --output"
    )
    spec: str = setting("pipeline.json", "file to write: .json for Vertex AI, .yaml for Kubeflow Pipelines")
    beam_pipeline_args: tuple[str, ...] = setting(
        ("--runner=DirectRunner",), "flags of Beam, separated by commas, such as --runner=DataflowRunner,--project=p"
    )
    accelerator: str = setting(
        "", "accelerator of the trainings as Vertex AI names it, such as NVIDIA_L4; empty = none"
    )
    accelerator_count: int = setting(1, "accelerators of a training")
    cpu_limit: float = setting(0.0, "CPUs of a training; 0 = the platform's choice")
    memory_limit: float = setting(0.0, "memory of a training in GB; 0 = the platform's choice")

    def __post_init__(self):
        super().__post_init__()
        check_given(self, "image", "pipeline_root", "spec")
        check_positive(self, "accelerator_count")
        check_not_negative(self, "cpu_limit", "memory_limit")
        check(self.spec.endswith((".json", ".yaml")), f"--spec={self.spec} must end in .json or .yaml")
        # --keep_runs is allowed, since a flagfile can serve both runners; the platforms have their own retention rules.
        for name in ("from_node", "to_node"):
            check(
                not getattr(self, name),
                f"--{name} is for the local runner only; Kubeflow and Vertex AI have their own way",
            )
