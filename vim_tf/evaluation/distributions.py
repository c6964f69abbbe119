"""Measures the distribution metrics of one set of images against another, with their conditions."""

from vim_tf.evaluation import conditions
from vim_tf.evaluation.metrics.distribution import (
    BLOCK_SIZE,
    NUM_NEIGHBORS,
    classifier_score,
    frechet_caution,
    frechet_distance,
    kernel_distance,
    precision_and_recall,
)
from vim_tf.evaluation.results import EvaluationResult


def measure(stage, network, measured, facts, reference, reference_facts, manifolds=False):
    """Fréchet distance, kernel distance and classifier score, and optionally precision and recall.

    Metrics that the sets are too small for, or that need more of the reference than its moments, are left out.

    Args:
        stage: str, first part of the metrics' names.
        network: FeatureNetwork.
        measured, reference: MeasuredImages.
        facts: dict of JSON values for the conditions, with `measured`.
        reference_facts: the same for the reference.
        manifolds: bool, whether to measure precision and recall.

    Returns:
        EvaluationResult.
    """
    names, statistics, other = network.metric_names, measured.statistics, reference.statistics
    base = facts | conditions.through_network(network)
    compared = base | {"reference": reference_facts}
    metrics = {f"{stage}/{names.frechet}": frechet_distance(statistics, other)}
    caution = frechet_caution(statistics, other)
    found = {f"{stage}/{names.frechet}": compared | ({"caution": caution} if caution else {})}
    metrics[f"{stage}/{names.score}"] = classifier_score(statistics)
    found[f"{stage}/{names.score}"] = base
    counts = {"kept_of_measured": len(statistics.sample), "kept_of_reference": len(other.sample)}
    if min(counts.values()) > NUM_NEIGHBORS:
        distance, error = kernel_distance(statistics, other)
        metrics[f"{stage}/{names.kernel}"] = distance
        spread = {} if error is None else {"standard_error": float(f"{error:.3g}")}
        found[f"{stage}/{names.kernel}"] = compared | {"block_size": BLOCK_SIZE, **counts, **spread}
        if manifolds:
            precision, recall = precision_and_recall(statistics, other)
            metrics |= {f"{stage}/precision": precision, f"{stage}/recall": recall}
            shown = compared | {"num_neighbors": NUM_NEIGHBORS, **counts}
            found |= {f"{stage}/precision": shown, f"{stage}/recall": shown}
    return EvaluationResult(metrics, found)
