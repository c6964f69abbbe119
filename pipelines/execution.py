"""Runs a pipeline's components one after another in this process, with a line for each."""

import dataclasses
import datetime
import time

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils, tfx_runner
from tfx.orchestration.portable.mlmd import execution_lib

CACHED = metadata_store_pb2.Execution.CACHED
COMPLETE = metadata_store_pb2.Execution.COMPLETE


@dataclasses.dataclass(frozen=True)
class ComponentRun:
    """What became of one component.

    Attributes:
        cached: whether an earlier run's outputs were taken.
        seconds: time it took.
        outputs: dict from output name to the one artifact under it.
    """

    cached: bool
    seconds: float
    outputs: dict


class ReportingRunner(tfx_runner.IrBasedRunner):
    """TFX's LocalDagRunner that says what it does, and returns it.

    LocalDagRunner tells neither whether a component was served from the cache nor where its outputs are, and it goes
    on where the inputs of a component are missing.

    Args:
        say: function of one line of text.
    """

    def __init__(self, say):
        self._say = say

    def run_with_ir(self, pipeline, run_options=None, **kwargs):
        """Runs a compiled pipeline.

        Returns:
            dict from component id to ComponentRun, in the order of the runs.

        Raises:
            RuntimeError: a component did not run since its inputs are missing.
            Exception: what a component raised.
        """
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: datetime.datetime.now().isoformat()}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = deployment.metadata_connection_config
        connection = getattr(connection, connection.WhichOneof("connection_config"))
        runs = {}
        for number, node in enumerate(pipeline.nodes, start=1):
            name = node.pipeline_node.node_info.id
            head = f"[{number}/{len(pipeline.nodes)}] {name}"
            self._say(f"{head} ...")
            component_launcher = launcher.Launcher(
                pipeline_node=node.pipeline_node,
                mlmd_connection=metadata.Metadata(connection),
                pipeline_info=pipeline.pipeline_info,
                pipeline_runtime_spec=pipeline.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, name),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
            )
            start = time.monotonic()
            try:
                execution = component_launcher.launch()
            except BaseException:
                self._say(f"{head} failed after {time.monotonic() - start:.0f} s")
                raise
            runs[name] = _component_run(connection, name, execution.execution_id, time.monotonic() - start)
            how = "taken from the cache" if runs[name].cached else "finished"
            self._say(f"{head} {how} in {runs[name].seconds:.0f} s")
        return runs


def _component_run(connection, name, execution_id, seconds):
    with metadata.Metadata(connection) as store:
        executions = store.store.get_executions_by_id([execution_id]) if execution_id else []
        if not executions or executions[0].last_known_state not in (CACHED, COMPLETE):
            raise RuntimeError(f"component {name} did not run: its inputs could not be found in the metadata store")
        outputs = execution_lib.get_output_artifacts(store, execution_id)
    return ComponentRun(
        cached=executions[0].last_known_state == CACHED,
        seconds=seconds,
        outputs={key: artifacts[0] for key, artifacts in outputs.items()},
    )
