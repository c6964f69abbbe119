"""Glyphs of fonts."""

import pathlib

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.data.font_files import CHARACTERS, write_font
from vim_tf.data.drawings import fonts

# Fonts that Matplotlib ships.
SHIPPED = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
SQUARES = dict.fromkeys(CHARACTERS, (100, 0, 500, 400))


def reason(path):
    (result,) = fonts.draw_all([str(path)], 8, 8)
    assert isinstance(result, str) and "\n" not in result
    return result


def test_the_largest_glyph_fills_the_image_and_the_others_keep_their_share(tmp_path):
    path = str(tmp_path / "a.ttf")
    write_font(path, {**SQUARES, "A": (0, 0, 800, 800), "B": (300, -200, 700, 200)})
    images, compared, _ = fonts.draw(path, 50, 50)
    assert images.shape == (62, 50, 50, 1) and compared.shape == (62, 16, 16)
    dark = [np.argwhere(images[number, :, :, 0] < 128) for number in range(3)]
    # 0.88 x 50 = 44 pixels for 800 units; half of it for 400, in the middle wherever it is in the font.
    assert [tuple(each.min(axis=0)) for each in dark] == [(3, 3), (14, 14), (14, 14)]
    assert [tuple(each.max(axis=0)) for each in dark] == [(46, 46), (35, 35), (35, 35)]
    assert set(np.unique(images[0, 5:45, 5:45])) == {0}
    assert set(np.unique(images[0, :2])) == {255}


def test_an_image_that_is_not_square_is_filled_in_its_shorter_side(tmp_path):
    path = str(tmp_path / "a.ttf")
    write_font(path, SQUARES)
    images, _, _ = fonts.draw(path, 50, 100)
    dark = np.argwhere(images[0, :, :, 0] < 128)
    assert (tuple(dark.min(axis=0)), tuple(dark.max(axis=0))) == ((3, 28), (46, 71))


def test_glyphs_of_a_real_font_have_pillows_shapes_in_the_middle():
    path = str(SHIPPED / "DejaVuSans.ttf")
    images, _, facts = fonts.draw(path, 64, 64)
    for character in "AgQj7":
        large = Image.new("L", (400, 400))
        font = ImageFont.truetype(path, 200, layout_engine=ImageFont.Layout.BASIC)
        ImageDraw.Draw(large).text((100, 50), character, fill=255, font=font)
        glyph = Image.fromarray(255 - images[CHARACTERS.index(character), :, :, 0])
        box = glyph.point(lambda value: 255 * (value > 60)).getbbox()
        assert abs(box[0] + box[2] - 64) <= 1 and abs(box[1] + box[3] - 64) <= 1
        expected = large.crop(large.getbbox()).resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BOX)
        assert np.abs(np.asarray(glyph.crop(box), float) - np.asarray(expected, float)).mean() < 25
    assert facts["family"] == "DejaVu Sans"


def test_names_and_licence_come_from_the_file(tmp_path):
    path = str(tmp_path / "a.ttf")
    write_font(path, SQUARES, "Little\nBoxes", "Bold Italic", ("Under the\n OFL", "http://example.com/ofl"))
    facts = fonts.draw(path, 8, 8)[2]
    assert facts == {
        "family": "Little Boxes",
        "style": "Bold Italic",
        "licence": "Under the OFL http://example.com/ofl",
    }
    write_font(path, SQUARES)
    assert fonts.draw(path, 8, 8)[2]["licence"] == ""


def test_what_cannot_be_drawn_says_why(tmp_path):
    path = tmp_path / "a.ttf"
    write_font(path, {character: SQUARES[character] for character in CHARACTERS if character not in "Bq"})
    assert reason(path) == "it lacks B q"
    write_font(path, {character: SQUARES[character] for character in CHARACTERS[10:]})
    assert reason(path) == "it lacks A B C D E and 5 more"
    write_font(path, {**SQUARES, "x": None})
    assert reason(path) == "it draws nothing for x"
    write_font(path, {**SQUARES, "y": (0, 0, 20000, 100)})
    assert reason(path) == "its y is larger than 10 em"
    write_font(path, SQUARES)
    path.write_bytes(path.read_bytes()[:300])
    reason(path)
    path.write_bytes(b"")
    reason(path)
    path.write_bytes(b"no font at all")
    assert "Not a TrueType or OpenType font" in reason(path)


def compared(*shades):
    return np.array([np.full([62, 16, 16], shade, np.uint8) for shade in shades])


def test_of_faces_that_are_drawn_alike_the_first_is_kept():
    # 5 of 255 are less than 0.02, 6 are more; 105 and 111 are compared with 100, which is kept, not with each other.
    np.testing.assert_array_equal(fonts.distinct(compared(100, 105, 111, 100, 200)), [True, False, True, False, True])
    np.testing.assert_array_equal(fonts.distinct(compared(100, 106)), [True, True])
    assert fonts.distinct(compared()).tolist() == []


@pytest.mark.parametrize(("other", "is_distinct"), [("DejaVuSans-Bold", True), ("DejaVuSans", False)])
def test_weights_of_a_family_are_distinct(other, is_distinct, tmp_path):
    faces = [fonts.draw(str(SHIPPED / f"{name}.ttf"), 8, 8)[1] for name in ("DejaVuSans", other)]
    assert fonts.distinct(np.array(faces)).tolist() == [True, is_distinct]
