"""Which folders and files are splits, and which names are ambiguous."""

import pytest

from vim_tf.data.sources import split_names
from vim_tf.errors import InputError


def refusal(function, *arguments):
    with pytest.raises(InputError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert "--nodata.split_names" in message  # the other reading
    return message


@pytest.mark.parametrize(
    ("inside", "train", "validation"),
    [
        (["train", "validation"], "train", "validation"),
        (["Train", "Val"], "Train", "Val"),
        (["TRAINING", "dev", "Test"], "TRAINING", "dev"),
        (["annotations", "train", "valid", "test", "testing"], "train", "valid"),
    ],
)
def test_the_usual_names_are_splits_in_any_case_and_next_to_others(inside, train, validation):
    assert split_names.split_folders("/x", inside) == {"train": f"/x/{train}", "validation": f"/x/{validation}"}


def test_skipped_folders_are_named(caplog):
    split_names.split_folders("/x", ["annotations", "train", "val", "test"])
    assert caplog.messages == ["folder:/x: train and val are the splits; skipped annotations, test"]


@pytest.mark.parametrize("inside", [[], ["cat", "dog"], ["trains", "value", "devices"]])
def test_other_names_are_classes(inside):
    assert split_names.split_folders("/x", inside) is None


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        (["train", "test", "annotations"], "test and train but no validation folder"),
        (["Train", "car", "plane"], "Train but no validation folder"),
        (["val", "car"], "val but no train folder"),
        (["test"], "test but no train folder"),
    ],
)
def test_a_split_without_its_counterpart_may_be_a_class_and_is_refused(inside, said):
    message = refusal(split_names.split_folders, "/x", inside)
    assert f"folder:/x holds {said}: if these are splits, add one, or use folder:/x/" in message


@pytest.mark.parametrize("inside", [["train", "Train", "val"], ["train", "training", "val"], ["train", "val", "dev"]])
def test_two_names_of_one_split_are_refused(inside):
    assert "holds " in refusal(split_names.split_folders, "/x", inside)


def test_a_class_that_holds_splits_is_refused():
    keys = ["images/train/1.png", "images/val/2.png", "masks/train/1.png"]
    message = refusal(split_names.check_inside_classes, "/x", keys)
    assert "holds images/train and images/val: if these are splits, use folder:/x/images" in message
    split_names.check_inside_classes("/x", ["cat/train/1.png", "cat/old/2.png", "val/3.png"])


def test_record_files_of_several_splits_are_not_divided_together():
    def check(*paths):
        return split_names.check_one_split("parquet:/x/*", [f"/x/{path}" for path in paths], 3)

    message = refusal(check, "train-0.parquet", "test-0.parquet")
    assert "matches /x/train-0.parquet and /x/test-0.parquet: if these are splits, write {split}" in message
    refusal(check, "Train/0.parquet", "val/0.parquet")
    check("train-0.parquet", "train-1.parquet")
    check("trainer-0.parquet", "tests-0.parquet", "a/0.parquet")
