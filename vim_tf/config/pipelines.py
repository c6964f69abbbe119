"""What the commands around a pipeline take."""

import dataclasses

from vim_tf.config.commands import PipelineConfig
from vim_tf.config.fields import check, check_given, check_not_negative, check_positive, setting


@dataclasses.dataclass(frozen=True)
class StatusConfig:
    """`pipelines.status`: what a pipeline did, and what a pushed model was made of."""

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
    pipeline_root: str = setting("", "folder that every machine sees, such as gs://bucket/digits; it replaces --output")
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
        # --keep_runs stands in flagfiles that serve both; the platforms keep what their own rules say.
        for name in ("from_node", "to_node"):
            check(not getattr(self, name), f"--{name} is the local runner's; Kubeflow and Vertex AI have their own")
