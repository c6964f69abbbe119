"""The report and the comparison in a real browser: light and dark, narrow and wide."""

import numpy as np
import pytest

from tests import browser
from vim_tf.evaluation.pictures import Picture
from vim_tf.evaluation.report import write_comparison, write_report
from vim_tf.evaluation.results import EvaluationResult, write_metrics

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a report that has every part, and a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, [36, 20 * 18, 3]).astype(np.uint8)
    metrics = {"reconstruction/psnr": 25.0, "generation/frechet_distance": 3.25, "real/frechet_distance": 1.5}
    conditions = {"generation/frechet_distance": {"reference": {"resize_rule": "a long rule " * 20}}}
    for block, accuracy in enumerate((0.5, 0.8, 0.7)):
        metrics[f"linear_probe/block_{block:02d}_top1"] = accuracy
        conditions[f"linear_probe/block_{block:02d}_top1"] = {"interval_95": [accuracy - 0.05, accuracy + 0.05]}
    write_report(
        str(folder / "report.html"),
        title="A name that is as long as names of data sets get: imagenet2012_subset/10pct",
        result=EvaluationResult(
            metrics,
            conditions,
            {"generation/samples": Picture("Samples", noise, "noise", "Not picked.", ("zero", "one"), 20)},
            {"codebook/counts": random.integers(0, 500, 1024)},
        ),
        curves={"tokenizer": [{"step": step, "tokenizer/loss": 1 / step} for step in range(1, 50)]},
        lineage={"data": {"source": "digits"}, "tokenizer checksum": "0123456789abcdef" * 4},
        paper_rows=[("ViT-VQGAN Base-Base", {"reconstruction/fid": 1.55, "codebook/usage_per_256": 0.96})],
    )
    for name, value in (("first", 25.0), ("second", 26.0), ("third", 24.0)):
        write_metrics(str(folder / name / "metrics.json"), {"reconstruction/psnr": value}, {})
    write_comparison(str(folder / "comparison.html"), [str(folder / name) for name in ("first", "second", "third")])
    return folder


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_it_renders_without_broken_images_errors_or_overflow(name, dark, folder, tmp_path):
    views, console = browser.look_at(folder / f"{name}.html", tmp_path / "profile", dark)
    assert console == []
    assert len(views) == len(browser.WIDTHS)
    for view in views:
        assert view["title"]
        assert view["broken"] == []
        assert view["overflow"] <= 0, "the page is wider than the window"
        assert view["dark"] == dark
        assert view["contrast"] >= 7
        if name == "report":
            assert view["images"] == 1
            assert view["plots"] > 5


def test_a_broken_image_is_noticed(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        '<!DOCTYPE html><title>x</title><link rel="icon" href="data:,"><img src="data:image/png,no" alt="n">'
    )
    views, _ = browser.look_at(page, tmp_path / "profile", dark=False)
    assert [view["broken"] for view in views] == [["n"], ["n"]]
