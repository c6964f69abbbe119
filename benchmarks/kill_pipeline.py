"""Kills the pipeline once in each component, and compares the results: `python -m benchmarks.kill_pipeline`.

On the tests' tiny images, in --output:

1. `undisturbed`: one complete run.
2. `killed`: for each component, a run whose process gets SIGKILL there, each resuming from what the previous one left,
   and then one complete run. A training is killed after its first checkpoint, every other component at the worst
   moment: all its output is written, but none of it is recorded.

It passes if each run after a kill completes that component, the pushed models' weights are equal bit for bit, and no
artifact, folder or pushed version is duplicated.
"""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys

from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.config.fields import setting
from vim_tf.errors import InputError

TRAINERS = ("TokenizerTrainer", "LanguageModelTrainer")


@dataclasses.dataclass(frozen=True)
class KillPipelineConfig:
    """`benchmarks.kill_pipeline`: the folder and the components."""

    output: str = setting("runs/kill_pipeline", "folder for the runs; its contents are replaced")
    components: tuple[str, ...] = setting((), "components to kill, separated by commas; empty = all")
    victim: str = setting(
        "", "only for the script's child processes: run the pipeline in --output and die in this component"
    )


def run(config):
    """Runs everything and prints the table.

    Raises:
        SystemExit: status 1, if something differs or is duplicated.
        InputError: the pipeline has no such component.
    """
    if config.victim:
        _die_in(config.victim, config.output)
        return
    shutil.rmtree(config.output, ignore_errors=True)
    os.makedirs(config.output)
    undisturbed, killed = (os.path.join(os.path.abspath(config.output), name) for name in ("undisturbed", "killed"))
    _expect(_run_pipeline(config.output, "undisturbed"), 0)
    expected = _contents(undisturbed)
    nodes = [execution.node for execution in expected.executions.values()]
    for name in config.components:
        if name not in nodes:
            raise InputError(f"--components={name} isn't a component; they are {', '.join(nodes)}")
    victims = [name for name in nodes if name in (config.components or nodes)]
    states = {}
    for name in victims:
        print(f"Killing {name} ...", flush=True)
        _expect(_run_pipeline(config.output, "killed", name), -signal.SIGKILL)
        states[name] = [each.state for each in _contents(killed).executions.values() if each.node == name][-1]
    print("The last run ...", flush=True)
    _expect(_run_pipeline(config.output, "killed"), 0)
    problems = _report(victims, states, expected, _contents(killed), killed)
    problems += compare_models(undisturbed, killed)
    if problems:
        sys.exit("\n".join(["Failed:", *problems]))
    print("The pushed models are equal bit for bit, and nothing is duplicated.")


def _report(victims, states, expected, found, killed):
    """Prints the table; returns the list of what is wrong."""
    from pipelines import status

    problems, rows = [], []
    for name in victims:
        after = [execution.state for execution in found.executions.values() if execution.node == name]
        live = [artifact for artifact in found.artifacts.values() if _is_live_of(found, artifact, name)]
        wanted = [artifact for artifact in expected.artifacts.values() if _is_live_of(expected, artifact, name)]
        folders = _output_folders(killed, name)
        rows.append((name, states[name], " ".join(after), f"{len(live)} of {len(wanted)}", len(folders)))
        if "COMPLETE" not in after and "CACHED" not in after:
            problems.append(f"{name} was not completed")
        if sorted(artifact.key for artifact in live) != sorted(artifact.key for artifact in wanted):
            problems.append(f"{name} has the artifacts {[artifact.key for artifact in live]}")
        if sorted(folders) != sorted(artifact.uri for artifact in live):
            problems.append(f"{name} has folders that belong to no artifact: {folders}")
    head = ("killed in", "state then", "its executions at the end", "artifacts", "folders")
    print("\n".join(["", *status.table(head, rows), ""]))
    for name in ("serving", "hub"):
        pushed = [each for each in os.listdir(os.path.join(killed, name)) if each.isdigit()]
        if len(pushed) != 1:
            problems.append(f"{name}/ has the versions {sorted(pushed)}")
    return problems


def _is_live_of(contents, artifact, node):
    return (
        artifact.state == "LIVE"
        and artifact.producer is not None
        and contents.executions[artifact.producer].node == node
    )


def _output_folders(output, node):
    root = os.path.join(output, "artifacts", node)
    names = [name for name in (os.listdir(root) if os.path.isdir(root) else ()) if name != ".system"]
    return [os.path.join(root, name, number) for name in names for number in os.listdir(os.path.join(root, name))]


def compare_models(one, other):
    """Differences between the models that two pipelines pushed: list of str.

    Args:
        one, other: output folders.
    """
    import numpy as np
    import tensorflow as tf

    folders = []
    for output in (one, other):
        serving = os.path.join(output, "serving")
        folders.append(os.path.join(serving, max(os.listdir(serving), key=int)))
    problems = []
    for name in (
        "variables/variables",
        "assets.extra/tokenizer/checkpoints",
        "assets.extra/language_model/checkpoints",
    ):
        paths = [os.path.join(folder, name) for folder in folders]
        readers = [tf.train.load_checkpoint(tf.train.latest_checkpoint(path) or path) for path in paths]
        names = [set(reader.get_variable_to_shape_map()) for reader in readers]
        if names[0] != names[1]:
            problems.append(f"{name}: other variables: {sorted(names[0] ^ names[1])}")
        for variable in sorted(names[0] & names[1]):
            if not variable.startswith("_CHECKPOINTABLE"):
                values = [np.asarray(reader.get_tensor(variable)) for reader in readers]
                if values[0].tobytes() != values[1].tobytes():
                    problems.append(f"{name}: {variable} differs")
    return problems


def _contents(output):
    from pipelines.local import store

    return store.read(store.open_store(output))


def _expect(status, expected):
    if status != expected:
        sys.exit(f"Failed: the pipeline exited with status {status}, not {expected}")


def _run_pipeline(folder, name, victim="-"):
    """Runs the tiny pipeline in a separate process; returns its exit status."""
    command = [sys.executable, "-m", "benchmarks.kill_pipeline", f"--output={os.path.join(folder, name)}"]
    log = os.path.join(folder, "log.txt")
    with open(log, "a") as file:
        status = subprocess.run([*command, f"--victim={victim}"], stdout=file, stderr=subprocess.STDOUT).returncode
    return status


def _die_in(victim, output):
    """Runs the tiny pipeline; its process is killed in the component `victim`."""
    from pipelines import local_runner
    from pipelines.local import console
    from tests.pipelines import chain as chains

    # Before TFX is loaded, as in the runner.
    console.quiet_tfx()
    _kill_in(victim)
    folder, name = os.path.split(os.path.abspath(output))
    images = os.path.join(folder, "images")
    chain = chains.Chain(folder) if not os.path.isdir(images) else chains.Chain.of(folder)
    local_runner.run(flags.parse(configs.PipelineConfig, chain.arguments(name)))


def _kill_in(victim):
    from tfx.orchestration.portable import launcher

    from vim_tf.training import callbacks

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    run_executor, launch, save = launcher.Launcher._run_executor, launcher.Launcher.launch, callbacks.Saver.on_step

    def run_executor_and_die(self, execution_info):
        result = run_executor(self, execution_info)
        if execution_info.pipeline_node.node_info.id == victim:
            die()
        return result

    def launch_and_die(self):
        result = launch(self)
        # A resolver has no executor.
        if self._pipeline_node.node_info.id == victim:
            die()
        return result

    def save_and_die(self, step, logs):
        save(self, step, logs)
        from tests.pipelines import chain as chains

        if step == chains.CHECKPOINT_EVERY_STEPS:
            die()

    launcher.Launcher._run_executor = run_executor_and_die
    launcher.Launcher.launch = launch_and_die
    # The training before it comes from the cache, so only the victim's trains.
    if victim in TRAINERS:
        callbacks.Saver.on_step = save_and_die


def main():
    """Runs the command."""
    flags.main(
        run, lambda argv: KillPipelineConfig, "Kills the pipeline once in each component and compares the results."
    )


if __name__ == "__main__":
    main()
