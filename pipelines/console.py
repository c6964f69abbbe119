"""What the runner shows on the terminal."""

import logging
import os

from absl import flags as absl_flags
from absl import logging as absl_logging

OWN_FOLDERS = tuple(
    os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), package, "")
    for package in ("pipelines", "vim_tf")
)
# Warnings that every run gives: TFX asks its metadata store in a way that needs none of what is missing.
HARMLESS = ("ArtifactQuery.property_predicate is not supported.",)


def say(line):
    """Prints a line at once, also where the output is a pipe."""
    print(line, flush=True)


def quiet_libraries():
    """Shows of TFX, Beam and TensorFlow what is a warning or worse; of this project everything."""
    # Else every record is followed by the remark that absl's own flags were not parsed.
    absl_flags.FLAGS.mark_as_parsed()
    absl_logging.use_absl_handler()
    absl_logging.get_absl_handler().python_handler.addFilter(_is_shown)


def _is_shown(record):
    if record.msg in HARMLESS:
        return False
    return record.levelno >= logging.WARNING or record.pathname.startswith(OWN_FOLDERS)


def metric_table(metrics):
    """Lines of an aligned table.

    Args:
        metrics: dict from `stage/name` to float, or None where it was not finite.
    """
    width = max(map(len, metrics), default=0)
    shown = {name: "not finite" if value is None else f"{value:.4g}" for name, value in sorted(metrics.items())}
    return [f"  {name:<{width}}  {value}" for name, value in shown.items()]
