"""TFX's Pusher with a unique version for every push."""

import os
import time

from google.protobuf import json_format
from tfx import components
from tfx.components.pusher import executor
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2


class Executor(executor.Executor):
    """Waits for a second in which nothing has been pushed yet, then pushes.

    TFX names a version by the second. If a folder of that name exists, its executor copies nothing, but still reports
    that it pushed the model as that version, although the folder holds another model.
    """

    def Do(self, input_dict, output_dict, exec_properties):
        """See TFX's `Executor.Do`."""
        destination = json_format.Parse(exec_properties["push_destination"], pusher_pb2.PushDestination())
        while fileio.exists(os.path.join(destination.filesystem.base_directory, str(int(time.time())))):
            time.sleep(0.05)
        super().Do(input_dict, output_dict, exec_properties)


class Pusher(components.Pusher):
    """TFX's Pusher to a folder, with the executor above; no other run may push there at the same time."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
