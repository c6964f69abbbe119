"""What the runner shows on the terminal."""

from absl import flags as absl_flags
from absl import logging as absl_logging

HARMLESS = (
    # TFX says so whenever it looks up a component's inputs; it selects them by other means.
    "ArtifactQuery.property_predicate is not supported.",
    # TensorFlow Transform on our choice of Keras; no component uses it.
    "TF_USE_LEGACY_KERAS is set to",
)


def say(line):
    """Prints a line at once, also where the output is a pipe."""
    print(line, flush=True)


def quiet_tfx():
    """Keeps away what TFX logs in every run beyond what `vim_tf.cli.terminal` keeps away."""
    # Else the first record is followed by the remark that absl's own flags were not parsed.
    absl_flags.FLAGS.mark_as_parsed()
    absl_logging.get_absl_handler().python_handler.addFilter(_is_shown)


def _is_shown(record):
    return not str(record.msg).startswith(HARMLESS)


def metric_table(metrics):
    """Lines of an aligned table.

    Args:
        metrics: dict from `stage/name` to float, or None where it was not finite.
    """
    width = max(map(len, metrics), default=0)
    shown = {name: "not finite" if value is None else f"{value:.4g}" for name, value in sorted(metrics.items())}
    return [f"  {name:<{width}}  {value}" for name, value in shown.items()]
