"""Terminal output of commands: their own lines, and only what matters from libraries."""

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
# Lines that TensorFlow's native code writes at every start on machines without a GPU, regardless of the log level.
_START_UP_CHATTER = (
    "All log messages before absl::InitializeLog()",
    "oneDNN custom operations are on",
    "Could not find cuda drivers",
    "failed call to cuInit",
    "This TensorFlow binary is optimized",
    "To enable the following instructions",
)
_NO_WARNINGS = (
    # A command that works on several models or data splits keeps a trace for each of them.
    "triggered tf.function retracing",
    # TF-GAN calls deprecated functions of TensorFlow.
    "is deprecated and will be removed",
)


def quiet_libraries():
    """Shows warnings and errors from libraries, and everything from this project."""
    # What native code logs as an error without raising it, such as an optimization that it skips, doesn't concern the
    # user; what matters is raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Otherwise a remark that absl's own flags weren't parsed follows every record.
    absl_flags.FLAGS.mark_as_parsed()
    absl_logging.use_absl_handler()
    absl_logging.set_verbosity(absl_logging.INFO)
    handler = absl_logging.get_absl_handler().python_handler
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(is_shown)


def is_shown(record):
    """Whether a logging.LogRecord is shown: bool."""
    is_warning = record.levelno >= logging.WARNING and not any(text in str(record.msg) for text in _NO_WARNINGS)
    return is_warning or record.pathname.startswith(_OWN_FOLDERS)


def on_sigterm(handler):
    """Sets the handler of SIGTERM, if this is the main thread: Python doesn't allow it in any other.

    Args:
        handler: as `signal.signal` takes it.

    Returns:
        The previous handler, or None outside the main thread, where nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    before = signal.signal(signal.SIGTERM, handler)
    return signal.SIG_DFL if before is None else before


def load_tensorflow():
    """Imports TensorFlow and lets it look for devices, without the chatter that this produces."""
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
    """Captures standard error, including that of native code, and then prints all of it but the known chatter."""
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
