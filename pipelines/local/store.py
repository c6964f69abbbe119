"""Reads the contents of a metadata store as plain values, without TensorFlow or TFX."""

import collections
import dataclasses
import os

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from vim_tf.errors import InputError

FILE = os.path.join("metadata", "metadata.sqlite")
FAILED = metadata_store_pb2.Execution.FAILED
RUNNING = metadata_store_pb2.Execution.RUNNING
DELETED = metadata_store_pb2.Artifact.DELETED
# Component inputs that hold a model of another training.
_EARLIER_MODELS = {("TokenizerTrainer", "base_model"), ("GenerativeEvaluator", "baseline_model")}
_OUTPUTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.INTERNAL_OUTPUT)


@dataclasses.dataclass(frozen=True)
class Artifact:
    """One artifact.

    Attributes:
        id: int.
        type: str, such as Model.
        uri: str, its folder.
        state: str, such as LIVE.
        properties: dict from str to str, int or float, including custom ones.
        producer: id of the execution that made it, and `key`, the output's name.
    """

    id: int
    type: str
    uri: str
    state: str
    properties: dict
    producer: int | None
    key: str


@dataclasses.dataclass(frozen=True)
class Execution:
    """One execution of a component.

    Attributes:
        id: int.
        run: str, name of the run.
        node: str, id of the component.
        state: str, such as COMPLETE or CACHED.
        started: float, seconds since 1970.
        seconds: float, between the first and the last change of its record.
        inputs, outputs: tuple of int, ids of artifacts.
        earlier_models: those of the inputs that are a model of another training, to start from or compare with.
        properties: dict from str to str, int or float, the component's parameters.
    """

    id: int
    run: str
    node: str
    state: str
    started: float
    seconds: float
    inputs: tuple
    outputs: tuple
    earlier_models: tuple
    properties: dict


@dataclasses.dataclass(frozen=True)
class Contents:
    """All of a store.

    Attributes:
        runs: list of str, names, oldest first.
        executions: dict from id to Execution, oldest first.
        artifacts: dict from id to Artifact.
    """

    runs: list
    executions: dict
    artifacts: dict

    def of_run(self, run):
        """Executions of a run, in their order."""
        return [execution for execution in self.executions.values() if execution.run == run]

    def ancestors(self, artifact_id):
        """Ids of all artifacts that an artifact was made from, nearest first, including itself.

        An earlier model that an execution starts from or compares with is included, but not what it was made from.
        """
        left, found = collections.deque([artifact_id]), {artifact_id: None}
        while left:
            producer = self.artifacts[left.popleft()].producer
            if producer is None:
                continue
            execution = self.executions[producer]
            for each in execution.inputs:
                if each not in found and each not in execution.earlier_models:
                    left.append(each)
                found.setdefault(each)
        return list(found)

    def maker(self, artifact_id, node):
        """The execution of a component that an artifact was made by or from, or None."""
        for each in self.ancestors(artifact_id):
            producer = self.executions.get(self.artifacts[each].producer)
            if producer and producer.node == node:
                return producer
        return None

    def pushes(self):
        """PushedModel artifacts of what Pusher pushed, oldest first."""
        return [
            each
            for each in self.artifacts.values()
            if each.type == "PushedModel" and each.properties.get("pushed") == 1 and each.key == "pushed_model"
        ]

    def was_outrun(self, model_id):
        """Whether the last pushed model is another one than this Model artifact."""
        pushes = self.pushes()
        return bool(pushes) and model_id not in self.executions[pushes[-1].producer].inputs


def component_of(node):
    """The component's id in the name of a node's context, `<pipeline>.<id>`; the pipeline's name may have dots."""
    return node.rpartition(".")[2]


def open_store(output, *, writable=False):
    """The metadata store of an output folder.

    Raises:
        InputError: there is none; it is never created.
    """
    path = os.path.join(output, FILE)
    if not os.path.exists(path):
        raise InputError(f"--output={output} holds no {FILE}: no pipeline has run there")
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = path
    mode = metadata_store_pb2.SqliteMetadataSourceConfig
    connection.sqlite.connection_mode = mode.READWRITE if writable else mode.READONLY
    return metadata_store.MetadataStore(connection)


def read(store):
    """Contents of a store."""
    contexts = {kind: store.get_contexts_by_type(kind) for kind in ("pipeline_run", "node")}
    runs = sorted(contexts["pipeline_run"], key=lambda context: context.id)
    run_of = {each.id: run.name for run in runs for each in store.get_executions_by_context(run.id)}
    node_of = {
        each.id: component_of(node.name)
        for node in contexts["node"]
        for each in store.get_executions_by_context(node.id)
    }
    records = sorted(store.get_executions(), key=lambda record: record.id)
    events = store.get_events_by_execution_ids([record.id for record in records]) if records else []
    events_of = collections.defaultdict(list)
    for event in events:
        events_of[event.execution_id].append(event)
    executions = {}
    for record in records:
        own = events_of[record.id]
        node = node_of.get(record.id, "")
        executions[record.id] = Execution(
            id=record.id,
            run=run_of.get(record.id, ""),
            node=node,
            state=metadata_store_pb2.Execution.State.Name(record.last_known_state),
            started=record.create_time_since_epoch / 1000,
            seconds=(record.last_update_time_since_epoch - record.create_time_since_epoch) / 1000,
            inputs=tuple(event.artifact_id for event in own if event.type == metadata_store_pb2.Event.INPUT),
            outputs=tuple(event.artifact_id for event in own if event.type in _OUTPUTS),
            earlier_models=tuple(
                event.artifact_id for event in own if (node, event.path.steps[0].key) in _EARLIER_MODELS
            ),
            properties=_values(record.properties) | _values(record.custom_properties),
        )
    return Contents([run.name for run in runs], executions, _artifacts(store, events))


def _artifacts(store, events):
    types = {kind.id: kind.name for kind in store.get_artifact_types()}
    # Of the executions with this output, all but the first took it from the cache.
    made = {}
    for event in sorted(events, key=lambda event: event.execution_id):
        if event.type == metadata_store_pb2.Event.OUTPUT:
            made.setdefault(event.artifact_id, (event.execution_id, event.path.steps[0].key))
    return {
        record.id: Artifact(
            id=record.id,
            type=types[record.type_id],
            uri=record.uri,
            state=metadata_store_pb2.Artifact.State.Name(record.state),
            properties=_values(record.properties) | _values(record.custom_properties),
            producer=made.get(record.id, (None, ""))[0],
            key=made.get(record.id, (None, ""))[1],
        )
        for record in sorted(store.get_artifacts(), key=lambda record: record.id)
    }


def _values(properties):
    return {name: getattr(value, value.WhichOneof("value")) for name, value in properties.items()}
