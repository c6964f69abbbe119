"""Records how a metric was measured, and decides whether two values can be compared."""

import importlib.metadata

import vim_tf
from vim_tf.data.images.fit import RESIZE_RULE

# Comparisons are about models and what is asked of them, and a value's spread is part of the value. Everything else
# must agree.
_FREE = ("sampling", "seed", "model", "feature_size", "standard_error", "interval_95", "block")


def image_set(source, num_images):
    """JSON dict for the conditions of a metric measured on `num_images` images of an ImageSource."""
    return {**images_of(source.name, source.split, *source.size), "num_images": int(num_images)}


def images_of(name, split, height, width):
    """`image_set` without the number of images; height and width, in pixels, are the size that images are fitted to."""
    return {
        "source": name,
        "split": split,
        "height": height,
        "width": width,
        "resize_rule": RESIZE_RULE,
    }


def through_network(network):
    """JSON dict for the conditions of a metric measured through a FeatureNetwork."""
    return {"feature_network": network.conditions, "library_versions": library_versions()}


def library_versions():
    """Versions that distribution metrics depend on."""
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "tensorflow-gan", "numpy")}
    return {"vim_tf": vim_tf.__version__, **versions}


def differences(conditions, other):
    """Lists what keeps two values of one metric from being compared.

    Args:
        conditions, other: nested dicts of JSON values, as `EvaluationResult.conditions` holds them for a metric.

    Returns:
        list of str, each naming one condition and its two values; empty if the values can be compared. Settings
        of sampling and seeds may differ, since runs are expected to differ in them.
    """
    facts, other_facts = _leaves(conditions), _leaves(other)
    return [
        f"{name} is {facts.get(name, 'not stated')} against {other_facts.get(name, 'not stated')}"
        for name in sorted(facts.keys() | other_facts.keys())
        if facts.get(name) != other_facts.get(name)
    ]


def _leaves(values, prefix=""):
    """{dotted name: value} of the conditions that must agree."""
    leaves = {}
    for name, value in values.items():
        if name in _FREE:
            continue
        if isinstance(value, dict):
            leaves |= _leaves(value, f"{prefix}{name}.")
        else:
            leaves[f"{prefix}{name}"] = value
    return leaves
