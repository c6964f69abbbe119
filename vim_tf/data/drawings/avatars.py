"""Draws avatars: images of people that DiceBear composes from the parts of a style.

A drawing is a function of (split, style, index) at any size. DiceBear's generator is a hash of the seed and the
name of the choice, so that consecutive seeds give unrelated drawings.
"""

import functools
import importlib.metadata
import importlib.resources
import io
import itertools
import json
from typing import NamedTuple

import numpy as np

from vim_tf.data.drawings.attribution import Attribution
from vim_tf.storage.digests import integers

PACKAGES = ("dicebear-core", "dicebear-styles", "resvg-py")

# Share of the compositions that only validation draws.
VALIDATION_SHARE = 0.2
# For styles without a background of their own.
_BACKGROUNDS = ("#b6e3f4", "#c0aede", "#d1d4f9", "#ffd5dc", "#ffdfbf", "#c8f0d0", "#fff1a8")

_CC0 = ("CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/")
_CC_BY = ("CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/")


class Style(NamedTuple):
    """A style of drawing.

    Attributes:
        attribution: Attribution.
        scale: float, how much larger than its maker drew it; for those that are small in their frame.
    """

    attribution: Attribution
    scale: float = 1.0


def _style(title, creator, licence, source, changes="recomposed with DiceBear, rendered on a background", scale=1.0):
    return Style(Attribution(title, creator, *licence, source, changes), scale)


# In the order of the labels.
STYLES = {
    "adventurer": _style(
        "Adventurer",
        "Lisa Wischofsky",
        _CC_BY,
        "https://www.figma.com/community/file/1184595184137881796",
        "recomposed with DiceBear, enlarged, rendered on a background",
        scale=1.25,
    ),
    "big-smile": _style(
        "Custom Avatar", "Ashley Seo", _CC_BY, "https://www.figma.com/community/file/881358461963645496"
    ),
    "lorelei": _style("Lorelei", "Lisa Wischofsky", _CC0, "https://www.figma.com/community/file/1198749693280469639"),
    "micah": _style(
        "Avatar Illustration System", "Micah Lanier", _CC_BY, "https://www.figma.com/community/file/829741575478342595"
    ),
    "miniavs": _style(
        "Miniavs - Free Avatar Creator", "Webpixels", _CC_BY, "https://www.figma.com/community/file/923211396597067458"
    ),
    "notionists": _style(
        "Notionists",
        "Zoish",
        _CC0,
        "https://heyzoish.gumroad.com/l/notionists",
        "recomposed with DiceBear, enlarged, rendered on a background",
        scale=1.3,
    ),
    "open-peeps": _style("Open Peeps", "Pablo Stanley", _CC0, "https://www.openpeeps.com/"),
    "pixel-art": _style("Pixel Art", "DiceBear", _CC0, "https://www.figma.com/community/file/1198754108850888330"),
    "thumbs": _style("Thumbs", "DiceBear", _CC0, "https://www.dicebear.com"),
    "toon-head": _style("ToonHead", "Johan Melin", _CC_BY, "https://www.figma.com/community/file/1589627891082866389"),
}


class Composition(NamedTuple):
    """A drawing before it is rendered.

    Attributes:
        svg: str.
        choices: {attribute: value}, str, the parts and colours that it was composed of: `hair` is the variant of a
            part, `hair_color` a colour such as #0e0e0e. What isn't in the drawing has no entry.
    """

    svg: str
    choices: dict[str, str]


def versions():
    """{package: version} of what a drawing depends on.

    Raises:
        ImportError: one isn't installed.
    """
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def facts():
    """JSON value that changes when the drawings do, other than by the packages' versions."""
    return [VALIDATION_SHARE, _BACKGROUNDS, {name: style.scale for name, style in STYLES.items()}]


def compose(split, style, index):
    """A drawing of a style.

    No two drawings of different splits have all choices in common: a hash of the choices says which split they are of,
    and the first seed whose composition is of the right one is taken.

    Args:
        split: train or validation.
        style: str, of STYLES.
        index: int, from 0; unlimited.

    Returns:
        Composition.
    """
    from dicebear import Avatar

    for attempt in itertools.count():
        seed = f"{split}/{style}/{index}/{attempt}"
        avatar = Avatar(_definition(style), {"seed": seed, "scale": STYLES[style].scale})
        drawn = avatar.to_json()
        choices = _choices(**drawn)
        if split_of(style, choices) == split:
            return Composition(drawn["svg"], choices)


def split_of(style, choices):
    """The split that a composition belongs to: train or validation."""
    content = json.dumps([style, choices], sort_keys=True).encode()
    return "validation" if integers(content, 1)[0] / 2**64 < VALIDATION_SHARE else "train"


def render(svg, height, width):
    """Pixels of a square drawing, uint8 [height, width, 3]; the longer side is filled, the rest is cut off evenly."""
    import resvg_py
    from PIL import Image

    side = max(height, width)
    png = resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, background="#ffffff", skip_system_fonts=True)
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    top, left = (side - height) // 2, (side - width) // 2
    return pixels[top : top + height, left : left + width]


def label_of(number):
    """Label of the drawing with a given number in a split: styles take turns."""
    return number % len(STYLES)


def key_of(split, number):
    """Key of the drawing with a given number in a split: str."""
    label = label_of(number)
    return f"avatars-{split}-{list(STYLES)[label]}-{number // len(STYLES):06d}"


def draw(split, start, stop, height, width):
    """Some drawings of a split.

    Args:
        split: train or validation.
        start, stop: int, number of the first drawing, and one more than that of the last.
        height, width: int, pixels.

    Returns:
        (uint8 array [stop - start, height, width, 3], list of their choices as in Composition).
    """
    names = list(STYLES)
    composed = [compose(split, names[label_of(number)], number // len(names)) for number in range(start, stop)]
    return np.stack([render(each.svg, height, width) for each in composed]), [each.choices for each in composed]


@functools.cache
def _definition(name):
    from dicebear import Style as Definition

    content = importlib.resources.files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8")
    definition = json.loads(content)
    definition["colors"].setdefault("background", {"values": list(_BACKGROUNDS)})
    return Definition(definition)


def _choices(svg, options):
    """Choices of a Composition, out of a drawing and DiceBear's options."""
    choices = {}
    for name, value in options.items():
        if name.endswith("Variant"):
            choices[_snake_case(name.removesuffix("Variant"))] = value
        # Some colours are only looked up, for others to contrast with. A second one is for gradients.
        elif name.endswith("Color") and value and value[0] in svg:
            choices[_snake_case(name)] = value[0]
    return choices


def _snake_case(name):
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
