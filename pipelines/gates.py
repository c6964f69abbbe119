"""What a model must reach to be pushed."""

# Metric that each field of GateConfig limits.
GATES = {
    "min_reconstruction_psnr": "reconstruction/psnr",
    "min_codebook_usage": "codebook/usage",
    "min_label_accuracy": "generation/label_accuracy",
    "max_generation_frechet_distance": "generation/frechet_distance",
}


def missed_gates(metrics, limits):
    """What keeps a model from being pushed.

    Args:
        metrics: dict from `stage/name` to float, or None where it was not finite.
        limits: dict from the names of GATES to a limit; 0 = off.

    Returns:
        list of str, one for each gate that is missed; a metric that was not measured misses its gate.
    """
    misses = []
    for gate, limit in limits.items():
        metric = GATES[gate]
        value = metrics.get(metric)
        if not limit:
            continue
        if value is None:
            misses.append(f"{metric} was not measured, and --gates.{gate} is {limit:g}")
        elif gate.startswith("min_") and not value >= limit:
            misses.append(f"{metric} is {value:.4g}, below --gates.{gate}={limit:g}")
        elif gate.startswith("max_") and not value <= limit:
            misses.append(f"{metric} is {value:.4g}, above --gates.{gate}={limit:g}")
    return misses
