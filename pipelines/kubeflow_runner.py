"""`python -m pipelines.kubeflow_runner`: the pipeline as a specification for Kubeflow Pipelines v2 and Vertex AI.

It is compiled offline on this machine: to JSON for Vertex AI, to YAML for Kubeflow Pipelines. Steps of both trainings,
shards, evaluation, sampling and gates are parameters that each run can set. docs/runners.md says how to submit it, and
what has not been tried.
"""

import json
import os

from pipelines import settings
from pipelines.local import console
from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.errors import InputError

DESCRIPTION = "Compiles the pipeline to a file to submit to Kubeflow Pipelines v2 or Vertex AI."


def run(config):
    """Writes the specification.

    Args:
        config: KubeflowConfig.

    Returns:
        dict, the PipelineJob.

    Raises:
        InputError: flags or flagfiles that can't be used, or a package that is missing.
    """
    settings.stage_configs(config)
    console.quiet_tfx()
    try:
        from kfp.pipeline_spec import pipeline_spec_pb2
        from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig
    except ImportError as error:
        raise InputError(f"{error}: set up the environment from requirements.lock, which has all it needs") from error
    from tfx.orchestration.data_types import RuntimeParameter

    from pipelines import pipeline
    from vim_tf.storage import files

    files.check_writable(os.path.dirname(config.spec) or ".", "spec")
    defaults = {}

    def parameter(name, value):
        name = name.replace("_", "-")
        defaults[name] = value
        return RuntimeParameter(name=name, ptype=type(value), default=value)

    machine = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec()
    machine.cpu_limit, machine.memory_limit = config.cpu_limit, config.memory_limit
    if config.accelerator:
        machine.accelerator.type, machine.accelerator.count = config.accelerator, config.accelerator_count
    created = pipeline.create_pipeline(
        settings.contents(config),
        settings.Folders.below(config.pipeline_root.rstrip("/")),
        settings.Platform(
            list(config.beam_pipeline_args), own_resolvers=False, parameter=parameter, training_machine=machine
        ),
    )
    runner_config = KubeflowV2DagRunnerConfig(
        display_name=config.name, default_image=config.image, use_pipeline_spec_2_1=True
    )
    job = KubeflowV2DagRunner(runner_config).run(created, parameter_values=defaults, write_out=False)
    # TFX leaves out the defaults, so a run would have to set every parameter.
    for name, definition in job["pipelineSpec"]["root"]["inputDefinitions"]["parameters"].items():
        definition["defaultValue"] = defaults[name]
    _write(job, config.spec)
    console.say(f"Specification: {os.path.abspath(config.spec)}")
    return job


def _write(job, path):
    """Writes the PipelineJob as JSON, for Vertex AI, or its PipelineSpec as YAML, for Kubeflow Pipelines."""
    import yaml

    from vim_tf.storage import files

    if path.endswith(".json"):
        files.write_whole(path, json.dumps(job, indent=2, sort_keys=True) + "\n")
    else:
        files.write_whole(path, yaml.safe_dump(job["pipelineSpec"], sort_keys=True))


def main():
    """Runs the command."""
    flags.main(run, lambda argv: configs.KubeflowConfig, DESCRIPTION)


if __name__ == "__main__":
    main()
