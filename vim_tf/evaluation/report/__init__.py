"""The report of an evaluation, and several put side by side: HTML files that need nothing else."""

from vim_tf.evaluation.report.comparison import write_comparison
from vim_tf.evaluation.report.page import write_page
from vim_tf.evaluation.report.sections import (
    curve_section,
    depth_section,
    format_value,
    histogram_section,
    lineage_section,
    metric_section,
    picture_section,
    rows_section,
    verdict_section,
)

__all__ = ["format_value", "write_comparison", "write_report"]

_PAPER_NOTE = (
    "Rows of arXiv 2110.04627, tables 3 to 6 and 8. Our values are comparable only where they were measured through "
    "TF-GAN's Inception graph on the whole validation split; the paper doesn't state its number of samples."
)


def write_report(path, title, result, curves, lineage=None, subtitle="", paper_rows=(), refused=None, created=None):
    """Writes the report.

    Args:
        path: str, of the HTML file.
        title: str.
        result: EvaluationResult.
        curves: dict from a heading, such as a stage's name, to the lines of its `metrics.jsonl`: list of dicts of
            step and `stage/name` -> float.
        lineage: dict from what something is to where it came from, str or nested dict (folded); shown at the end.
        subtitle: str, what was measured, in a sentence.
        paper_rows: list of (model, dict from metric name to float), which stand beside ours.
        refused: list of str, the gates that the model missed, empty if it passed them all; None = there were none.
        created: datetime; None = now.
    """
    sections = [
        verdict_section(refused),
        metric_section(result.metrics, result.conditions),
        _paper_section(result.metrics, paper_rows),
        *(picture_section(picture) for picture in result.pictures.values()),
        depth_section(result),
        *(histogram_section(name, counts) for name, counts in result.histograms.items()),
        *(curve_section(heading, lines, f"c{index}") for index, (heading, lines) in enumerate(curves.items())),
        lineage_section(lineage or {}),
    ]
    write_page(path, title, subtitle, sections, created)


def _paper_section(metrics, rows):
    if not rows:
        return ""
    names = list(dict.fromkeys(name for _, values in rows for name in values))
    return rows_section("The paper's models", names, [("this run", metrics), *rows], _PAPER_NOTE)
