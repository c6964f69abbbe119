"""Draws the letters and digits of font files, black on white."""

import string

import numpy as np

from vim_tf.errors import one_line

CHARACTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits

# Part of the image that the largest glyph of a face fills.
_FILLED = 0.88
# Glyphs are drawn this much larger and reduced, so that the font's hinting for small sizes doesn't change the shapes.
_REDUCED = 4
# Pixels per em at which the glyphs of a face are measured.
_MEASURED_SIZE = 200
# Height and width of the glyphs by which faces are compared.
_COMPARED = 16
# Faces whose glyphs differ by less than this are drawn alike: root of the mean square of pixels in [0, 1].
SAME_BELOW = 0.02

# No letter is larger than this, and a glyph that is could fill all memory.
_MOST_EMS = 10
# Characters named in a message.
_NAMED = 5
# Numbers in a font's table of names; those that come first are preferred.
_FAMILY, _STYLE, _LICENCE = (16, 1), (17, 2), (13, 14)


def versions():
    """Versions of what a drawing depends on: list of str."""
    from PIL import __version__, features

    return [__version__, features.version("freetype2")]


def draw(path, height, width):
    """The glyphs of a font file.

    Args:
        path: str, a TrueType or OpenType file.
        height, width: int, pixels.

    Returns:
        (uint8 [62, height, width, 1], uint8 [62, 16, 16] to compare faces by, dict of str with `family`, `style` and
        `licence`), in the order of CHARACTERS. All glyphs of a face are drawn in one size, each in the middle.

    Raises:
        ValueError: the file can't be read or lacks glyphs; the message is one line.
    """
    facts = _read_names(path)
    try:
        inks = _inks(path, _MEASURED_SIZE)
        empty = [character for character, ink in zip(CHARACTERS, inks, strict=True) if ink is None]
        if empty:
            raise ValueError(f"it draws nothing for {_listed(empty)}")
        largest = max(ink.width for ink in inks), max(ink.height for ink in inks)
        images = _glyphs(path, height, width, largest)
        compared = _glyphs(path, _COMPARED, _COMPARED, largest)
    except OSError as error:
        raise ValueError(one_line(error)) from error
    return images[..., None], compared, facts


def draw_all(paths, height, width):
    """`draw` for several files: list of results; where there is none, a str says why."""
    return [_draw_or_say_why(path, height, width) for path in paths]


def distinct(compared):
    """Bool array [faces]: which faces aren't drawn like one before them that is kept.

    Args:
        compared: uint8 [faces, 62, 16, 16], as `draw` returns it.
    """
    kept = np.zeros(len(compared), bool)
    if not len(compared):
        return kept
    flat = compared.reshape(len(compared), -1).astype(np.float32) / 255
    squares = np.sum(flat**2, axis=1)
    limit = SAME_BELOW**2 * flat.shape[1]
    for index, row in enumerate(flat):
        distances = squares[:index] + squares[index] - 2 * (flat[:index] @ row)
        kept[index] = not np.any(distances[kept[:index]] < limit)
    return kept


def _draw_or_say_why(path, height, width):
    try:
        return draw(path, height, width)
    except ValueError as error:
        return str(error)


def _read_names(path):
    """Facts of a font file, as in `draw`; checks that it has every character."""
    from fontTools.ttLib import TTFont

    try:
        with TTFont(path, lazy=True) as font:
            there = font.getBestCmap() or {}
            names = {number: font["name"].getDebugName(number) for number in (*_FAMILY, *_STYLE, *_LICENCE)}
    except Exception as error:
        # fontTools raises any exception that its parsing of a broken file runs into.
        raise ValueError(one_line(error)) from error
    missing = [character for character in CHARACTERS if ord(character) not in there]
    if missing:
        raise ValueError(f"it lacks {_listed(missing)}")
    family, style = (next((names[number] for number in each if names[number]), "") for each in (_FAMILY, _STYLE))
    if not family:
        raise ValueError("it doesn't name its family")
    licence = " ".join(names[number] for number in _LICENCE if names[number])
    facts = {"family": family, "style": style, "licence": licence}
    return {name: " ".join(text.split()) for name, text in facts.items()}


def _inks(path, size):
    """Each character in white on black, an image without margins, at a size in pixels per em; None where it is empty.

    Raises:
        ValueError: one takes more room than a glyph does.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    inks = []
    for character in CHARACTERS:
        # The box of the glyph and of the room that it takes in a line.
        left, top, right, bottom = font.getbbox(character)
        if max(right - left, bottom - top) > _MOST_EMS * size:
            raise ValueError(f"its {character} is larger than {_MOST_EMS} em")
        image = Image.new("L", (int(right - left), int(bottom - top)))
        ImageDraw.Draw(image).text((-left, -top), character, fill=255, font=font)
        box = image.getbbox()
        inks.append(image.crop(box) if box else None)
    return inks


def _glyphs(path, height, width, largest):
    """uint8 [62, height, width]; `largest` is (width, height) of the largest ink at the size of measuring."""
    from PIL import Image

    scale = _FILLED * _REDUCED * min(width / largest[0], height / largest[1])
    glyphs = []
    for ink in _inks(path, _MEASURED_SIZE * scale):
        image = Image.new("L", (width * _REDUCED, height * _REDUCED), 255)
        if ink is not None:  # too small for this size
            image.paste(0, ((image.width - ink.width) // 2, (image.height - ink.height) // 2), mask=ink)
        glyphs.append(np.asarray(image.reduce(_REDUCED)))
    return np.stack(glyphs)


def _listed(characters):
    more = f" and {len(characters) - _NAMED} more" if len(characters) > _NAMED else ""
    return " ".join(characters[:_NAMED]) + more
