"""`python -m pipelines.kubeflow_runner`: the pipeline as a specification for Kubeflow Pipelines v2 and Vertex AI.

It is compiled on this machine, without a connection. Steps of both trainings, shards, evaluation, sampling and gates
are parameters that a run may set anew.
"""

import os

from pipelines import console, settings
from vim_tf import config as configs
from vim_tf import flags
from vim_tf.errors import InputError

DESCRIPTION = "Compiles the pipeline for Kubeflow Pipelines v2 and Vertex AI: a JSON file to submit."


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
        raise InputError(f"{error}: set the environment up from requirements.lock, which has all it takes") from error
    from tfx.orchestration.data_types import RuntimeParameter

    from pipelines import pipeline

    def parameter(name, value):
        return RuntimeParameter(name=name.replace("_", "-"), ptype=type(value), default=value)

    machine = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec()
    machine.cpu_limit, machine.memory_limit = config.cpu_limit, config.memory_limit
    if config.accelerator:
        machine.accelerator.type, machine.accelerator.count = config.accelerator, config.accelerator_count
    root = config.pipeline_root.rstrip("/")
    created = pipeline.create_pipeline(
        pipeline_root=f"{root}/artifacts",
        # The platform keeps its own.
        metadata_connection_config=None,
        serving_folder=f"{root}/serving",
        hub_folder=f"{root}/hub",
        training_folder=f"{root}/training",
        beam_pipeline_args=list(config.beam_pipeline_args),
        own_resolvers=False,
        parameter=parameter,
        training_platform=machine,
        **settings.pipeline_arguments(config),
    )
    folder, name = os.path.split(os.path.abspath(config.spec))
    os.makedirs(folder, exist_ok=True)
    # Written beside the file and moved there, so that it is there whole or not at all.
    temporary = f"{name}.tmp-{os.getpid()}.json"
    runner_config = KubeflowV2DagRunnerConfig(display_name=config.name, default_image=config.image)
    job = KubeflowV2DagRunner(runner_config, output_dir=folder, output_filename=temporary).run(created)
    os.replace(os.path.join(folder, temporary), os.path.join(folder, name))
    console.say(f"Specification: {os.path.join(folder, name)}")
    return job


def main():
    """The command."""
    flags.main(run, lambda argv: configs.KubeflowConfig, DESCRIPTION)


if __name__ == "__main__":
    main()
