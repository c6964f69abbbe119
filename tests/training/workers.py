"""Runs several processes that train together."""

import json
import os
import socket
import subprocess
import sys
import time

# For processes that import TensorFlow and trace a step on busy cores.
TIMEOUT = 300


def run_two(script, log_folder, *arguments):
    """Runs a script as two workers of one cluster, over the loopback interface.

    Args:
        script: path of the script, which finds its cluster in TF_CONFIG.
        log_folder: pathlib.Path, for what they write to standard error.
        *arguments: of the script.

    Returns:
        (list of their exit statuses, list of their standard error).
    """
    with socket.socket() as one, socket.socket() as other:
        for listener in (one, other):
            listener.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{listener.getsockname()[1]}" for listener in (one, other)]
    command = [sys.executable, script, *map(str, arguments)]
    processes = []
    # Files, since a worker that waits for its pipe to be read would make the other wait for it.
    logs = [log_folder / f"worker{index}.log" for index in range(2)]
    for index, log in enumerate(logs):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        with log.open("w") as file:
            processes.append(
                subprocess.Popen(command, env=os.environ | {"TF_CONFIG": json.dumps(cluster)}, stderr=file)
            )
    deadline = time.monotonic() + TIMEOUT
    try:
        statuses = [process.wait(max(deadline - time.monotonic(), 1)) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return statuses, [log.read_text() for log in logs]
