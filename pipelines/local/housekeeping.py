"""Cleans up after killed runs, and removes what is no longer needed."""

import os
import shutil

from pipelines.local import publish
from pipelines.local import store as stores

# TFX's folder for what a component writes besides its artifacts.
SYSTEM_FOLDER = ".system"


def close_killed_executions(output):
    """Marks executions that never ended as failed and removes what they wrote; the caller holds the folder's lock.

    TFX records outputs when a component ends, so the store doesn't know what a killed one wrote.

    Args:
        output: folder of the pipeline.

    Returns:
        list of str, the components' ids.
    """
    if not os.path.exists(os.path.join(output, stores.FILE)):
        return []
    store = stores.open_store(output, writable=True)
    contents = stores.read(store)
    killed = [execution for execution in contents.executions.values() if execution.state == "RUNNING"]
    for execution in killed:
        if execution.node == "Pusher":
            _remove_unrecorded_pushes(os.path.join(output, "serving"), contents, execution.started)
        for folder in _folders_of(output, execution):
            shutil.rmtree(folder, ignore_errors=True)
        (record,) = store.get_executions_by_id([execution.id])
        record.last_known_state = stores.FAILED
        record.custom_properties["reason"].string_value = "the process ended before the component did"
        store.put_executions([record])
    return [execution.node for execution in killed]


def collect(output, keep_runs):
    """Removes artifacts that only older runs made or used, and marks them as deleted so that no cache serves them.

    It keeps the artifacts of the last runs, including cached ones, and everything that the last pushed and the last
    blessed model were made from. Pushed models always stay; dropping them is up to the model servers.

    Args:
        output: folder of the pipeline.
        keep_runs: int, number of last runs to keep; 0 = all.

    Returns:
        (number of artifacts, bytes) that were removed.
    """
    if not keep_runs:
        return 0, 0
    store = stores.open_store(output, writable=True)
    contents = stores.read(store)
    needed = needed_artifacts(contents, keep_runs)
    root = os.path.join(output, "artifacts", "")
    removed, size = [], 0
    for artifact in contents.artifacts.values():
        # Nothing outside the pipeline's folder is touched, no matter what the store says.
        if artifact.state == "LIVE" and artifact.id not in needed and artifact.uri.startswith(root):
            size += _size(artifact.uri)
            shutil.rmtree(artifact.uri, ignore_errors=True)
            removed.append(artifact.id)
    records = store.get_artifacts_by_id(removed) if removed else []
    for record in records:
        record.state = stores.DELETED
    if records:
        store.put_artifacts(records)
    size += _remove_old_trainings(os.path.join(output, "training"), contents, keep_runs)
    return len(removed), size


def needed_artifacts(contents, keep_runs):
    """Ids of the artifacts that `collect` keeps: set of int.

    Args:
        contents: store.Contents.
        keep_runs: int, at least 1.
    """
    roots = set()
    for run in contents.runs[-keep_runs:]:
        for execution in contents.of_run(run):
            roots |= {*execution.inputs, *execution.outputs}
    live = [artifact for artifact in contents.artifacts.values() if artifact.state == "LIVE"]
    for kind, flag in (("PushedModel", "pushed"), ("ModelBlessing", "blessed")):
        last = [artifact.id for artifact in live if artifact.type == kind and artifact.properties.get(flag) == 1][-1:]
        for each in last:
            roots |= {*contents.ancestors(each)}
            # The reports and verdicts made along with it.
            for execution in contents.executions.values():
                if each in execution.outputs:
                    roots |= {*execution.inputs, *execution.outputs}
    return roots


def _remove_unrecorded_pushes(serving_folder, contents, since):
    """Removes versions that a killed Pusher finished, which the next one would push again under another number."""
    known = {artifact.properties.get("pushed_version") for artifact in contents.artifacts.values()}
    for name in os.listdir(serving_folder) if os.path.isdir(serving_folder) else ():
        if publish.is_version(name) and name not in known and int(name) >= int(since):
            shutil.rmtree(os.path.join(serving_folder, name))


def _folders_of(output, execution):
    """Folders in which an execution wrote its outputs and its other files."""
    node = os.path.join(output, "artifacts", execution.node)
    for name in os.listdir(node) if os.path.isdir(node) else ():
        if name != SYSTEM_FOLDER:
            yield os.path.join(node, name, str(execution.id))
    for name in ("executor_execution", "driver_execution"):
        yield os.path.join(node, SYSTEM_FOLDER, name, str(execution.id))


def _remove_old_trainings(folder, contents, keep_runs):
    """Removes trainings that haven't changed since the oldest kept run began; returns their bytes.

    A finished training is kept as its artifact. An unfinished one is only useful to a run that resumes it.
    """
    kept = [execution.started for run in contents.runs[-keep_runs:] for execution in contents.of_run(run)]
    if not kept or not os.path.isdir(folder):
        return 0
    size = 0
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and _last_change(path) < min(kept):
            size += _size(path)
            shutil.rmtree(path, ignore_errors=True)
    return size


def _files(folder):
    return [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]


def _size(folder):
    return sum(os.lstat(path).st_size for path in _files(folder))


def _last_change(folder):
    return max((os.lstat(path).st_mtime for path in [folder, *_files(folder)]), default=0.0)
