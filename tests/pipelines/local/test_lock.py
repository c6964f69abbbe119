"""One run at a time on an output folder."""

import os
import signal
import subprocess
import sys

import pytest

from pipelines.local import lock
from vim_tf.errors import InputError

HOLD = """
import sys, time
from pipelines.local import lock
with lock.sole_run(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder's lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_with_the_number_of_the_first(holder, tmp_path):
    with pytest.raises(InputError, match=f"in use by another run .process {holder.pid}."), lock.sole_run(str(tmp_path)):
        pass


def test_a_killed_process_leaves_no_lock(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with lock.sole_run(str(tmp_path)):
        pass


def test_a_run_that_ended_leaves_no_lock_and_the_folder_is_made(tmp_path):
    for _ in range(2):
        with lock.sole_run(str(tmp_path / "new")):
            assert (tmp_path / "new" / lock.LOCK).read_text() == f"{os.getpid()}\n"


def test_a_folder_that_can_not_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in ("file", "file/run"):
        with (
            pytest.raises(InputError, match=f"--output=.*{path} can't be written: "),
            lock.sole_run(str(tmp_path / path)),
        ):
            pass
