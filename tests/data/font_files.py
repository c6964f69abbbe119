"""Makes font files whose glyphs are rectangles."""

import string

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

CHARACTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits


def write_font(path, boxes, family="Boxes", style="Regular", licence=None):
    """Writes a TrueType file of 1,000 units an em.

    Args:
        path: of the file.
        boxes: {character: (left, bottom, right, top)} in units; of None, a glyph without outline.
        family, style: str.
        licence: (description, address), or None.
    """
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *(f"glyph{ord(character)}" for character in boxes)])
    builder.setupCharacterMap({ord(character): f"glyph{ord(character)}" for character in boxes})
    glyphs = {".notdef": TTGlyphPen(None).glyph()}
    for character, box in boxes.items():
        pen = TTGlyphPen(None)
        if box:
            left, bottom, right, top = box
            corners = [(left, bottom), (left, top), (right, top), (right, bottom)]
            pen.moveTo(corners[0])
            for corner in corners[1:]:
                pen.lineTo(corner)
            pen.closePath()
        glyphs[f"glyph{ord(character)}"] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({name: (1000, box[0] if box else 0) for name, box in _named(boxes)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    names = {"familyName": family, "styleName": style}
    if licence:
        names["licenseDescription"], names["licenseInfoURL"] = licence
    builder.setupNameTable(names)
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


def _named(boxes):
    return [(".notdef", None), *((f"glyph{ord(character)}", box) for character, box in boxes.items())]
