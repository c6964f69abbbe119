"""A lock that allows one run at a time in an output folder."""

import contextlib
import fcntl
import os

from vim_tf.errors import InputError

LOCK = ".lock"


@contextlib.contextmanager
def sole_run(output):
    """Holds an output folder's lock while a pipeline runs in it.

    The kernel releases it however the process ends, so a lock is never left behind.

    Args:
        output: str, folder on this machine, created if necessary.

    Raises:
        InputError: another process holds the lock, or the folder can't be created.
    """
    try:
        os.makedirs(output, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output={output} can't be written: {error.strerror}") from error
    path = os.path.join(output, LOCK)
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip()
            raise InputError(
                f"--output={output} is in use by another run{f' (process {holder})' if holder else ''}: wait until it "
                "ends or choose another --output"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
