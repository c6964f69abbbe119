"""When two values can be compared."""

from vim_tf.evaluation import conditions


def test_values_of_the_same_facts_compare():
    facts = {"measured": {"num_images": 50}, "library_versions": {"numpy": "1"}}
    assert conditions.differences(facts, dict(facts)) == []


def test_what_differs_is_named_with_both_values():
    first = {"measured": {"num_images": 50, "split": "train"}, "reference": {"num_images": 9}}
    second = {"measured": {"num_images": 60, "split": "train"}}
    assert conditions.differences(first, second) == [
        "measured.num_images is 50 against 60",
        "reference.num_images is 9 against not stated",
    ]


def test_sampling_and_seeds_may_differ_since_they_are_what_is_compared():
    first = {"measured": {"num_images": 50, "seed": 0}, "sampling": {"temperature": 1.0}}
    second = {"measured": {"num_images": 50, "seed": 9}, "sampling": {"temperature": 0.9, "top_k": 3}}
    assert conditions.differences(first, second) == []


def test_models_may_differ_and_what_they_learned_from_may_not():
    first, second = ({"model": {"language_model": {"checksum": checksum}}, "feature_size": 4} for checksum in "ab")
    assert conditions.differences(first, second | {"feature_size": 8}) == []
    assert conditions.differences(first | {"steps": 1}, second | {"steps": 2}) == ["steps is 1 against 2"]


def test_a_feature_network_of_another_checksum_differs():
    first, second = ({"feature_network": {"checksum": checksum}} for checksum in "ab")
    assert conditions.differences(first, second) == ["feature_network.checksum is a against b"]
