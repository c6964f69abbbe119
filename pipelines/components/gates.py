"""Gates: what a model must reach to be pushed, and how much worse than the last blessed one it may be."""

from vim_tf.evaluation.conditions import differences

# The metric of each limit in GateConfig.
GATES = {
    "min_reconstruction_psnr": "reconstruction/psnr",
    "min_codebook_usage": "codebook/usage",
    "min_label_accuracy": "generation/label_accuracy",
    "min_linear_probe_top1": "linear_probe/top1",
    "max_generation_frechet_distance": "generation/frechet_distance",
    "max_generation_fid": "generation/fid",
}
# The same for limits that compare with the last blessed model: a loss is a difference, a rise a fraction.
BASELINE_GATES = {
    "max_reconstruction_psnr_loss": "reconstruction/psnr",
    "max_label_accuracy_loss": "generation/label_accuracy",
    "max_generation_frechet_distance_rise": "generation/frechet_distance",
    "max_generation_fid_rise": "generation/fid",
}


def needs_baseline(limits):
    """Whether any limit, of a dict like a GateConfig, compares with the last blessed model."""
    return any(limits.get(gate) for gate in BASELINE_GATES)


def missed_gates(evaluated, limits, baseline=None):
    """Lists what keeps a model from being pushed.

    Args:
        evaluated: (metrics, conditions) as `results.read_metrics` returns them.
        limits: dict from the names of GATES and BASELINE_GATES to a limit; 0 = off.
        baseline: (metrics, conditions) of the last blessed model; None = there is none yet, and gates that compare
            with it are passed.

    Returns:
        list of str, one for each gate that is missed. A metric that was not measured misses its gate, and so does one
        that isn't comparable with the last blessed model's.
    """
    metrics, _ = evaluated
    misses = [_miss_of_limit(gate, GATES[gate], metrics, limit) for gate, limit in limits.items() if gate in GATES]
    if baseline is not None:
        misses += [
            _miss_of_baseline(gate, BASELINE_GATES[gate], evaluated, baseline, limit)
            for gate, limit in limits.items()
            if gate in BASELINE_GATES
        ]
    return [miss for miss in misses if miss]


def _miss_of_limit(gate, metric, metrics, limit):
    value = metrics.get(metric)
    if not limit:
        return ""
    if value is None:
        return f"{metric} was not measured, and --gates.{gate} is {limit:g}"
    if gate.startswith("min_") and not value >= limit:
        return f"{metric} is {value:.4g}, below --gates.{gate}={limit:g}"
    if gate.startswith("max_") and not value <= limit:
        return f"{metric} is {value:.4g}, above --gates.{gate}={limit:g}"
    return ""


def _miss_of_baseline(gate, metric, evaluated, baseline, limit):
    value, last = evaluated[0].get(metric), baseline[0].get(metric)
    if not limit:
        return ""
    if value is None or last is None:
        whose = "this" if value is None else "the last blessed"
        return f"{metric} of {whose} model was not measured, and --gates.{gate} is {limit:g}"
    different = differences(evaluated[1].get(metric, {}), baseline[1].get(metric, {}))
    if different:
        return f"{metric} can't be compared with the last blessed model's: {'; '.join(different)}"
    worst = last * (1 + limit) if gate.endswith("_rise") else last - limit
    is_worse = value > worst if gate.endswith("_rise") else value < worst
    if is_worse:
        return (
            f"{metric} is {value:.4g}, the last blessed model's {last:.4g}: worse than --gates.{gate}={limit:g} allows"
        )
    return ""
