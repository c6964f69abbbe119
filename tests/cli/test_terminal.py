"""What reaches the terminal."""

import logging
import os
import subprocess
import sys

from vim_tf.cli import terminal

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

WRITES_TO_FILE_DESCRIPTOR_2 = """
import os
from vim_tf.cli import terminal
with terminal._without_chatter():
    os.write(2, b"Could not find cuda drivers on your machine\\n")
    os.write(2, b"GPU is on fire\\n")
os.write(2, b"after\\n")
"""


def test_known_chatter_of_native_code_is_held_back_and_every_other_line_passes():
    done = subprocess.run(
        [sys.executable, "-c", WRITES_TO_FILE_DESCRIPTOR_2], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines() == ["GPU is on fire", "after"]


def test_libraries_are_heard_from_warnings_on_and_this_project_always():
    def record(level, path):
        return logging.LogRecord("absl", level, path, 1, "message", (), None)

    assert not terminal.is_shown(record(logging.INFO, "/elsewhere/tensorflow/checkpoint.py"))
    assert terminal.is_shown(record(logging.WARNING, "/elsewhere/tensorflow/checkpoint.py"))
    assert terminal.is_shown(record(logging.INFO, os.path.join(ROOT, "vim_tf", "data", "ingestion.py")))


def test_tracing_several_models_is_not_a_warning():
    text = "5 out of the last 5 calls to <function f> triggered tf.function retracing. Tracing is expensive"
    assert not terminal.is_shown(logging.LogRecord("absl", logging.WARNING, "/elsewhere/tf.py", 1, text, (), None))


def test_a_library_that_uses_a_deprecated_name_is_not_a_warning():
    text = "From %s: calling %s (from %s) with %s is deprecated and will be removed %s.\nInstructions for updating:\n%s"
    assert not terminal.is_shown(logging.LogRecord("absl", logging.WARNING, "/elsewhere/tf.py", 1, text, (), None))
