"""Finds the earlier model that a run is compared with or starts from.

Both strategies exclude the model that this run makes, so that a run in which nothing changed resolves the same model as
the run before it, and is served from the cache.
"""

import json

from ml_metadata.proto import metadata_store_pb2
from tfx.components.evaluator import constants
from tfx.dsl.components.common.resolver import ResolverStrategy

LIVE = metadata_store_pb2.Artifact.LIVE


class LastOtherBlessedModel(ResolverStrategy):
    """The latest blessed model other than the candidate.

    Inputs `model` and `blessing` hold all artifacts of the pipeline, `candidate` the model to be compared; each is
    returned with the chosen artifacts, `model` and `blessing` empty if there are none.
    """

    def resolve_artifacts(self, store, input_dict):
        candidates = {artifact.id for artifact in input_dict["candidate"]}
        return input_dict | _chosen(blessed_models(input_dict), lambda model: model.id not in candidates)


class LastBlessedModelOfOtherTraining(ResolverStrategy):
    """The latest blessed model whose tokenizer was not trained as this run trains it.

    Inputs are `model` and `blessing`, all artifacts of the pipeline, and `examples`, the images of this run.

    Args:
        trainer: str, id of the component that trains the tokenizer.
        custom_config: str, JSON of its `custom_config`.
    """

    def __init__(self, trainer, custom_config):
        self._trainer = trainer
        self._custom_config = json.loads(custom_config)

    def resolve_artifacts(self, store, input_dict):
        examples = {artifact.id for artifact in input_dict["examples"]}

        def is_other(model):
            training = _ancestor(store, model.id, self._trainer)
            if training is None:
                return True
            custom_config = json.loads(training.custom_properties["custom_config"].string_value or "null")
            return custom_config != self._custom_config or not examples & set(_inputs(store, training.id))

        return input_dict | _chosen(blessed_models(input_dict), is_other)


def blessed_models(input_dict):
    """Pairs of a blessed model and its blessing, latest blessing first, of models that still exist."""
    models = {model.id: model for model in input_dict["model"] if model.mlmd_artifact.state == LIVE}
    blessings = sorted(input_dict["blessing"], key=lambda blessing: blessing.id, reverse=True)
    return [
        (models[model_id], blessing)
        for blessing in blessings
        if blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == 1
        and (model_id := blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY)) in models
    ]


def _chosen(pairs, is_wanted):
    found = next((pair for pair in pairs if is_wanted(pair[0])), None)
    return {"model": [found[0]], "blessing": [found[1]]} if found else {"model": [], "blessing": []}


def _ancestor(store, artifact_id, node):
    """The execution of a node that an artifact was made from, or None."""
    contexts = [context for context in store.get_contexts_by_type("node") if context.name.endswith(f".{node}")]
    wanted = {
        execution.id: execution for context in contexts for execution in store.get_executions_by_context(context.id)
    }
    left, seen = [artifact_id], set()
    while left:
        current = left.pop()
        producer = _producer(store, current)
        if producer is None or producer in seen:
            continue
        seen.add(producer)
        if producer in wanted:
            return wanted[producer]
        left += _inputs(store, producer)
    return None


def _producer(store, artifact_id):
    events = store.get_events_by_artifact_ids([artifact_id])
    # Of the executions with this output, all but the first took it from the cache.
    return min((each.execution_id for each in events if each.type == metadata_store_pb2.Event.OUTPUT), default=None)


def _inputs(store, execution_id):
    events = store.get_events_by_execution_ids([execution_id])
    return [each.artifact_id for each in events if each.type == metadata_store_pb2.Event.INPUT]
