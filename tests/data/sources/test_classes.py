"""Classes from labels and names."""

import pytest

from vim_tf.data.sources import classes
from vim_tf.data.sources.classes import Classes, find_classes
from vim_tf.errors import InputError


def test_classes_reach_from_0_to_the_largest_label_and_are_named_by_numbers_or_by_the_records():
    assert find_classes("s", [2, 0, 2]) == Classes(["0", "1", "2"])
    assert find_classes("s", [2, 0], [(2, "cat"), (0, "")]) == Classes(["0", "1", "cat"])
    assert find_classes("s", [-1]) == find_classes("s", []) == Classes([])


def test_known_names_determine_how_many_classes_there_are():
    assert find_classes("s", [1], known=("a", "b", "c")) == Classes(["a", "b", "c"])
    with pytest.raises(InputError, match="there is the label 3, but only 3 class names"):
        find_classes("s", [3], known=("a", "b", "c"))


def test_mapped_labels_are_those_that_occur_in_order_and_their_values_are_kept():
    mapped = find_classes("s", [2006656, 7, 7, 512], map_labels=True)
    assert mapped == Classes(["7", "512", "2006656"], [7, 512, 2006656])
    assert mapped.number([7, 2006656, -1, 512]).tolist() == [0, 2, -1, 1]
    assert Classes(["0", "1"]).number([1, -1, 0]).tolist() == [1, -1, 0]
    assert find_classes("s", [2, 0], known=("a", "b", "c"), map_labels=True) == Classes(["a", "c"], [0, 2])
    assert find_classes("s", [9], [(9, "cat")], map_labels=True) == Classes(["cat"], [9])


def test_labels_that_do_not_number_classes_are_refused_with_the_remedy():
    with pytest.raises(InputError) as caught:
        find_classes("parquet:x", [2006656, 3])
    assert str(caught.value) == (
        "--data.source=parquet:x: the largest label is 2006656, which makes 2006657 classes, of which only 2 occur; "
        "renumber those from 0 with --data.map_labels"
    )
    assert len(find_classes("s", [999]).names) == 1000  # a part of ImageNet


@pytest.mark.parametrize("labels", [[0, -1], [-2]])
def test_partly_labelled_sets_are_refused(labels):
    with pytest.raises(InputError, match="labels must be 0 or above in all records or missing in all"):
        find_classes("s", labels)


def test_records_that_disagree_on_a_name_leave_numbers_and_a_warning(caplog):
    assert find_classes("s", [0], [(0, "cat"), (0, "dog")]) == Classes(["0"])
    assert "since 0 is called both 'cat' and 'dog'" in caplog.text


def test_empty_classes_are_named():
    assert classes.empty_classes(["a", "b", "c"], [2, 2, -1]) == ["a", "b"]
    assert classes.describe_empty([str(number) for number in range(9)]) == "0, 1, 2, 3, 4 and 4 more"
