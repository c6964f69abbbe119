"""The earlier model that is found."""

import json

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts

from pipelines.components import resolvers

LIVE, DELETED = metadata_store_pb2.Artifact.LIVE, metadata_store_pb2.Artifact.DELETED


def model(id, state=LIVE):
    artifact = standard_artifacts.Model()
    artifact.id = id
    artifact.mlmd_artifact.state = state
    return artifact


def blessing(id, of, blessed=1):
    artifact = standard_artifacts.ModelBlessing()
    artifact.id = id
    artifact.set_int_custom_property("blessed", blessed)
    artifact.set_int_custom_property("current_model_id", of)
    return artifact


def found(models, blessings, candidate):
    inputs = {"model": models, "blessing": blessings, "candidate": [model(candidate)]}
    outputs = resolvers.LastOtherBlessedModel().resolve_artifacts(None, inputs)
    assert [each.id for each in outputs["candidate"]] == [candidate]
    return [each.id for each in outputs["model"]]


def test_the_blessed_model_before_the_candidate_is_found():
    models = [model(1), model(2), model(3)]
    blessings = [blessing(11, 1), blessing(12, 2), blessing(13, 3)]
    assert found(models, blessings, candidate=3) == [2]
    assert found(models, blessings[:2], candidate=3) == [2]


def test_a_candidate_that_is_an_earlier_model_again_is_compared_with_the_later_one():
    models = [model(1), model(2)]
    assert found(models, [blessing(11, 1), blessing(12, 2)], candidate=1) == [2]


def test_a_model_that_was_refused_or_removed_is_skipped():
    models = [model(1), model(2, DELETED), model(3), model(4)]
    blessings = [blessing(11, 1), blessing(12, 2), blessing(13, 3, blessed=0)]
    assert found(models, blessings, candidate=4) == [1]


def test_the_last_blessing_counts_where_a_model_has_several():
    models = [model(1), model(2)]
    assert found(models, [blessing(11, 1), blessing(12, 2), blessing(13, 1)], candidate=9) == [1]


def test_the_first_run_finds_none():
    assert found([model(1)], [], candidate=1) == []


class Store:
    """A metadata store with one pipeline's trainings of tokenizers."""

    def __init__(self):
        connection = metadata_store_pb2.ConnectionConfig()
        connection.fake_database.SetInParent()
        self.store = metadata_store.MetadataStore(connection)
        self._artifact = self.store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Model"))
        self._execution = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer"))
        self._context = self.store.put_context_type(metadata_store_pb2.ContextType(name="node"))

    def artifact(self):
        return self.store.put_artifacts([metadata_store_pb2.Artifact(type_id=self._artifact, state=LIVE)])[0]

    def run(self, node, inputs, custom_config=None):
        """Id of the output of an execution."""
        record = metadata_store_pb2.Execution(type_id=self._execution)
        if custom_config:
            record.custom_properties["custom_config"].string_value = json.dumps(custom_config)
        events = [(each, metadata_store_pb2.Event.INPUT) for each in inputs]
        output = self.artifact()
        events.append((output, metadata_store_pb2.Event.OUTPUT))
        pairs = [
            (
                metadata_store_pb2.Artifact(id=each, type_id=self._artifact, state=LIVE),
                metadata_store_pb2.Event(type=kind),
            )
            for each, kind in events
        ]
        context = metadata_store_pb2.Context(type_id=self._context, name=f"pipeline.{node}")
        self.store.put_execution(record, pairs, [context], reuse_context_if_already_exist=True)
        return output

    def train(self, examples, custom_config):
        """Id of a model whose tokenizer was trained this way."""
        tokenizer = self.run("TokenizerTrainer", [examples], custom_config)
        tokens = self.run("TokenMaterializer", [examples, tokenizer])
        return self.run("LanguageModelTrainer", [tokens, tokenizer])


def start(made, models, examples, custom_config):
    images = standard_artifacts.Examples()
    images.id = examples
    inputs = {
        "model": [model(each) for each in models],
        "blessing": [blessing(100 + each, each) for each in models],
        "examples": [images],
    }
    strategy = resolvers.LastBlessedModelOfOtherTraining("TokenizerTrainer", json.dumps(custom_config))
    return [each.id for each in strategy.resolve_artifacts(made.store, inputs)["model"]]


def test_a_training_with_other_images_or_settings_starts_from_the_last_blessed_model():
    made = Store()
    images, more_images = made.artifact(), made.artifact()
    first = made.train(images, {"steps": 1})
    assert start(made, [first], more_images, {"steps": 1}) == [first]
    assert start(made, [first], images, {"steps": 2}) == [first]
    second = made.train(more_images, {"steps": 1})
    assert start(made, [first, second], images, {"steps": 2}) == [second]


def test_the_same_training_again_starts_where_it_started_before():
    made = Store()
    images = made.artifact()
    first = made.train(images, {"steps": 1})
    assert start(made, [first], images, {"steps": 1}) == []
    second = made.train(images, {"steps": 2})
    assert start(made, [first, second], images, {"steps": 2}) == [first]
