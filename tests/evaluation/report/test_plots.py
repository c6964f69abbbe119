"""Curves as SVG."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from vim_tf.evaluation.report import plots


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_small_values_keep_their_tick_labels():
    svg, _ = plots.curve([0, 100], [0.0025, 0.005], "p")
    ticks = [text for text in texts(svg) if "." in text]
    assert len(set(ticks)) == len(ticks) >= 3
    assert all(0.002 < float(text) < 0.0055 for text in ticks)


def test_a_wide_span_is_shown_logarithmically():
    assert plots.curve([1, 2, 3], [100.0, 1.0, 0.1], "p")[1]
    assert not plots.curve([1, 2, 3], [100.0, 50.0, 20.0], "p")[1]
    assert not plots.curve([1, 2, 3], [100.0, 1.0, 0.0], "p")[1]


def test_values_that_are_not_finite_are_left_out():
    svg, _ = plots.curve([1, 2, 3, 4], [1.0, float("nan"), float("inf"), 2.0], "p")
    assert "nan" not in svg
    assert ElementTree.fromstring(svg) is not None


def test_a_curve_without_finite_values_is_drawn_empty():
    assert plots.curve([1, 2], [float("nan")] * 2, "p")[0].startswith("<svg")


def test_colours_are_the_page_s():
    svg, _ = plots.curve([1, 2], [1.0, 2.0], "p")
    assert "var(--accent)" in svg
    assert not re.search(r"#[0-9a-f]{6}", svg)


def test_ids_differ_between_plots():
    ids = [set(re.findall(r'\bid="([^"]*)"', plots.curve([1, 2], [1.0, 2.0], name)[0])) for name in ("p0", "p1")]
    assert ids[0] and not ids[0] & ids[1]


def test_references_lead_to_ids_of_the_plot():
    svg, _ = plots.curve([1, 2], [1.0, 2.0], "p")
    used = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', svg)
    assert used and {a or b for a, b in used} <= set(re.findall(r'\bid="([^"]*)"', svg))


def test_thinning_keeps_both_ends_and_spikes():
    values = np.zeros(100_000)
    values[[0, 55_555, 77_777, -1]] = [1, 9, -9, 2]
    steps, kept = plots._thinned(np.arange(100_000), values)
    assert len(kept) < 500
    assert {0, 55_555, 77_777, 99_999} <= set(steps.tolist())


def test_a_curve_with_intervals_shows_its_references_in_the_page_s_colours():
    svg = plots.interval_curve([0, 1, 2], [0.4, 0.6, 0.5], [0.3, 0.5, 0.4], [0.5, 0.7, 0.6], "p", {"pixels": 0.55})
    assert "pixels" in texts(svg)
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert all(name.startswith("p-") for name in re.findall(r'\bid="([^"]*)"', svg))


def test_a_curve_with_intervals_has_a_tick_for_the_first_block():
    svg = plots.interval_curve(list(range(4)), [0.4, 0.6, 0.5, 0.5], [0.3] * 4, [0.7] * 4, "p")
    assert "0" in texts(svg)
