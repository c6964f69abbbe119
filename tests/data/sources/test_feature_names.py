"""Which features are the image, the label and the key."""

import pytest

from vim_tf.data.sources import feature_names
from vim_tf.data.sources.feature_names import FeatureNames
from vim_tf.errors import InputError


def find(available, given=feature_names.RECOGNISED, **declared):
    return feature_names.find("x.parquet", given, available, **declared)


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (["image", "key", "label"], ("image", "label", "key")),
        (["img", "fine_label"], ("img", "fine_label", "")),
        (["image/class/label", "image/encoded", "image/height"], ("image/encoded", "image/class/label", "")),
        (["image", "img", "coarse_label", "fine_label", "label"], ("image", "label", "")),
        (["__key__", "cls", "jpg"], ("jpg", "cls", "__key__")),
        (["image", "width"], ("image", "", "")),
    ],
)
def test_known_layouts_are_recognised(available, expected):
    assert find(available) == FeatureNames(*expected)


def test_what_the_file_declares_needs_no_known_name():
    found = find(["photo", "species"], declared_images=["photo"], declared_labels=["species"])
    assert found == FeatureNames("photo", "species", "")


def test_given_names_come_first_and_none_is_nothing():
    available = ["image", "label", "key", "mask", "kind", "id"]
    assert find(available, FeatureNames("mask", "kind", "id")) == FeatureNames("mask", "kind", "id")
    assert find(available, FeatureNames("", "none", "none")) == FeatureNames("image", "", "")


@pytest.mark.parametrize(
    ("available", "given", "said"),
    [
        (
            ["image", "fine_label", "coarse_label"],
            FeatureNames(),
            "each of fine_label, coarse_label may be the label; choose one with --data.label_feature "
            "(there are image, fine_label, coarse_label)",
        ),
        (["picture", "kind"], FeatureNames(), "none of picture, kind is known to be the image"),
        (["image", "kind"], FeatureNames(label="sort"), "has no --data.label_feature=sort, only image, kind"),
    ],
)
def test_ambiguous_or_missing_features_are_refused_with_the_columns(available, given, said):
    with pytest.raises(InputError) as caught:
        find(available, given)
    assert said in str(caught.value)


def test_a_set_treated_as_unlabelled_gives_a_warning_with_the_possible_columns(caplog):
    find(["image", "kind"])
    assert caplog.messages == [
        "x.parquet: treated as unlabelled, since none of kind is known to be the label; "
        "set it with --data.label_feature"
    ]
    find(["image", "kind"], FeatureNames(label="none"))
    find(["image"])
    assert len(caplog.messages) == 1
