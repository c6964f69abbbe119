"""Writes the model card of a published module: what it does, how well, and what it was made of."""

import json
import re
import textwrap

from vim_tf import ranges

# Syntax of Markdown and HTML: underscores not within a word, and what begins a list, rule or heading.
_MEANINGFUL = re.compile(r"""[&<>|`*\[\]\\~#!$"'{}]|(?<!\w)_|_(?!\w)|^[-+=:]|(?<=^\d)[.)](?= )|(?<=^\d\d)[.)](?= )""")
LICENCE_MISSING = "not stated: fill it in before you publish the module"


def model_card(name, version, signatures, metrics, conditions, facts, licence="", attributions=()):
    """Markdown in the form of TF Hub's documentation files.

    Args:
        name: str, of the module.
        version: str.
        signatures: list of str.
        metrics: dict from `stage/name` to float, or None where it was not finite.
        conditions: dict from `stage/name` to a nested dict of JSON values: what the value depends on.
        facts: dict from str to str, what the model was made of, in the order of the card.
        licence: str.
        attributions: list of str, credits that the licences of the training images ask for.

    Returns:
        str.
    """
    lines = [
        *_head(name, version, licence),
        "",
        "## Use",
        "",
        *_use(signatures),
        "",
        "## Licence",
        "",
        _text(licence) or LICENCE_MISSING,
        "",
        *_made_by(attributions),
        "## Metrics",
        "",
        "| metric | value | images |",
        "|---|---|---|",
        *(
            f"| {_text(key)} | {_number(value)} | {_text(_images(conditions.get(key, {})))} |"
            for key, value in metrics.items()
        ),
        "",
        "## Made of",
        "",
        "| what | which |",
        "|---|---|",
        *(f"| {_text(what)} | {_text(which)} |" for what, which in facts.items()),
        "",
        "## Limits",
        "",
        "Samples reflect the training images, including their bias. Metrics hold only for the conditions below.",
        "",
        "## Conditions of the metrics",
        "",
        # No line of JSON begins with a backtick, so no value can end the block.
        "```json",
        json.dumps(conditions, indent=1, sort_keys=True, ensure_ascii=False),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _head(name, version, licence):
    """The lines that TF Hub reads at the top of the file."""
    return [
        f"# Module {_text(name)}/{_text(version)}",
        "Generates images and turns images to tokens and features: ViT-VQGAN and VIM "
        "([arXiv 2110.04627](https://arxiv.org/abs/2110.04627)).",
        "",
        "<!-- task: image-generator -->",
        "<!-- format: saved_model_2 -->",
        "<!-- fine-tunable: false -->",
        f"<!-- license: {_comment(licence) or 'custom'} -->",
    ]


def _made_by(attributions):
    if not attributions:
        return []
    return ["The training images are made from:", "", *(f"- {_text(each)}" for each in attributions), ""]


def _use(signatures):
    return [
        "```python",
        "import tensorflow as tf",
        "",
        'model = tf.saved_model.load("<this folder>")',
        *_call(signatures),
        "```",
        "",
        f"Signatures: {', '.join(f'`{signature}`' for signature in signatures)}.",
    ]


def _call(signatures):
    """Code that calls the most useful signature."""
    if "generate" not in signatures:
        return ['tokens = model.signatures["encode"](image_bytes=tf.constant([open("a.png", "rb").read()]))["tokens"]']
    values = {"label": 0, "seed": 0} | {name: setting.default for name, setting in ranges.SAMPLING.items()}
    arguments = " ".join(f"{name}=tf.constant([{value}])," for name, value in values.items())
    return [
        'images = model.signatures["generate"](',
        *textwrap.wrap(arguments, 110, initial_indent="    ", subsequent_indent="    "),
        ')["images"]  # uint8 [1, height, width, 3]',
    ]


def _text(value):
    """A value on one line, as text without meaning in Markdown or the HTML in it.

    Characters with a meaning are written as character references, which both read as the plain character: a backslash
    would not work in HTML, nor everywhere in a table.
    """
    return _MEANINGFUL.sub(lambda found: f"&#{ord(found[0])};", _line(value))


def _comment(value):
    """A value for an HTML comment, in which character references aren't read."""
    return re.sub(r"-{2,}|[<>]", "-", _line(value)).strip("-")


def _line(value):
    """A value without line breaks and other invisible characters."""
    return " ".join("".join(each if each.isprintable() else " " for each in str(value)).split())


def _number(value):
    return "not finite" if value is None else f"{value:.4g}"


def _images(condition):
    """Summary of what a metric was measured on: number and split or kind, and what it was compared with."""
    parts = []
    for name in ("measured", "reference"):
        values = condition.get(name, {})
        if "num_images" in values:
            parts.append(f"{values['num_images']} {values.get('what') or values.get('split', '')}".strip())
    return " against ".join(parts)
