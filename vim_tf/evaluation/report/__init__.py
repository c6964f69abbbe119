"""Writes the report of one evaluation, or of several side by side, as a self-contained HTML file."""

from vim_tf.evaluation.report import views
from vim_tf.evaluation.report.comparison import write_comparison
from vim_tf.evaluation.report.page import format_value, write_page

__all__ = ["format_value", "write_comparison", "write_report"]

_PAPER_NOTE = (
    "Rows of arXiv 2110.04627, tables 3 to 6 and 8. Our values are comparable only where they were measured through "
    "TF-GAN's Inception graph on the whole validation split; the paper doesn't state its number of samples."
)


def write_report(
    path,
    title,
    result,
    curves,
    lineage=None,
    subtitle="",
    paper_rows=(),
    refused=None,
    created=None,
    attributions=(),
):
    """Writes the report: images first, then the metrics that matter, then everything that explains them.

    Args:
        path: str, of the HTML file.
        title: str.
        result: EvaluationResult.
        curves: dict from a heading, such as a stage's name, to the lines of its `metrics.jsonl`: list of dicts of
            step and `stage/name` -> float.
        lineage: dict from the name of a part to where it came from, str or nested dict (folded); shown at the end.
        subtitle: str, one sentence on what was measured.
        paper_rows: list of (model, dict from metric name to float), which are shown next to ours.
        refused: list of str, the gates that the model missed, empty if it passed them all; None = there were no gates.
        created: datetime; None = now.
        attributions: list of str, credits that the images' licences ask for; shown below the images.
    """
    write_page(
        path,
        "report.html",
        title,
        subtitle,
        created,
        refused=refused,
        images=views.image_views(result.pictures),
        attributions=attributions,
        summary=views.summary_rows(result.metrics),
        metrics=views.metric_rows(result.metrics, result.conditions),
        paper=_paper_table(result.metrics, paper_rows),
        plot_sections=views.plot_sections(result, curves),
        lineage=views.lineage_view(lineage),
    )


def _paper_table(metrics, rows):
    if not rows:
        return None
    names = list(dict.fromkeys(name for _, values in rows for name in values))
    return views.model_rows("The paper's models", names, [("this run", metrics), *rows], _PAPER_NOTE)
