"""The parts of a report, each as HTML."""

import base64
import math

import tensorflow as tf

from vim_tf.evaluation import plots
from vim_tf.evaluation.linear_probe import depth_curve
from vim_tf.evaluation.pictures import enlargement
from vim_tf.evaluation.report.page import breakable, definitions, text, words
from vim_tf.evaluation.results import METRICS, metric_info

_BETTER = {"higher": "higher is better", "lower": "lower is better", "": "for comparison"}
_STAGES = ("reconstruction", "codebook", "language_model", "generation", "linear_probe", "real")
# Curves that come after all others of their stage.
_MINOR_CURVES = ("learning_rate", "steps_per_second")


def format_value(value):
    """A metric's value for people: four significant digits, or a dash where it is not finite."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e5:
        return f"{value:.3e}"
    return f"{value:.{max(3 - math.floor(math.log10(abs(value))), 0)}f}"


def verdict_section(refused):
    """Whether the model passed its gates: list of those it missed; None = it had none."""
    if refused is None:
        return ""
    if not refused:
        return '<section><h2>Gates</h2><p class="verdict passed">Every gate is passed.</p></section>'
    items = "".join(f"<li>{text(reason)}</li>" for reason in refused)
    return f'<section><h2>Gates</h2><p class="verdict missed">Not to be pushed:</p><ul>{items}</ul></section>'


def metric_section(metrics, conditions):
    if not metrics:
        return ""
    rows = []
    for name in sorted(metrics, key=metric_order):
        info = metric_info(name)
        details = ""
        if name in conditions:
            details = f"<details><summary>Conditions</summary>{definitions(conditions[name])}</details>"
        unit = f' <span class="unit">{text(info.unit)}</span>' if info.unit else ""
        real = f"<br>real images: {format_value(metrics[info.real])}" if info.real in metrics else ""
        rows.append(
            f'<tr><th scope="row"><span class="name">{breakable(name)}</span>'
            f'<span class="meaning">{text(info.meaning)}</span> {details}</th>'
            f'<td class="value">{format_value(metrics[name])}{unit}'
            f'<span class="better">{text(_BETTER[info.better])}{real}</span></td></tr>'
        )
    return (
        '<section><h2>Metrics</h2><table><thead><tr><th scope="col">Metric</th><th scope="col">Value</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></section>"
    )


def metric_order(name):
    """Stage by stage, the real images last; within a stage as in `METRICS`, and others after them by name."""
    stage, known = name.partition("/")[0], list(METRICS)
    place = _STAGES.index(stage) if stage in _STAGES else len(_STAGES)
    return (place, known.index(name) if name in METRICS else len(known), name)


def picture_section(picture):
    height, width = picture.image.shape[:2]
    cell = width // picture.num_columns
    factor = enlargement(cell, cell, 56)
    labels = "".join(f"<span>{text(label)}</span>" for label in picture.row_labels)
    label_column = f'<div class="labels" aria-hidden="true">{labels}</div>' if labels else ""
    alt = picture.alt + (f"; rows from the top: {', '.join(picture.row_labels)}" if picture.row_labels else "")
    # Below this width single images can't be made out: the picture scrolls instead of shrinking further.
    least = min(width * factor, picture.num_columns * min(max(34, cell // 2), 96))
    return (
        f"<section><h2>{text(picture.title)}</h2><figure>"
        f'<div class="scroll"><div class="picture">{label_column}'
        f'<img src="{_data_uri(picture.image)}" alt="{text(alt)}" width="{width * factor}" height="{height * factor}" '
        f'style="min-width:{least}px"></div></div>'
        f"<figcaption>{text(picture.caption)}</figcaption></figure></section>"
    )


def _data_uri(image):
    png = tf.io.encode_png(image, compression=9).numpy()
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def curve_section(heading, lines, identifier):
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    names = sorted(names, key=lambda name: name.rpartition("/")[2] in _MINOR_CURVES)
    plots = []
    for index, name in enumerate(names):
        points = [(line["step"], line[name]) for line in lines if isinstance(line.get(name), int | float)]
        if points:
            plots.append(_plot(name, points, f"{identifier}p{index}"))
    if not plots:
        return ""
    return f'<section><h2>{text(words(heading))}</h2><div class="plots">{"".join(plots)}</div></section>'


def _plot(name, points, identifier):
    steps, values = zip(*points, strict=True)
    summary = f"{name}: {format_value(values[-1])} at step {steps[-1]}"
    drawing = f'<p class="axis">measured once, at step {steps[-1]}</p>'
    if len(points) > 1:
        svg, logarithmic = plots.curve(steps, values, identifier)
        summary = f"{name} over {steps[-1]} steps, from {format_value(values[0])} to {format_value(values[-1])}"
        drawing = f'{svg}<p class="axis">training step{", logarithmic scale" if logarithmic else ""}</p>'
    return (
        f'<figure class="plot" role="img" aria-label="{text(summary)}"><figcaption><span class="name">'
        f'{breakable(name)}</span><span class="last">{format_value(values[-1])}</span></figcaption>{drawing}</figure>'
    )


def lineage_section(lineage):
    if not lineage:
        return ""
    facts = {name: value for name, value in lineage.items() if not isinstance(value, dict)}
    folded = [
        f"<details><summary>{text(words(name))}</summary>{definitions(value)}</details>"
        for name, value in lineage.items()
        if isinstance(value, dict)
    ]
    return f'<section class="lineage"><h2>Lineage</h2>{definitions(facts)}{"".join(folded)}</section>'


def histogram_section(name, counts):
    """How evenly the codes of a codebook occur: the share of each, from the commonest to the rarest."""
    total, used = int(counts.sum()), int((counts > 0).sum())
    if not total:
        return ""
    summary = f"{used} of {len(counts)} codes are used; the commonest makes {counts.max() / total:.2%} of the tokens"
    return (
        '<section><h2>Codebook</h2><div class="plots"><figure class="plot" role="img" '
        f'aria-label="{text(summary)}"><figcaption><span class="name">{breakable(name)}</span>'
        f'<span class="last">{used} / {len(counts)}</span></figcaption>{plots.ranking(counts, "codes")}'
        f'<p class="axis">codes from the commonest to the rarest, share of the tokens</p></figure></div>'
        f"<p>{text(summary)}.</p></section>"
    )


def depth_section(result):
    """Accuracy of the linear probe over the depth of the language model; empty where no blocks were probed."""
    blocks, accuracies, lows, highs = depth_curve(result)
    if not blocks:
        return ""
    others = {
        label: result.metrics[name]
        for label, name in (("pixels", "linear_probe/pixels_top1"), ("tokens' codes", "linear_probe/latents_top1"))
        if name in result.metrics
    }
    best = max(range(len(blocks)), key=accuracies.__getitem__)
    summary = (
        f"Block {blocks[best]} is the best: {accuracies[best]:.1%}, with 95 % certainty between {lows[best]:.1%} and "
        f"{highs[best]:.1%}"
    )
    return (
        '<section><h2>Linear probe</h2><div class="plots"><figure class="plot" role="img" '
        f'aria-label="{text(summary)}"><figcaption><span class="name">linear_probe/<wbr>block_top1</span>'
        f'<span class="last">{accuracies[best]:.1%}</span></figcaption>'
        f"{plots.interval_curve(blocks, accuracies, lows, highs, 'depth', others)}"
        f'<p class="axis">block, with its 95 % interval</p></figure></div><p>{text(summary)}.</p></section>'
    )


def rows_section(heading, names, rows, note=""):
    """A table of models and their metrics; the best of each metric stands out.

    Args:
        heading: str.
        names: list of `stage/name`, the columns.
        rows: list of (model, dict from `stage/name` to float); a value that is missing is a dash.
        note: str below the table.
    """
    best = {name: _best(name, [values.get(name) for _, values in rows]) for name in names}
    head = "".join(f'<th scope="col"><span class="name">{breakable(name)}</span></th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{text(model)}</th>'
        + "".join(f"<td{_class(values.get(name), best[name])}>{format_value(values.get(name))}</td>" for name in names)
        + "</tr>"
        for model, values in rows
    )
    return (
        f'<section><h2>{text(heading)}</h2><div class="rows"><table><thead><tr><th scope="col">Model</th>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>{f'<p class=meta>{text(note)}</p>' if note else ''}</section>"
    )


def _best(name, values):
    values = [value for value in values if value is not None]
    better = metric_info(name).better
    if len(values) < 2 or not better:
        return None
    return max(values) if better == "higher" else min(values)


def _class(value, best):
    return ' class="best"' if best is not None and value == best else ""
