"""Runs a pipeline's components one after another in this process, and prints a line for each."""

import dataclasses
import datetime
import time

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, partial_run_utils, runtime_parameter_utils, tfx_runner
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.types import artifact_utils

from pipelines.local import store as stores
from vim_tf.errors import InputError

CACHED = metadata_store_pb2.Execution.CACHED
COMPLETE = metadata_store_pb2.Execution.COMPLETE
RESOLVER = "tfx.dsl.components.common.resolver.Resolver"


@dataclasses.dataclass(frozen=True)
class ComponentRun:
    """The outcome of one component.

    Attributes:
        cached: whether an earlier run's outputs were used.
        seconds: duration.
        outputs: dict from output name to its one artifact; empty for a resolver that found nothing.
    """

    cached: bool
    seconds: float
    outputs: dict


class ReportingRunner(tfx_runner.IrBasedRunner):
    """TFX's LocalDagRunner with progress output and a result.

    LocalDagRunner says neither whether a component was served from the cache nor where its outputs are, and it
    continues if the inputs of a component are missing.

    Args:
        say: function of one line of text.
        is_outdated: function of a component's id and the dict of ComponentRun so far: whether it must run even if the
            cache has its outputs.
    """

    def __init__(self, say, is_outdated=lambda name, runs: False):
        self._say = say
        self._is_outdated = is_outdated

    def run_with_ir(self, pipeline, run_options=None, **kwargs):
        """Runs a compiled pipeline, or a part of it.

        Args:
            pipeline: pipeline_pb2.Pipeline.
            run_options: pipeline_pb2.RunOptions; its `partial_run` names the components to run from and to. Those
                before them keep the outputs of the last run that has them; those to run from are not served from the
                cache.

        Returns:
            dict from component id to ComponentRun, in the order of execution; a partial run leaves out components
            without outputs.

        Raises:
            InputError: no earlier run has the outputs that a partial run needs, or the pipeline has no such component.
            RuntimeError: a component did not run because its inputs are missing.
            Exception: what a component raised.
        """
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: datetime.datetime.now().isoformat()}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = deployment.metadata_connection_config
        connection = getattr(connection, connection.WhichOneof("connection_config"))
        runs = {}
        if run_options:
            runs = self._reuse(pipeline, connection, run_options.partial_run)
        for number, node in enumerate(pipeline.nodes, start=1):
            name = node.pipeline_node.node_info.id
            if node.pipeline_node.execution_options.HasField("skip"):
                continue
            head = f"[{number}/{len(pipeline.nodes)}] {name}"
            self._say(f"{head} ...")
            if self._is_outdated(name, runs):
                node.pipeline_node.execution_options.caching_options.enable_cache = False
            start = time.monotonic()
            try:
                runs[name] = _launch(pipeline, node.pipeline_node, deployment, connection)
            except BaseException:
                self._say(f"{head} failed after {time.monotonic() - start:.0f} s")
                raise
            self._say(f"{head} {_outcome(node.pipeline_node, runs[name])} in {runs[name].seconds:.0f} s")
        return runs

    def _reuse(self, pipeline, connection, partial_run):
        """Marks the components that a partial run skips, and links the outputs of the base run to this one."""
        _mark(pipeline, list(partial_run.from_nodes), list(partial_run.to_nodes))
        skipped = {
            node.pipeline_node.node_info.id: node.pipeline_node.execution_options.skip
            for node in pipeline.nodes
            if node.pipeline_node.execution_options.HasField("skip")
        }
        required = [name for name, skip in skipped.items() if skip.reuse_artifacts_mode == skip.REQUIRED]
        if not required:
            return {}
        with metadata.Metadata(connection) as store:
            base = _base_run(store.store, pipeline.pipeline_info.id, required)
            self._say(f"Using the outputs of run {base.name} for {', '.join(required)}.")
            partial_run_utils.snapshot(store, pipeline, base_run_id=base.name)
            executions = _executions_by_node(store.store, base)
            return {
                name: ComponentRun(True, 0.0, _outputs(store, executions[name].id))
                for name, skip in skipped.items()
                # Outputs downstream of the components that run weren't made from theirs.
                if name in executions and skip.reuse_artifacts_mode != skip.NEVER
            }


def _launch(pipeline, node, deployment, connection):
    name = node.node_info.id
    start = time.monotonic()
    execution = launcher.Launcher(
        pipeline_node=node,
        mlmd_connection=metadata.Metadata(connection),
        pipeline_info=pipeline.pipeline_info,
        pipeline_runtime_spec=pipeline.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, name),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
    ).launch()
    with metadata.Metadata(connection) as store:
        executions = store.store.get_executions_by_id([execution.execution_id]) if execution.execution_id else []
        if not executions or executions[0].last_known_state not in (CACHED, COMPLETE):
            raise RuntimeError(f"component {name} did not run: its inputs could not be found in the metadata store")
        if node.node_info.type.name == RESOLVER:
            outputs = {key: artifacts[0] for key, artifacts in execution.output_dict.items() if artifacts}
        else:
            outputs = _outputs(store, execution.execution_id)
    return ComponentRun(executions[0].last_known_state == CACHED, time.monotonic() - start, outputs)


def _outcome(node, run):
    if node.node_info.type.name == RESOLVER:
        return f"found model {run.outputs['model'].id}" if "model" in run.outputs else "found no model"
    return "taken from the cache" if run.cached else "finished"


def _outputs(store, execution_id):
    outputs = execution_lib.get_output_artifacts(store, execution_id)
    return {key: artifacts[0] for key, artifacts in outputs.items()}


def _mark(pipeline, from_nodes, to_nodes):
    names = [node.pipeline_node.node_info.id for node in pipeline.nodes]
    for flag, chosen in (("from_node", from_nodes), ("to_node", to_nodes)):
        for name in chosen:
            if name not in names:
                raise InputError(f"--{flag}={name} isn't a component of the pipeline; they are {', '.join(names)}")
    partial_run_utils.mark_pipeline(pipeline, from_nodes or None, to_nodes or None)
    for node in pipeline.nodes:
        # Whoever runs from a component wants it to run again.
        if node.pipeline_node.node_info.id in from_nodes:
            node.pipeline_node.execution_options.caching_options.enable_cache = False
    if not any(node.pipeline_node.execution_options.HasField("run") for node in pipeline.nodes):
        raise InputError(f"--from_node={from_nodes[0]} does not lead to --to_node={to_nodes[0]}: nothing would run")


def _base_run(store, pipeline_name, required):
    """The last run that made, or took from the cache, the outputs of all required components.

    Raises:
        InputError: there is none.
    """
    pipeline = store.get_context_by_type_and_name("pipeline", pipeline_name)
    own = {execution.id for execution in store.get_executions_by_context(pipeline.id)} if pipeline else set()
    runs = sorted(store.get_contexts_by_type("pipeline_run"), key=lambda run: run.id, reverse=True)
    for run in runs:
        if not own & {execution.id for execution in store.get_executions_by_context(run.id)}:
            continue
        executions = _executions_by_node(store, run)
        if all(name in executions and _is_usable(store, executions[name]) for name in required):
            return run
    raise InputError(
        f"no earlier run of pipeline {pipeline_name} has the outputs of {', '.join(required)}: run once without "
        "--from_node, or from an earlier component"
    )


def _executions_by_node(store, run):
    """{component id: its successful execution} of a run."""
    found = {}
    for execution in store.get_executions_by_context(run.id):
        if execution.last_known_state in (CACHED, COMPLETE):
            for context in store.get_contexts_by_execution(execution.id):
                if context.type == "node":
                    found[stores.component_of(context.name)] = execution
    return found


def _is_usable(store, execution):
    """Whether an execution's outputs still exist."""
    events = store.get_events_by_execution_ids([execution.id])
    outputs = [each.artifact_id for each in events if each.type == metadata_store_pb2.Event.OUTPUT]
    artifacts = store.get_artifacts_by_id(outputs)
    if any(artifact.state != metadata_store_pb2.Artifact.LIVE for artifact in artifacts):
        return False
    types = store.get_artifact_types_by_id([artifact.type_id for artifact in artifacts])
    try:
        artifact_utils.verify_artifacts(
            [artifact_utils.deserialize_artifact(*pair) for pair in zip(types, artifacts, strict=True)]
        )
    except RuntimeError:
        return False
    return True
