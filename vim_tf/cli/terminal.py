"""What commands show on the terminal: their own lines, and of the libraries below only what matters."""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading

from absl import flags as absl_flags
from absl import logging as absl_logging

_OWN_FOLDERS = tuple(
    os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), package, "")
    for package in ("vim_tf", "pipelines")
)
# Lines that TensorFlow's native code writes at every start, whatever the log level, on machines that lack a GPU.
_START_UP_CHATTER = (
    "All log messages before absl::InitializeLog()",
    "oneDNN custom operations are on",
    "Could not find cuda drivers",
    "failed call to cuInit",
    "This TensorFlow binary is optimized",
    "To enable the following instructions",
)
_NO_WARNINGS = (
    # A trace is kept for each model and data split of a process, where one command works on several of them.
    "triggered tf.function retracing",
    # TF-GAN calls functions of TensorFlow by older names.
    "is deprecated and will be removed",
)


def quiet_libraries():
    """Shows of libraries what is a warning or worse, and of this project everything."""
    # What native code logs as an error and doesn't raise, such as an optimization that it then leaves out, is no
    # concern of the user; what matters is raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Else every record is followed by the remark that absl's own flags were not parsed.
    absl_flags.FLAGS.mark_as_parsed()
    absl_logging.use_absl_handler()
    absl_logging.set_verbosity(absl_logging.INFO)
    handler = absl_logging.get_absl_handler().python_handler
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(is_shown)


def is_shown(record):
    """Whether a log record is shown: logging.LogRecord to bool."""
    is_warning = record.levelno >= logging.WARNING and not any(text in str(record.msg) for text in _NO_WARNINGS)
    return is_warning or record.pathname.startswith(_OWN_FOLDERS)


def on_sigterm(handler):
    """Lets a function handle SIGTERM, if this is the main thread: Python lets no other one say so.

    Args:
        handler: as `signal.signal` takes it.

    Returns:
        What handled it before, or None off the main thread, where all stays as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    before = signal.signal(signal.SIGTERM, handler)
    return signal.SIG_DFL if before is None else before


def load_tensorflow():
    """Imports TensorFlow and lets it look for devices, without the chatter that it writes while doing so."""
    if "tensorflow" in sys.modules:
        return
    if sys.stderr.isatty():
        print("Loading TensorFlow ...", end="\r", file=sys.stderr, flush=True)
    with _without_chatter():
        import tensorflow as tf

        tf.config.list_physical_devices()
    if sys.stderr.isatty():
        print("\x1b[K", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _without_chatter():
    """Holds back what is written to standard error, native code included, and passes on all but the known chatter."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if not any(chatter in line for chatter in _START_UP_CHATTER):
                    print(line, file=sys.stderr)
