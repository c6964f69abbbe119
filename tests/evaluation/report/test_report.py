"""The report: complete, self-contained, escaped."""

import base64
import datetime
import html.parser
import re

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.evaluation.pictures import Picture
from vim_tf.evaluation.report import format_value, write_report
from vim_tf.evaluation.report.views import metric_order
from vim_tf.evaluation.results import EvaluationResult

VOID = {"meta", "link", "img", "br", "wbr"}


class Page(html.parser.HTMLParser):
    """Collects texts and attributes, and checks that tags are closed in order."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, [12, 24, 3]).astype(np.uint8)


@pytest.fixture
def write(tmp_path, image):
    def function(**changes):
        arguments = {
            "title": "Digits",
            "metrics": {"generation/frechet_distance": 3.25, "real/frechet_distance": 1.5, "reconstruction/psnr": None},
            "conditions": {"generation/frechet_distance": {"measured": {"num_images": 200}, "sampling": {}}},
            "pictures": {"generation/samples": Picture("Samples", image, "noise", "Not picked.", ("zero",), 2)},
            "curves": {"Tokenizer": [{"step": 10, "tokenizer/loss": 1.0}, {"step": 20, "tokenizer/loss": 0.5}]},
            "lineage": {"tokenizer": {"checksum": "abc"}},
            "subtitle": "All of it.",
            "created": datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC),
        }
        arguments |= changes
        parts = {name: arguments.pop(name) for name in ("metrics", "conditions", "pictures")}
        path = str(tmp_path / "report.html")
        write_report(path, result=EvaluationResult(**parts), **arguments)
        with open(path, encoding="utf-8") as file:
            return file.read()

    return function


def test_it_shows_what_was_measured_and_when(write):
    text = Page(write()).text
    for part in ("Digits", "All of it.", "02 January 2026, 03:04 UTC", "number of images200", "tokenizer checksumabc"):
        assert part in text


def test_values_are_next_to_those_of_real_images(write):
    text = Page(write()).text
    assert "Samples: Fréchet distance ↓lower is better 3.2501.500" in text


def test_a_metric_that_is_not_finite_is_a_dash(write):
    assert "Reconstructions: PSNR ↑higher is better \N{EN DASH} dB" in Page(write()).text


def test_images_are_inside_the_file(write, image):
    images = [attributes for tag, attributes in Page(write()).tags if tag == "img"]
    assert len(images) == 1
    png = base64.b64decode(images[0]["src"].removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(tf.io.decode_png(png), image)
    assert images[0]["alt"] == "noise; rows from the top: zero"


def test_nothing_is_loaded_from_elsewhere_and_no_script_runs(write):
    for tag, attributes in Page(write()).tags:
        assert tag != "script"
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert "@import" not in write()


def test_everything_is_escaped(write, image):
    evil = '<script>alert("1")</script>'
    source = write(
        title=evil,
        subtitle=evil,
        metrics={evil: 1.0},
        conditions={evil: {evil: evil, "nested": {evil: evil}}},
        pictures={evil: Picture(evil, image, evil, evil, (evil,), 2)},
        curves={evil: [{"step": 1, evil: 1.0}, {"step": 2, evil: 2.0}]},
        lineage={evil: evil},
        attributions=[evil],
    )
    assert "<script" not in source
    Page(source)


def test_whoever_made_the_images_is_named_below_them(write):
    text = Page(write(attributions=["Lorelei by L. W., CC0 1.0"])).text
    assert text.index("Samples") < text.index("Lorelei by L. W., CC0 1.0") < text.index("This model")
    assert "Lorelei" not in Page(write(attributions=["Lorelei"], pictures={})).text  # no image, nothing to be named


def test_curves_with_values_in_few_lines_are_drawn(write):
    lines = [{"step": 1, "a/loss": 1.0}, {"step": 2, "a/loss": 0.5, "b/psnr": 20.0}]
    page = Page(write(curves={"Stage": lines}))
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 1
    assert "measured once, at step 2" in page.text


def test_images_come_first_then_the_short_table_then_what_explains_it(write, image):
    first = Picture("Samples", image, "noise", "", (), 2)
    second = Picture("Reconstructions", image, "noise", "", (), 2)
    text = Page(write(pictures={"reconstruction/examples": second, "generation/samples": first})).text
    parts = ["Samples", "Reconstructions", "This model", "All 3 values", "Conditions", "Training: Tokenizer", "Lineage"]
    positions = [text.index(part) for part in parts]
    assert positions == sorted(positions)


def test_curves_are_grouped_by_topic(write):
    names = [
        "tokenizer/learning_rate",
        "codebook/window_usage",
        "tokenizer/images_per_second",
        "language_model/validation_bits_per_token",
        "tokenizer/gradient_norm",
        "tokenizer/codebook_loss",
        "reconstruction/psnr",
    ]
    lines = [{"step": step, **dict.fromkeys(names, 0.1)} for step in (1, 2)]
    text = Page(write(curves={"Stage": lines}, metrics={}, conditions={})).text
    text = text[text.index("Training: Stage") :]
    expected = ["losses", "tokenizer/codebook_loss", "quality", "language_model/validation_bits_per_token"]
    expected += ["reconstruction/psnr", "codebook", "codebook/window_usage", "speed and schedule"]
    expected += ["tokenizer/learning_rate", "tokenizer/images_per_second", "tokenizer/gradient_norm"]
    positions = []
    for part in expected:
        positions.append(text.index(part, positions[-1] + 1 if positions else 0))
    assert positions == sorted(positions)


def test_empty_parts_are_left_out(write):
    page = Page(write(metrics={}, conditions={}, pictures={}, curves={"Stage": []}, lineage=None))
    assert not [tag for tag, _ in page.tags if tag == "section"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (25.4321, "25.43"),
        (0.0062524, "0.006252"),
        (0.95, "0.9500"),
        (0.0, "0"),
        (12345.6, "12346"),
        (1.5e-5, "1.500e-05"),
        (-1.25, "-1.250"),
        (None, "\N{EN DASH}"),
        (float("inf"), "\N{EN DASH}"),
    ],
)
def test_values_have_four_significant_digits(value, text):
    assert format_value(value) == text


def test_metrics_are_listed_by_stage_with_real_images_last():
    names = ["real/recall", "generation/recall", "linear_probe/block_00_top1", "codebook/usage", "generation/fid"]
    assert sorted([*names, "other/x", "reconstruction/psnr"], key=metric_order) == [
        "reconstruction/psnr",
        "codebook/usage",
        "generation/recall",
        "generation/fid",
        "linear_probe/block_00_top1",
        "real/recall",
        "other/x",
    ]
