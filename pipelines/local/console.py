"""Output of the runner on the terminal."""

from absl import flags as absl_flags
from absl import logging as absl_logging

HARMLESS = (
    # TFX logs this whenever it looks up a component's inputs; it selects them by other means.
    "ArtifactQuery.property_predicate is not supported.",
    # TensorFlow Transform's remark on our choice of Keras; no component uses it.
    "TF_USE_LEGACY_KERAS is set to",
)


def say(line):
    """Prints a line and flushes it, also to a pipe."""
    print(line, flush=True)


def quiet_tfx():
    """Hides what TFX logs in every run and `vim_tf.cli.terminal` doesn't already hide."""
    # Otherwise absl remarks after the first record that its flags were not parsed.
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


def class_table(folder, class_names):
    """Lines of an aligned table: images and accuracy of all classes and of each.

    Args:
        folder: of the evaluation, as TFX's Evaluator writes it.
        class_names: list of str, by label.

    Returns:
        list of str.
    """
    import tensorflow_model_analysis as tfma

    rows = []
    for key, metrics in tfma.load_eval_result(folder).get_metrics_for_all_slices().items():
        label, name = -1, "all"
        if key:
            ((_, label),) = key
            name = class_names[label] if 0 <= label < len(class_names) else "no label"
        count, accuracy = (metrics[each]["doubleValue"] for each in ("example_count", "sparse_categorical_accuracy"))
        rows.append((len(key), label, name, count, accuracy))
    width = max(len(name) for _, _, name, _, _ in rows)
    return [f"  {name:<{width}}  {count:6.0f} images  {accuracy:7.2%}" for _, _, name, count, accuracy in sorted(rows)]
