"""Prepares the values, images and plots that a report's templates lay out."""

import base64

import tensorflow as tf

from vim_tf.evaluation.linear_probe import depth_curve
from vim_tf.evaluation.metrics.names import METRICS, metric_info
from vim_tf.evaluation.pictures import enlargement
from vim_tf.evaluation.report import plots
from vim_tf.evaluation.report.page import format_value, words

_STAGES = ("reconstruction", "codebook", "language_model", "generation", "linear_probe", "real")
# What a reader looks at first: what the model draws, how much its tokens keep, and whether it only copies.
_FIRST_IMAGES = ("generation/samples", "reconstruction/examples", "generation/nearest")
# Groups of curves; a metric belongs to the first group that has a word of the metric's name.
_CURVE_GROUPS = {
    "codebook": ("codebook/",),
    "quality": ("reconstruction/", "validation", "generalization_gap", "top1", "accuracy"),
    "speed and schedule": ("per_second", "learning_rate", "gradient_norm", "memory"),
    "losses": ("",),
}
_GROUP_ORDER = ("losses", "quality", "codebook", "speed and schedule")


def metric_rows(metrics, conditions):
    """Every metric with its meaning and conditions, stage by stage."""
    return [
        {"name": name, "value": metrics[name], "info": metric_info(name), "conditions": conditions.get(name, {})}
        for name in sorted(metrics, key=metric_order)
    ]


def summary_rows(metrics):
    """The few metrics that matter most, each with what real images score."""
    return [
        {
            "info": metric_info(name),
            "value": metrics[name],
            "has_real": metric_info(name).real in metrics,
            "real": metrics.get(metric_info(name).real),
        }
        for name in sorted(metrics, key=metric_order)
        if metric_info(name).title
    ]


def metric_order(name):
    """Stage by stage, the real images last; within a stage as in `METRICS`, and others after them by name."""
    stage, known = name.partition("/")[0], list(METRICS)
    position = _STAGES.index(stage) if stage in _STAGES else len(_STAGES)
    return (position, known.index(name) if name in METRICS else len(known), name)


def image_views(pictures):
    """The result's image grids, those that a reader looks at first on top."""
    first = [name for name in _FIRST_IMAGES if name in pictures]
    return [_image_view(pictures[name]) for name in [*first, *(name for name in pictures if name not in first)]]


def _image_view(picture):
    height, width = picture.image.shape[:2]
    cell = width // picture.num_columns
    factor = enlargement(cell, cell, 56)
    png = tf.io.encode_png(picture.image, compression=9).numpy()
    rows = f"; rows from the top: {', '.join(picture.row_labels)}" if picture.row_labels else ""
    return {
        "title": picture.title,
        "caption": picture.caption,
        "row_labels": picture.row_labels,
        "alt": picture.alt + rows,
        "source": f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "width": width * factor,
        "height": height * factor,
        # Below this width individual images aren't recognizable: the grid scrolls instead of shrinking further.
        "min_width": min(width * factor, picture.num_columns * min(max(34, cell // 2), 96)),
    }


def model_rows(heading, names, rows, note=""):
    """A table of models and their metrics, with the best of each metric marked.

    Args:
        heading: str.
        names: list of `stage/name`, the columns.
        rows: list of (model, dict from `stage/name` to float); a missing value is shown as a dash.
        note: str below the table.
    """
    best = {name: _best(name, [values.get(name) for _, values in rows]) for name in names}
    return {
        "heading": heading,
        "names": names,
        "note": note,
        "rows": [
            (model, [{"value": values.get(name), "is_best": _is_best(values.get(name), best[name])} for name in names])
            for model, values in rows
        ],
    }


def _best(name, values):
    values = [value for value in values if value is not None]
    better = metric_info(name).better
    if len(values) < 2 or not better:
        return None
    return max(values) if better == "higher" else min(values)


def _is_best(value, best):
    return best is not None and value == best


def plot_sections(result, curves):
    """The plots under their headings: linear probe, codebook, and the curves of each stage in groups.

    Args:
        result: EvaluationResult.
        curves: as `write_report` takes them.
    """
    sections = [_depth_section(result)]
    sections += [_histogram_section(name, counts) for name, counts in result.histograms.items()]
    sections += [_curve_section(heading, lines, f"c{index}") for index, (heading, lines) in enumerate(curves.items())]
    return [section for section in sections if section]


def _curve_section(heading, lines, identifier):
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    groups = {}
    for index, name in enumerate(names):
        points = [(line["step"], line[name]) for line in lines if isinstance(line.get(name), int | float)]
        if points:
            groups.setdefault(_group_of(name), []).append(_curve(name, points, f"{identifier}p{index}"))
    if not groups:
        return None
    ordered = [{"heading": name, "plots": groups[name], "note": ""} for name in _GROUP_ORDER if name in groups]
    return {"heading": f"Training: {words(heading)}", "groups": ordered}


def _group_of(name):
    return next(group for group, parts in _CURVE_GROUPS.items() if any(part in name for part in parts))


def _curve(name, points, identifier):
    steps, values = zip(*points, strict=True)
    last = format_value(values[-1])
    if len(points) == 1:
        axis = f"measured once, at step {steps[-1]}"
        return {"name": name, "summary": f"{name}: {last} at step {steps[-1]}", "last": last, "svg": "", "axis": axis}
    svg, logarithmic = plots.curve(steps, values, identifier)
    return {
        "name": name,
        "summary": f"{name} over {steps[-1]} steps, from {format_value(values[0])} to {last}",
        "last": last,
        "svg": svg,
        "axis": f"training step{', logarithmic scale' if logarithmic else ''}",
    }


def _histogram_section(name, counts):
    """How evenly the codes of a codebook occur: the share of each, from most to least common."""
    total, used = int(counts.sum()), int((counts > 0).sum())
    if not total:
        return None
    summary = (
        f"{used} of {len(counts)} codes are used; the most common makes up {counts.max() / total:.2%} of the tokens"
    )
    plot = {
        "name": name,
        "summary": summary,
        "last": f"{used} / {len(counts)}",
        "svg": plots.ranking(counts, "codes"),
        "axis": "codes from most to least common, share of the tokens",
    }
    return _single_plot("Codebook", plot)


def _depth_section(result):
    """Accuracy of the linear probe over the depth of the language model; None where no blocks were probed."""
    blocks, accuracies, lows, highs = depth_curve(result)
    if not blocks:
        return None
    others = {
        label: result.metrics[name]
        for label, name in (("pixels", "linear_probe/pixels_top1"), ("tokens' codes", "linear_probe/latents_top1"))
        if name in result.metrics
    }
    best = max(range(len(blocks)), key=accuracies.__getitem__)
    summary = (
        f"Block {blocks[best]} is the best: {accuracies[best]:.1%}, with a 95 % interval from {lows[best]:.1%} to "
        f"{highs[best]:.1%}"
    )
    plot = {
        "name": "linear_probe/block_top1",
        "summary": summary,
        "last": f"{accuracies[best]:.1%}",
        "svg": plots.interval_curve(blocks, accuracies, lows, highs, "depth", others),
        "axis": "block, with its 95 % interval",
    }
    return _single_plot("Linear probe", plot)


def _single_plot(heading, plot):
    return {"heading": heading, "groups": [{"heading": "", "plots": [plot], "note": f"{plot['summary']}."}]}


def lineage_view(lineage):
    """Where the parts came from, as plain facts and as dicts that unfold; None if nothing is known."""
    if not lineage:
        return None
    return {
        "facts": {name: value for name, value in lineage.items() if not isinstance(value, dict)},
        "folded": {name: value for name, value in lineage.items() if isinstance(value, dict)},
    }
