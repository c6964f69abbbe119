"""Draws curves as inline SVG that takes its colours from the page."""

import io
import re

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

_MAX_POINTS = 400
_LOG_SCALE_RATIO = 30
# Placeholders for the page's colours, which differ between light and dark.
_PAGE_COLORS = {"#010203": "var(--ink)", "#040506": "var(--faint)", "#070809": "var(--accent)"}
_INK, _FAINT, _ACCENT = _PAGE_COLORS
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vim_tf",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.5,
}


def curve(steps, values, identifier):
    """A curve over training steps; its y axis is logarithmic where positive values span more than a factor of 30.

    Args:
        steps: ints, ascending.
        values: floats, one for each step; those that are not finite are left out.
        identifier: str that no other plot of the page has.

    Returns:
        (svg, logarithmic): str of one `<svg>` element, and whether the y axis is logarithmic.
    """
    steps, values = np.asarray(steps, float), np.asarray(values, float)
    finite = np.isfinite(values)
    steps, values = _thinned(steps[finite], values[finite])
    logarithmic = len(values) > 0 and values.min() > 0 and values.max() / values.min() > _LOG_SCALE_RATIO
    with matplotlib.rc_context(_STYLE):
        figure, axes = _empty_plot()
        axes.plot(steps, values, color=_ACCENT, linewidth=1.4, marker="o" if len(values) < 3 else None, markersize=4)
        axes.set_yscale("log" if logarithmic else "linear")
        axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        if logarithmic:
            axes.yaxis.set_minor_formatter(ticker.NullFormatter())
        else:
            axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
        axes.set_xlim(0, steps[-1] * 1.02 if len(steps) else 1)
        return _drawn(figure, identifier), bool(logarithmic)


def ranking(counts, identifier):
    """Shares of counted things, from most to least common, on a logarithmic axis.

    Args:
        counts: ints, at least one above 0; those that never occurred have no point.
        identifier: str that no other plot of the page has.

    Returns:
        str of one `<svg>` element.
    """
    shares = np.sort(np.asarray(counts, float))[::-1] / np.sum(counts)
    shares = shares[shares > 0]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _empty_plot()
        ranks, shown = _thinned(np.arange(1, len(shares) + 1), shares)
        axes.plot(ranks, shown, color=_ACCENT, linewidth=1.4, drawstyle="steps-mid")
        axes.axhline(1 / len(counts), color=_FAINT, linewidth=0.8, linestyle="--")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
        axes.set_xlim(0, len(counts) * 1.02)
        return _drawn(figure, identifier)


def interval_curve(positions, values, lows, highs, identifier, references=None):
    """A curve with a confidence band, such as accuracy over depth.

    Args:
        positions: ints, ascending, such as block numbers.
        values, lows, highs: floats, one for each position.
        identifier: str that no other plot of the page has.
        references: dict from a label to a float, drawn as horizontal lines for comparison, or None.

    Returns:
        str of one `<svg>` element.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _empty_plot()
        axes.fill_between(positions, lows, highs, color=_ACCENT, alpha=0.2, linewidth=0)
        axes.plot(positions, values, color=_ACCENT, linewidth=1.4, marker="o", markersize=3)
        for label, value in (references or {}).items():
            axes.axhline(value, color=_FAINT, linewidth=1, linestyle="--")
            axes.annotate(label, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=_INK)
        axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
        return _drawn(figure, identifier)


def _empty_plot():
    figure = Figure(figsize=(3.6, 2.0), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(True)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    return figure, axes


def _drawn(figure, identifier):
    output = io.StringIO()
    no_metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    FigureCanvasSVG(figure).print_svg(output, metadata=no_metadata)
    return _for_page(output.getvalue(), identifier)


def _thinned(steps, values):
    """At most about `_MAX_POINTS` points: the lowest and the highest of each stretch, so no spike is lost."""
    if len(values) <= _MAX_POINTS:
        return steps, values
    kept = {0, len(values) - 1}
    for stretch in np.array_split(np.arange(len(values)), _MAX_POINTS // 2):
        kept |= {stretch[values[stretch].argmin()], stretch[values[stretch].argmax()]}
    kept = sorted(kept)
    return steps[kept], values[kept]


def _for_page(svg, identifier):
    """Only the `<svg>` element, in the page's colours and width, with unique ids."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*" ', r"\1", svg, count=1)
    # Style rules and fonts of a plot would reach the whole page; white backgrounds would hide it.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;]*; ", "", svg)
    svg = svg.replace("fill: #ffffff", "fill: none")
    for placeholder, color in _PAGE_COLORS.items():
        svg = svg.replace(placeholder, color)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{identifier}-", svg)
    # Positions to a hundredth of a point are enough; what is between tags is text, such as 0.0025 on an axis.
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"\d+\.\d{3,}", lambda value: f"{float(value[0]):.2f}", tag[0]), svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    return re.sub(r"> <", "><", svg).strip()
