"""Every push gets a unique version."""

import os
import time

from google.protobuf import json_format
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts

from pipelines.components import pusher


def push(model_folder, archive, serving_folder):
    """Runs Pusher's executor on a model; returns the PushedModel artifact."""
    model, pushed = standard_artifacts.Model(), standard_artifacts.PushedModel()
    model.uri, pushed.uri = str(model_folder), str(archive)
    destination = pusher_pb2.PushDestination(
        filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(serving_folder))
    )
    executor = pusher.Pusher.EXECUTOR_SPEC.executor_class()
    executor.Do(
        {"model": [model]}, {"pushed_model": [pushed]}, {"push_destination": json_format.MessageToJson(destination)}
    )
    return pushed


def test_a_second_push_within_a_second_is_not_taken_for_the_first(tmp_path):
    serving = tmp_path / "serving"
    models = {}
    for name in ("one", "other"):
        models[name] = tmp_path / name / "Format-Serving"
        models[name].mkdir(parents=True)
        (models[name] / "saved_model.pb").write_text(name)
    # The next second is taken too, so that the clash also happens on a slow machine.
    now = int(time.time())
    for second in (now, now + 1):
        (serving / str(second)).mkdir(parents=True)
    versions = []
    for name in models:
        pushed = push(tmp_path / name, tmp_path / f"{name}_archive", serving)
        version = pushed.get_string_custom_property("pushed_version")
        assert pushed.get_int_custom_property("pushed") == 1
        assert pushed.get_string_custom_property("pushed_destination") == str(serving / version)
        assert (serving / version / "saved_model.pb").read_text() == name
        versions.append(int(version))
    assert now + 1 < versions[0] < versions[1]
    assert sorted(map(int, os.listdir(serving))) == [now, now + 1, *versions]
