"""Drawings of avatars."""

import collections
import importlib.resources
import json
import re

import numpy as np
import pytest

from vim_tf.data.drawings import avatars

NAMES = list(avatars.STYLES)


def definition(name):
    return json.loads(importlib.resources.files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_the_attribution_is_that_of_the_packages_own_definition(name):
    meta = definition(name)["meta"]
    attribution = avatars.STYLES[name].attribution
    assert attribution.title == meta["source"]["name"]
    assert attribution.creator == meta["creator"]["name"]
    assert attribution.source == meta["source"]["url"]
    assert (attribution.licence, attribution.licence_url) == (meta["license"]["name"], meta["license"]["url"])


def test_every_style_has_a_licence_that_lets_models_and_pictures_be_published():
    assert {style.attribution.licence for style in avatars.STYLES.values()} == {"CC0 1.0", "CC BY 4.0"}


def test_an_attribution_names_title_creator_licence_source_and_changes():
    assert str(avatars.STYLES["adventurer"].attribution) == (
        "Adventurer (https://www.figma.com/community/file/1184595184137881796) by Lisa Wischofsky, CC BY 4.0 "
        "(https://creativecommons.org/licenses/by/4.0/); recomposed with DiceBear, enlarged, rendered on a background"
    )


def test_a_drawing_depends_on_its_split_style_and_index_only():
    again = avatars.compose("train", "micah", 3)
    others = [("validation", "micah", 3), ("train", "miniavs", 3), ("train", "micah", 4)]
    assert avatars.compose("train", "micah", 3) == again
    assert all(avatars.compose(*other).svg != again.svg for other in others)


@pytest.mark.parametrize("name", NAMES)
def test_choices_are_parts_of_the_definition_and_colours_that_are_in_the_drawing(name):
    parts = definition(name)["components"]
    for index in range(5):
        svg, choices = avatars.compose("train", name, index)
        colours = {key: value for key, value in choices.items() if key.endswith("_color")}
        variants = {
            re.sub("_(.)", lambda found: found[1].upper(), key): choices[key] for key in choices.keys() - colours
        }
        assert variants and all(value in parts[key]["variants"] for key, value in variants.items())
        assert "background_color" in colours
        assert all(f'"{colour}"' in svg for colour in colours.values())


def test_a_part_that_is_left_out_is_not_a_choice():
    drawn = [avatars.compose("train", "adventurer", index) for index in range(40)]
    with_glasses = [each for each in drawn if "glasses" in each.choices]
    assert 0 < len(with_glasses) < len(drawn)
    always = {"head", "eyes", "mouth", "background_color", "skin_color"}
    assert all(always <= set(each.choices) for each in drawn)


def test_each_split_has_compositions_of_its_own_a_fifth_of_them_for_validation():
    for split in ("train", "validation"):
        assert {avatars.split_of("thumbs", avatars.compose(split, "thumbs", i).choices) for i in range(20)} == {split}
    splits = collections.Counter(avatars.split_of("thumbs", {"eyes": str(number)}) for number in range(4000))
    # Within four standard deviations of 800.
    assert abs(splits["validation"] - 800) < 4 * (4000 * 0.2 * 0.8) ** 0.5


def test_backgrounds_and_hair_come_about_equally_often():
    drawn = [avatars.compose("train", "adventurer", index).choices for index in range(280)]
    for name, number in (("background_color", 7), ("skin_color", 4)):
        counts = collections.Counter(choices[name] for choices in drawn)
        expected = len(drawn) / number
        assert len(counts) == number
        assert all(abs(count - expected) < 4 * expected**0.5 for count in counts.values())


RECTANGLES = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 2">'
    '<rect width="1" height="1" fill="#ff0000"/><rect x="1" width="1" height="1" fill="#00ff00"/>'
    '<rect y="1" width="1" height="1" fill="#0000ff"/></svg>'
)


def test_a_drawing_is_rendered_in_rgb_on_white():
    red, green, blue, white = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]
    np.testing.assert_array_equal(avatars.render(RECTANGLES, 2, 2), [[red, green], [blue, white]])
    large = avatars.render(RECTANGLES, 64, 64)
    np.testing.assert_array_equal(large[::32, ::32], [[red, green], [blue, white]])
    np.testing.assert_array_equal(large[31::32, 31::32], [[red, green], [blue, white]])


def test_a_drawing_fills_an_image_that_is_not_square():
    square = avatars.render(RECTANGLES, 8, 8)
    np.testing.assert_array_equal(avatars.render(RECTANGLES, 4, 8), square[2:6])
    np.testing.assert_array_equal(avatars.render(RECTANGLES, 8, 4), square[:, 2:6])


def test_drawings_of_another_size_look_the_same():
    small, choices = avatars.draw("validation", 0, 10, 16, 16)
    large, choices_large = avatars.draw("validation", 0, 10, 64, 64)
    assert choices == choices_large
    shrunk = large.reshape(10, 16, 4, 16, 4, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - small).mean() < 4


def test_styles_take_turns():
    images, choices = avatars.draw("train", 8, 13, 8, 8)
    numbers = [(NAMES[8], 0), (NAMES[9], 0), (NAMES[0], 1), (NAMES[1], 1), (NAMES[2], 1)]
    composed = [avatars.compose("train", *number) for number in numbers]
    assert choices == [each.choices for each in composed]
    np.testing.assert_array_equal(images, [avatars.render(each.svg, 8, 8) for each in composed])
