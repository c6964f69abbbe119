"""The report of an evaluation: one HTML file that needs nothing else."""

import base64
import datetime
import html
import math

import tensorflow as tf

import vim_tf
from vim_tf.evaluation.pictures import enlargement
from vim_tf.evaluation.plots import curve
from vim_tf.evaluation.results import METRICS, metric_info, write_whole

_BETTER = {"higher": "higher is better", "lower": "lower is better", "": "for comparison"}
# Curves that come after all others of their stage.
_MINOR_CURVES = ("learning_rate", "steps_per_second")


def write_report(path, title, metrics, conditions, pictures, curves, lineage=None, subtitle="", created=None):
    """Writes the report.

    Args:
        path: str, of the HTML file.
        title: str.
        metrics, conditions, pictures: as in `results.EvaluationResult`.
        curves: dict from a heading, such as a stage's name, to the lines of its `metrics.jsonl`: list of dicts of
            step and `stage/name` -> float.
        lineage: dict from what something is to where it came from, str or nested dict (folded); shown at the end.
        subtitle: str, what was measured, in a sentence.
        created: datetime; None = now.
    """
    created = created or datetime.datetime.now(datetime.UTC)
    sections = [
        _metric_section(metrics, conditions),
        *(_picture_section(picture) for picture in pictures.values()),
        *(_curve_section(heading, lines, f"c{index}") for index, (heading, lines) in enumerate(curves.items())),
        _lineage_section(lineage or {}),
    ]
    page = _PAGE.format(
        title=_text(title),
        style=_STYLE,
        subtitle=f"<p>{_text(subtitle)}</p>" if subtitle else "",
        machine_time=created.isoformat(timespec="seconds"),
        time=f"{created:%d %B %Y, %H:%M} {created.tzname() or ''}".strip(),
        version=_text(vim_tf.__version__),
        sections="\n".join(section for section in sections if section),
    )
    write_whole(path, page)


def format_value(value):
    """A metric's value for people: four significant digits, or a dash where it is not finite."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e5:
        return f"{value:.3e}"
    return f"{value:.{max(3 - math.floor(math.log10(abs(value))), 0)}f}"


def _metric_section(metrics, conditions):
    if not metrics:
        return ""
    rows = []
    for name in sorted(metrics, key=_metric_order):
        info = metric_info(name)
        details = ""
        if name in conditions:
            details = f"<details><summary>Conditions</summary>{_definitions(conditions[name])}</details>"
        unit = f' <span class="unit">{_text(info.unit)}</span>' if info.unit else ""
        real = f"<br>real images: {format_value(metrics[info.real])}" if info.real in metrics else ""
        rows.append(
            f'<tr><th scope="row"><span class="name">{_breakable(name)}</span>'
            f'<span class="meaning">{_text(info.meaning)}</span> {details}</th>'
            f'<td class="value">{format_value(metrics[name])}{unit}'
            f'<span class="better">{_text(_BETTER[info.better])}{real}</span></td></tr>'
        )
    return (
        '<section><h2>Metrics</h2><table><thead><tr><th scope="col">Metric</th><th scope="col">Value</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></section>"
    )


def _metric_order(name):
    """Known metrics in the order of `METRICS`, others after them by name."""
    known = list(METRICS)
    return (known.index(name) if name in METRICS else len(known), name)


def _definitions(values):
    """Nested definition lists of a dict."""
    items = []
    for name, value in values.items():
        label = _text(_words(name))
        if isinstance(value, dict):
            items.append(f"<div><dt>{label}</dt><dd>{_definitions(value)}</dd></div>" if value else "")
        else:
            items.append(f"<div><dt>{label}</dt><dd>{_text(value)}</dd></div>")
    return f"<dl>{''.join(items)}</dl>"


def _picture_section(picture):
    height, width = picture.image.shape[:2]
    cell = width // picture.num_columns
    factor = enlargement(cell, cell, 56)
    labels = "".join(f"<span>{_text(label)}</span>" for label in picture.row_labels)
    label_column = f'<div class="labels" aria-hidden="true">{labels}</div>' if labels else ""
    alt = picture.alt + (f"; rows from the top: {', '.join(picture.row_labels)}" if picture.row_labels else "")
    # Below this width single images can't be made out: the picture scrolls instead of shrinking further.
    least = min(width * factor, picture.num_columns * min(max(34, cell // 2), 96))
    return (
        f"<section><h2>{_text(picture.title)}</h2><figure>"
        f'<div class="scroll"><div class="picture">{label_column}'
        f'<img src="{_data_uri(picture.image)}" alt="{_text(alt)}" width="{width * factor}" height="{height * factor}" '
        f'style="min-width:{least}px"></div></div>'
        f"<figcaption>{_text(picture.caption)}</figcaption></figure></section>"
    )


def _data_uri(image):
    png = tf.io.encode_png(image, compression=9).numpy()
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _curve_section(heading, lines, identifier):
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    names = sorted(names, key=lambda name: name.rpartition("/")[2] in _MINOR_CURVES)
    plots = []
    for index, name in enumerate(names):
        points = [(line["step"], line[name]) for line in lines if isinstance(line.get(name), int | float)]
        if points:
            plots.append(_plot(name, points, f"{identifier}p{index}"))
    if not plots:
        return ""
    return f'<section><h2>{_text(_words(heading))}</h2><div class="plots">{"".join(plots)}</div></section>'


def _plot(name, points, identifier):
    steps, values = zip(*points, strict=True)
    summary = f"{name}: {format_value(values[-1])} at step {steps[-1]}"
    drawing = f'<p class="axis">measured once, at step {steps[-1]}</p>'
    if len(points) > 1:
        svg, logarithmic = curve(steps, values, identifier)
        summary = f"{name} over {steps[-1]} steps, from {format_value(values[0])} to {format_value(values[-1])}"
        drawing = f'{svg}<p class="axis">training step{", logarithmic scale" if logarithmic else ""}</p>'
    return (
        f'<figure class="plot" role="img" aria-label="{_text(summary)}"><figcaption><span class="name">'
        f'{_breakable(name)}</span><span class="last">{format_value(values[-1])}</span></figcaption>{drawing}</figure>'
    )


def _lineage_section(lineage):
    if not lineage:
        return ""
    facts = {name: value for name, value in lineage.items() if not isinstance(value, dict)}
    folded = [
        f"<details><summary>{_text(_words(name))}</summary>{_definitions(value)}</details>"
        for name, value in lineage.items()
        if isinstance(value, dict)
    ]
    return f'<section class="lineage"><h2>Lineage</h2>{_definitions(facts)}{"".join(folded)}</section>'


def _words(name):
    """A key of a dict as people write it."""
    return str(name).replace("num_", "number of ").replace("_", " ")


def _breakable(name):
    """A metric's name that may break after its slash and underscores."""
    return _text(name).replace("/", "/<wbr>").replace("_", "_<wbr>")


def _text(value):
    return html.escape(str(value), quote=True)


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
<header><h1>{title}</h1>{subtitle}
<p class="meta"><time datetime="{machine_time}">{time}</time> · vim_tf {version}</p></header>
{sections}
</main>
</body>
</html>
"""

_STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --panel: #ffffff; --ink: #1d2126; --soft: #5b6470; --faint: #9aa2ac;
  --line: #e3e5e8; --accent: #1f6feb; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --panel: #1b1f23; --ink: #e6e8ea; --soft: #9aa4af;
  --faint: #6b7580; --line: #2d333a; --accent: #6cb2ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 2rem clamp(1rem, 4vw, 2.5rem) 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; text-wrap: balance; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .8rem; }
h2::first-letter { text-transform: uppercase; }
p { margin: 0 0 .4rem; max-width: 70ch; }
.meta, .meaning, .better, .unit, figcaption, .axis, dt { color: var(--soft); }
.meta, figcaption { font-size: .875rem; }
table { width: 100%; border-collapse: collapse; background: var(--panel); border: 1px solid var(--line); }
th, td { text-align: left; vertical-align: top; padding: .6rem .9rem; border-top: 1px solid var(--line);
  font-weight: normal; }
thead th { font-size: .8rem; color: var(--soft); border-top: 0; padding-block: .4rem; }
thead th:last-child, .value { text-align: right; }
.name { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .875rem;
  overflow-wrap: anywhere; }
.name { display: block; }
.meaning { font-size: .85rem; margin-right: .5rem; }
.meaning:empty { display: none; }
.value { white-space: nowrap; font-variant-numeric: tabular-nums; font-size: 1.1rem; font-weight: 600; }
.unit { font-weight: normal; font-size: .85rem; }
.better { display: block; font-weight: normal; font-size: .78rem; line-height: 1.35; }
details { font-size: .85rem; display: inline-block; }
details[open] { display: block; }
summary { cursor: pointer; color: var(--accent); width: fit-content; }
dl { margin: .3rem 0 .3rem; }
dl dl { margin: 0; padding-left: .8rem; border-left: 2px solid var(--line); }
dl > div { display: grid; grid-template-columns: minmax(6rem, 11rem) 1fr; gap: .1rem .8rem; padding: .1rem 0; }
dl dl > div { grid-template-columns: minmax(5rem, 9rem) 1fr; }
dd { margin: 0; overflow-wrap: anywhere; }
.lineage { font-size: .875rem; }
.lineage details { display: block; margin-top: .3rem; }
figure { margin: 0; }
.scroll { overflow-x: auto; }
.picture { display: flex; width: fit-content; max-width: 100%; }
.picture img { display: block; height: auto; flex: 0 1 auto; image-rendering: pixelated; }
.labels { display: grid; grid-auto-rows: 1fr; position: sticky; left: 0; background: var(--page); z-index: 1;
  padding-right: .6rem; font-size: .85rem; color: var(--soft); text-align: right; flex: none; }
.labels span { align-self: center; max-width: min(9rem, 28vw); overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
figure > figcaption { margin-top: .5rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 290px), 1fr)); gap: .9rem; }
.plot { background: var(--panel); border: 1px solid var(--line); padding: .6rem .7rem .4rem; }
.plot figcaption { display: flex; justify-content: space-between; gap: .6rem; margin: 0 0 .3rem; }
.plot .last { font-variant-numeric: tabular-nums; color: var(--ink); font-weight: 600; }
.plot svg { display: block; width: 100%; height: auto; font-family: inherit; }
.axis { font-size: .75rem; text-align: right; margin: 0; max-width: none; }
@media (max-width: 560px) {
  th, td { padding: .5rem .6rem; }
  .value { white-space: normal; }
  .unit { display: block; }
  dl > div, dl dl > div { grid-template-columns: 1fr; }
  dl > div > dd { padding-left: .8rem; }
}
@media print { details { display: none; } section { break-inside: avoid; } }
"""
