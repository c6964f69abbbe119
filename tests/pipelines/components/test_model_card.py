"""The model card."""

import html.parser as html_parser
import json
import re

import markdown_it
import pytest

from pipelines.components.model_card import LICENCE_MISSING, model_card

METRICS = {"reconstruction/psnr": 24.968, "generation/frechet_distance": None}
CONDITIONS = {
    "reconstruction/psnr": {"measured": {"num_images": 360, "split": "validation"}},
    "generation/frechet_distance": {
        "measured": {"num_images": 500, "what": "samples"},
        "reference": {"num_images": 360, "split": "validation"},
    },
}


def card(signatures=("encode", "generate"), licence="", attributions=()):
    facts = {"tokenizer checksum": "abc", "code version": "0.1.0+123"}
    return model_card("digits", "7", list(signatures), METRICS, CONDITIONS, facts, licence, attributions)


def test_metrics_are_next_to_what_they_were_measured_on():
    assert "| reconstruction/psnr | 24.97 | 360 validation |" in card()
    assert "| generation/frechet_distance | not finite | 500 samples against 360 validation |" in card()


def test_it_says_what_the_model_is_made_of():
    assert "| tokenizer checksum | abc |\n| code version | 0.1.0+123 |" in card()


def test_a_licence_that_is_not_given_is_asked_for():
    assert f"## Licence\n\n{LICENCE_MISSING}\n" in card()
    assert LICENCE_MISSING not in card(licence="CC BY 4.0")
    assert "## Licence\n\nCC BY 4.0\n" in card(licence="CC BY 4.0")


def test_it_says_who_made_the_images_if_their_licence_asks_for_it():
    shown = card(licence="CC BY 4.0", attributions=["Lorelei by L. W., CC0 1.0", "*Thumbs*"])
    assert "## Licence\n\nCC BY 4.0\n\nThe training images are made from:\n\n- Lorelei by L. W., CC0 1.0\n" in shown
    assert "- &#42;Thumbs&#42;\n\n## Metrics" in shown
    assert "are made from" not in card()


def test_the_code_on_it_is_python_that_calls_an_existing_signature():
    for signatures, called in ((("encode", "generate"), "generate"), (("encode", "decode"), "encode")):
        code = re.search(r"```python\n(.*?)```", card(signatures), re.DOTALL).group(1)
        compile(code, "card", "exec")
        assert f'signatures["{called}"]' in code


def test_the_code_on_it_gives_every_input_of_a_sample():
    assert (
        "    label=tf.constant([0]), seed=tf.constant([0]), temperature=tf.constant([1.0]), top_k=tf.constant([0]),\n"
        "    top_p=tf.constant([1.0]), guidance_scale=tf.constant([1.0]),\n"
    ) in card()


def test_it_begins_like_tf_hub_s_documentation():
    assert card().splitlines()[0] == "# Module digits/7"
    assert "<!-- format: saved_model_2 -->" in card()


HOSTILE = [
    "cats | dogs",
    "two\nlines\r\n\n# Heading",
    "<img src=x onerror=alert(1)>",
    "--> <script>alert(1)</script> <!--",
    "[click](javascript:alert(1)) ![x](http://a/b.png)",
    "`code` ``` *bold* _soft_ ~~gone~~ **",
    "&lt;b&gt; &amp; \\| \\",
    "1. first",
    "- item",
    "12) twelfth",
    "\u202eevil\u2028line\x00\x1b[31m",
    "Katze, Hund & Vögel: 10 % (große)",
]


def shown(markdown):
    """(texts of the paragraphs and cells, HTML) of Markdown with tables, as a reader that takes HTML renders it."""
    html = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").render(markdown)
    texts, tags = [""], []

    class Reader(html_parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)
            texts.append("")

        def handle_data(self, data):
            texts[-1] += data

        def handle_comment(self, data):
            tags.append(f"comment{data}")

    reader = Reader()
    reader.feed(html)
    reader.close()
    return [text.strip() for text in texts], tags


@pytest.mark.parametrize("value", HOSTILE)
def test_names_and_licences_are_text_and_nothing_else(value):
    plain = shown(model_card("digits", "7", ["encode"], METRICS, CONDITIONS, {"classes": "plain"}, "plain"))
    hostile = model_card("digits", "7", ["encode"], METRICS, CONDITIONS, {"classes": value}, value)
    texts, tags = shown(hostile)
    line = " ".join("".join(each if each.isprintable() else " " for each in value).split())
    assert [text.replace(line, "plain") for text in texts] == plain[0]
    assert texts.count(line) == 2, "the licence, and the classes"
    without_licence = [tag for tag in tags if not tag.startswith("comment license")]
    assert without_licence == [tag for tag in plain[1] if not tag.startswith("comment license")]
    (licence,) = [tag for tag in tags if tag.startswith("comment license")]
    assert not set("<>") & set(licence) and "--" not in licence


def test_what_conditions_hold_stays_in_their_block():
    conditions = {"a/b": {"measured": {"source": "folder:```\n```\n<script>"}}}
    texts, tags = shown(model_card("digits", "7", ["encode"], {"a/b": 1.0}, conditions, {}))
    assert "script" not in tags
    assert json.loads(texts[-1]) == conditions
