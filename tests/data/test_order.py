"""The order of examples and the division into splits."""

import itertools

import numpy as np
import tensorflow as tf

from vim_tf.data import order


def first(dataset, count):
    return [tuple(int(value) for value in element) for element in itertools.islice(dataset.as_numpy_iterator(), count)]


def test_every_epoch_holds_each_example_once():
    elements = first(order.endless_order(7, seed=3), 21)
    assert [epoch for epoch, _ in elements] == [0] * 7 + [1] * 7 + [2] * 7
    epochs = [[index for _, index in elements[start : start + 7]] for start in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_start_gives_the_order_from_there_on():
    whole = first(order.endless_order(5, seed=1), 30)
    for start in (0, 1, 4, 5, 6, 13):
        assert first(order.endless_order(5, seed=1, start=start), 12) == whole[start : start + 12]


def test_start_is_instant_however_late():
    assert len(first(order.endless_order(1000, seed=1, start=10**15 + 1), 3)) == 3


def test_seeds_differ():
    assert first(order.endless_order(20, seed=0), 20) != first(order.endless_order(20, seed=1), 20)


def test_the_order_stays_the_same_from_version_to_version():
    assert [index for _, index in first(order.endless_order(6, seed=0), 12)] == [2, 5, 4, 3, 0, 1, 3, 1, 2, 5, 4, 0]


def test_permutations_are_uniform():
    firsts = np.array([order.permutation(4, 0, epoch).numpy() for epoch in range(400)])
    counts = np.stack([np.bincount(column, minlength=4) for column in firsts.T])
    assert np.abs(counts - 100).max() < 40  # 4.6 standard deviations


def test_random_integers_depend_on_seed_and_epoch_and_keep_their_limit():
    draws = [order.random_integers(50, seed, epoch, 3).numpy() for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert set(draws[0]) == {0, 1, 2}
    assert (draws[0] != draws[2]).any()
    assert (draws[0] != draws[3]).any()


KEYS = [f"class/{i}.png".encode() for i in range(2000)]


def test_the_validation_split_has_about_the_share_asked_for():
    assert abs(order.is_validation(KEYS, 0.1).mean() - 0.1) < 0.03


def test_the_split_of_an_example_doesnt_depend_on_the_others():
    whole = order.is_validation(KEYS, 0.25)
    np.testing.assert_array_equal(order.is_validation(KEYS[::2], 0.25), whole[::2])
    np.testing.assert_array_equal(order.is_validation(KEYS[::-1], 0.25), whole[::-1])


def test_a_larger_share_keeps_what_was_chosen():
    assert not (order.is_validation(KEYS, 0.1) & ~order.is_validation(KEYS, 0.2)).any()


def test_small_sets_keep_both_splits():
    for count in (2, 3, 5):
        for fraction in (0.001, 0.999):
            chosen = order.is_validation(KEYS[:count], fraction)
            assert 0 < chosen.sum() < count


def test_shares_of_none_and_all():
    assert not order.is_validation(KEYS, 0.0).any()
    assert order.is_validation(KEYS, 1.0).all()


def test_every_example_has_a_seed_of_its_own_in_every_epoch():
    seeds = [
        tuple(order.example_seed(seed, tf.constant(epoch, tf.int64), tf.constant(index, tf.int64)).numpy().tolist())
        for seed in (0, 1)
        for epoch in (0, 1, 10**6)
        for index in (0, 1, 2**32 - 1)
    ]
    assert len(set(seeds)) == 18
    assert max(second for _, second in seeds) == -2  # orders are drawn from epochs, which are -1 or more


def test_rows_are_selected_of_every_batch():
    examples = order.endless_order(10, seed=0)
    whole = first(examples, 24)
    assert first(order.select_rows(examples, (6, 2, 3)), 12) == [whole[6 * b + r] for b in range(4) for r in (2, 3, 4)]
    assert first(order.select_rows(examples, None), 24) == whole
