"""Commands run as processes: help and exit statuses, neither of which waits for TensorFlow."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SAMPLE = ["--tokenizer=t", "--language_model=l", "--output=o"]
ALL_HELPS = """
import contextlib, io, json, runpy, sys, time

HEAVY = {"tensorflow", "keras", "tfx", "apache_beam", "jax", "tensorflow_datasets"}


class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise AssertionError(f"{name} was imported")


sys.meta_path.insert(0, Refusing())
results = {}
for command in json.loads(sys.argv[1]):
    module, *arguments = command.split()
    sys.argv = [module, *arguments]
    begin, output, status = time.monotonic(), io.StringIO(), None
    with contextlib.redirect_stdout(output):
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as error:
            status = error.code
    results[command] = {"status": status, "seconds": time.monotonic() - begin, "text": output.getvalue()}
print(json.dumps(results))
"""
HELPS = [
    "vim_tf.train --help",
    "vim_tf.train --task=language_model --help",
    "vim_tf.train --flagfile=configs/digits/language_model.flags -h",
    "vim_tf.train --task=palette --help",
    "vim_tf.train --task=linear_probe --help",
    "vim_tf.encode_dataset --help",
    "vim_tf.materialize --help",
    "vim_tf.reconstruct --help",
    "vim_tf.sample --help",
    "vim_tf.complete --help",
    "vim_tf.import_weights --help",
    "vim_tf.evaluate --help",
    "vim_tf.export --help",
    "pipelines.local_runner --help",
]


def python(*arguments, **settings):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, **settings
    )


@pytest.fixture(scope="module")
def helps():
    """Status, seconds and text of every command's help, from a process in which importing TensorFlow fails."""
    process = python("-c", ALL_HELPS, json.dumps(HELPS))
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.parametrize("command", HELPS)
class TestHelpOfEveryCommand:
    def test_it_ends_with_status_zero_and_shows_the_flags(self, helps, command):
        assert helps[command]["status"] == 0
        assert "\n  --" in helps[command]["text"]

    def test_it_answers_at_once(self, helps, command):
        assert helps[command]["seconds"] < 5

    def test_it_fits_the_terminal(self, helps, command):
        assert max(map(len, helps[command]["text"].splitlines())) <= 100


def test_the_task_decides_which_flags_the_help_shows(helps):
    assert "--model.patch_size=" in helps["vim_tf.train --help"]["text"]
    for command in HELPS[1:3]:
        assert "--model.features_block=" in helps[command]["text"]
        assert "--model.patch_size=" not in helps[command]["text"]


def test_importing_the_package_and_its_entry_modules_loads_no_tensorflow():
    modules = ["vim_tf", *(command.split()[0] for command in HELPS)]
    heavy = "{'tensorflow', 'keras', 'tfx', 'numpy'}"
    process = python("-c", f"import sys, {', '.join(sorted(set(modules)))}; print({heavy} & set(sys.modules))")
    assert process.stdout == "set()\n", process.stderr


COMMAND = """
import os, signal, sys, types

# The frame imports TensorFlow before it runs a command; this stands in for it.
sys.modules["tensorflow"] = types.ModuleType("tensorflow")

from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.errors import InputError


def run(config):
    print("seed", config.seed)
    {body}


flags.main(run, lambda argv: configs.SampleCommand, "Samples.")
"""


def command(body, *arguments):
    return python("-c", COMMAND.format(body=body), *arguments)


class TestExitStatus:
    def test_zero_after_a_finished_run(self):
        process = command("pass", *SAMPLE, "--seed=7")
        assert (process.returncode, process.stdout, process.stderr) == (0, "seed 7\n", "")

    def test_zero_after_help_even_with_a_mistake(self):
        process = command("pass", "--sead=7", "--help")
        assert (process.returncode, process.stderr) == (0, "")
        assert process.stdout.startswith("Samples.\n")

    def test_one_and_a_last_line_that_says_what_after_a_failure(self):
        process = command("raise RuntimeError('the disk is full\\nmore')", *SAMPLE)
        assert process.returncode == 1
        assert "Traceback" in process.stderr
        assert process.stderr.splitlines()[-1] == "Failed: RuntimeError: the disk is full"

    def test_two_and_one_line_after_an_unusable_flag(self):
        process = command("pass", *SAMPLE, "--sead=7")
        assert (process.returncode, process.stdout) == (2, "")
        assert process.stderr == "Error: Unknown command line flag 'sead'. Did you mean: seed ?\n"

    def test_two_and_one_line_after_an_unusable_input(self):
        process = command("raise InputError('there is no folder t')", *SAMPLE)
        assert (process.returncode, process.stderr) == (2, "Error: there is no folder t\n")

    def test_143_after_sigterm(self):
        process = command("os.kill(os.getpid(), signal.SIGTERM); print('still there')", *SAMPLE)
        assert (process.returncode, process.stdout, process.stderr) == (143, "seed 0\n", "")

    def test_130_and_one_line_after_an_interrupt(self):
        # A shell that runs the tests in the background makes their processes ignore it.
        handle = "signal.signal(signal.SIGINT, signal.default_int_handler)"
        process = command(f"{handle}; os.kill(os.getpid(), signal.SIGINT)", *SAMPLE)
        assert (process.returncode, process.stderr) == (130, "Interrupted.\n")

    def test_a_run_that_exits_with_its_own_status_keeps_it(self):
        assert command("sys.exit(1)", *SAMPLE).returncode == 1

    def test_two_from_a_real_command(self):
        process = python("-m", "vim_tf.train", "--workdir=w", "--training.batchsize=4")
        assert process.returncode == 2
        assert process.stderr.startswith(
            "Error: Unknown command line flag 'training.batchsize'. Did you mean: training."
        )
