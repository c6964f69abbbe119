"""What the commands around a pipeline take."""

import dataclasses

from vim_tf.config.commands import PipelineConfig
from vim_tf.config.fields import check, check_given, check_not_negative, setting


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

    image: str = setting("", "container image that every component runs in, built by pipelines/Dockerfile")
    pipeline_root: str = setting("", "folder that every machine sees, such as gs://bucket/digits; it replaces --output")
    spec: str = setting("pipeline.json", "JSON file to write")
    beam_runner: str = setting("DirectRunner", "Beam runner of the components that use Beam, such as DataflowRunner")

    def __post_init__(self):
        super().__post_init__()
        check_given(self, "image", "pipeline_root", "spec")
        check(self.spec.endswith(".json"), f"--spec={self.spec} must end in .json, the only form with parameters")
        for name in ("from_node", "to_node", "keep_runs"):
            check(not getattr(self, name), f"--{name} is the local runner's; Kubeflow and Vertex AI have their own")
