"""Which artifacts are kept, on stores described by hand."""

import os
import time

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from pipelines.local import housekeeping, store


def execution(id, run, node, inputs=(), outputs=(), earlier_models=(), state="COMPLETE"):
    return store.Execution(id, run, node, state, float(id), 1.0, inputs, outputs, earlier_models, {})


def artifact(id, type, producer, key="", **properties):
    return store.Artifact(id, type, f"/out/artifacts/{id}", "LIVE", properties, producer, key)


def chain(run, first, images=None, earlier=()):
    """Executions and artifacts of a run: images, tokens, model, blessing, pushed model; numbered from `first`."""
    ids = [images or first, *range(first + 1, first + 5)]
    image_examples, tokens, model, blessing, pushed = ids
    executions = [
        execution(first, run, "ImageExampleGen", outputs=(image_examples,), state="CACHED" if images else "COMPLETE"),
        execution(first + 1, run, "TokenMaterializer", (image_examples,), (tokens,)),
        execution(first + 2, run, "LanguageModelTrainer", (tokens,), (model,)),
        execution(first + 3, run, "GenerativeEvaluator", (model, *earlier), (blessing,), earlier),
        execution(first + 4, run, "Pusher", (model, blessing), (pushed,)),
    ]
    kinds = dict(zip(ids, ("Examples", "Examples", "Model", "ModelBlessing", "PushedModel"), strict=True))
    flags = {blessing: {"blessed": 1}, pushed: {"pushed": 1}}
    keys = {pushed: "pushed_model"}
    made = [
        artifact(each, kinds[each], each, keys.get(each, ""), **flags.get(each, {}))
        for each in ids
        if not images or each != images
    ]
    return executions, made


def contents(*runs):
    executions = {each.id: each for run in runs for each in run[0]}
    artifacts = {each.id: each for run in runs for each in run[1]}
    names = list(dict.fromkeys(each.run for each in executions.values()))
    return store.Contents(names, executions, artifacts)


def test_the_last_runs_keep_what_they_made_and_used():
    found = contents(chain("a", 1), chain("b", 11, images=1))
    assert housekeeping.needed_artifacts(found, 1) == {1, 12, 13, 14, 15}
    assert housekeeping.needed_artifacts(found, 2) == {1, 2, 3, 4, 5, 12, 13, 14, 15}


def test_what_the_last_pushed_model_is_made_of_stays_while_later_runs_push_nothing():
    later = ([execution(21, "b", "ImageExampleGen", outputs=(21,))], [artifact(21, "Examples", 21)])
    assert housekeeping.needed_artifacts(contents(chain("a", 1), later), 1) == {1, 2, 3, 4, 5, 21}


def test_the_model_that_the_last_one_was_compared_with_stays_and_not_what_that_was_made_of():
    found = contents(chain("a", 1), chain("b", 11, earlier=(3,)))
    assert housekeeping.needed_artifacts(found, 1) == {3, 11, 12, 13, 14, 15}


def test_ancestors_are_nearest_first_and_end_at_earlier_models():
    found = contents(chain("a", 1), chain("b", 11, earlier=(3,)))
    assert found.ancestors(15) == [15, 13, 14, 12, 3, 11]
    assert found.maker(15, "LanguageModelTrainer").id == 13
    assert found.maker(15, "StatisticsGen") is None


def test_a_model_was_outrun_when_another_was_pushed_since():
    first, second = chain("a", 1), chain("b", 11, earlier=(3,))
    assert not contents().was_outrun(3)
    assert not contents(first).was_outrun(3)
    # The second's evaluation compares it with the first.
    both = contents(first, second)
    assert both.was_outrun(3) and not both.was_outrun(13)


def make_store(output):
    """An empty metadata store with the types of TFX's stores."""
    os.makedirs(os.path.dirname(os.path.join(output, store.FILE)))
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = os.path.join(output, store.FILE)
    made = metadata_store.MetadataStore(connection)
    kinds = {
        name: made.put_context_type(metadata_store_pb2.ContextType(name=name)) for name in ("pipeline_run", "node")
    }
    return made, kinds


def put_execution(made, kinds, run, node, state):
    kind = made.put_execution_type(metadata_store_pb2.ExecutionType(name=node))
    contexts = [
        metadata_store_pb2.Context(type_id=kinds["pipeline_run"], name=run),
        metadata_store_pb2.Context(type_id=kinds["node"], name=f"p.{node}"),
    ]
    record = metadata_store_pb2.Execution(type_id=kind, last_known_state=state)
    return made.put_execution(record, [], contexts, reuse_context_if_already_exist=True)[0]


def test_a_killed_execution_is_closed_and_what_it_wrote_is_gone(tmp_path):
    made, kinds = make_store(str(tmp_path))
    state = metadata_store_pb2.Execution
    done = put_execution(made, kinds, "a", "SchemaGen", state.COMPLETE)
    killed = put_execution(made, kinds, "b", "SchemaGen", state.RUNNING)
    for number in (done, killed):
        (tmp_path / "artifacts" / "SchemaGen" / "schema" / str(number)).mkdir(parents=True)
        (tmp_path / "artifacts" / "SchemaGen" / ".system" / "executor_execution" / str(number)).mkdir(parents=True)
    assert housekeeping.close_killed_executions(str(tmp_path)) == ["SchemaGen"]
    states = [each.state for each in store.read(store.open_store(str(tmp_path))).executions.values()]
    assert states == ["COMPLETE", "FAILED"]
    assert os.listdir(tmp_path / "artifacts" / "SchemaGen" / "schema") == [str(done)]
    assert os.listdir(tmp_path / "artifacts" / "SchemaGen" / ".system" / "executor_execution") == [str(done)]
    assert housekeeping.close_killed_executions(str(tmp_path)) == []


def test_a_version_that_a_killed_pusher_finished_is_removed_and_nobody_else_s(tmp_path):
    made, kinds = make_store(str(tmp_path))
    put_execution(made, kinds, "a", "Pusher", metadata_store_pb2.Execution.RUNNING)
    now = int(time.time())
    names = [str(now + 1), "7", str(now - 1000), "models"]
    for name in names:
        (tmp_path / "serving" / name).mkdir(parents=True)
    housekeeping.close_killed_executions(str(tmp_path))
    assert sorted(os.listdir(tmp_path / "serving")) == sorted(names[1:])


def test_without_a_store_there_is_nothing_to_close(tmp_path):
    assert housekeeping.close_killed_executions(str(tmp_path)) == []
    assert os.listdir(tmp_path) == []


def test_folders_outside_the_pipeline_s_own_are_never_removed(tmp_path):
    made, kinds = make_store(str(tmp_path))
    outside, inside = tmp_path / "mine", tmp_path / "artifacts" / "Old" / "out" / "1"
    kind = made.put_artifact_type(metadata_store_pb2.ArtifactType(name="Examples"))
    for folder in (outside, inside):
        folder.mkdir(parents=True)
        (folder / "file").write_text("12345")
        record = metadata_store_pb2.Artifact(type_id=kind, uri=str(folder), state=metadata_store_pb2.Artifact.LIVE)
        made.put_artifacts([record])
    put_execution(made, kinds, "a", "SchemaGen", metadata_store_pb2.Execution.COMPLETE)
    assert housekeeping.collect(str(tmp_path), 1) == (1, 5)
    assert outside.exists() and not inside.exists()
    states = [each.state for each in store.read(store.open_store(str(tmp_path))).artifacts.values()]
    assert states == ["LIVE", "DELETED"]


def test_keeping_all_removes_nothing(tmp_path):
    assert housekeeping.collect(str(tmp_path), 0) == (0, 0)


def test_a_training_that_no_kept_run_touched_is_removed(tmp_path):
    made, kinds = make_store(str(tmp_path))
    put_execution(made, kinds, "a", "SchemaGen", metadata_store_pb2.Execution.COMPLETE)
    for name, age in (("old", 3600), ("new", -3600)):
        folder = tmp_path / "training" / name / "workdir"
        folder.mkdir(parents=True)
        (folder / "checkpoint").write_text("123")
        for path in (folder / "checkpoint", folder, folder.parent):
            os.utime(path, (time.time() - age,) * 2)
    assert housekeeping.collect(str(tmp_path), 1) == (0, 3)
    assert os.listdir(tmp_path / "training") == ["new"]
