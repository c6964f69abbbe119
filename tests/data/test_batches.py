"""Batches: content, order and resume."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.data import augmentation, sources
from vim_tf.data.batches import eval_batches, token_batches, train_batches


@pytest.fixture(scope="module")
def digits():
    return sources.open_source("digits", "validation", 16, 8)


def take(dataset, count):
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def test_train_batches_are_floats_of_static_shape(digits):
    batches = train_batches(digits, 32, seed=0)
    assert batches.element_spec["image"] == tf.TensorSpec([32, 16, 8, 3], tf.float32)
    assert batches.element_spec["label"] == tf.TensorSpec([32], tf.int64)
    images = next(iter(batches))["image"].numpy()
    assert images.min() == 0.0
    assert 0.9 < images.max() <= 1.0


def test_train_batches_hold_the_shuffled_examples(digits):
    examples = take(digits.shuffled(5), 40)
    batches = take(train_batches(digits, 20, seed=5), 2)
    images = np.concatenate([batch["image"] for batch in batches])
    np.testing.assert_array_equal(np.round(images * 255), np.stack([each["image"] for each in examples]))
    np.testing.assert_array_equal(
        np.concatenate([batch["label"] for batch in batches]), [each["label"] for each in examples]
    )


def test_training_resumes_bitwise_across_an_epoch(digits):
    steps = 359 // 64 + 3
    whole = take(train_batches(digits, 64, seed=2), steps + 2)
    resumed = take(train_batches(digits, 64, seed=2, start_step=3), steps - 1)
    for expected, batch in zip(whole[3:], resumed, strict=True):
        np.testing.assert_array_equal(batch["image"], expected["image"])
        np.testing.assert_array_equal(batch["label"], expected["label"])


def test_train_batches_hand_augmentation_and_rows_to_the_source(digits):
    augment = augmentation.Flip()
    examples = take(digits.shuffled(5, start=20, augment=augment), 40)
    batches = train_batches(digits, 20, seed=5, start_step=1, augment=augment, rows=(4, 8))
    assert batches.element_spec["image"] == tf.TensorSpec([8, 16, 8, 3], tf.float32)
    images = np.concatenate([batch["image"] for batch in take(batches, 2)])
    expected = np.stack([each["image"] for each in examples[4:12] + examples[24:32]])
    np.testing.assert_array_equal(np.round(images * 255), expected)


def test_a_batch_may_be_larger_than_the_source(digits):
    batch = next(iter(train_batches(digits, 400, seed=0)))
    assert batch["image"].shape == (400, 16, 8, 3)


def test_eval_batches_are_one_pass_in_order_with_a_ragged_end(digits):
    batches = take(eval_batches(digits, 100), 99)
    assert [len(batch["image"]) for batch in batches] == [100, 100, 100, 59]
    assert batches[0]["image"].dtype == np.uint8
    keys = np.concatenate([batch["key"] for batch in batches])
    assert keys.tolist() == [each["key"] for each in digits.ordered().as_numpy_iterator()]
    assert len(set(keys)) == 359


TOKENS = np.arange(5 * 3 * 4).reshape(5, 3, 4)  # examples, views, tokens
LABELS = np.array([3, 1, 4, 1, 5])


def test_token_batches_are_whole_views_with_their_labels():
    batches = token_batches(TOKENS, LABELS, 4, seed=0)
    assert batches.element_spec == {"tokens": tf.TensorSpec([4, 4], tf.int32), "label": tf.TensorSpec([4], tf.int32)}
    for batch in take(batches, 10):
        for tokens, label in zip(batch["tokens"], batch["label"], strict=True):
            example, view = divmod(tokens[0] // 4, 3)
            np.testing.assert_array_equal(tokens, TOKENS[example, view])
            assert label == LABELS[example]


def test_every_epoch_has_each_example_and_every_view_comes_in_turn():
    rows = np.concatenate([batch["tokens"] for batch in take(token_batches(TOKENS, LABELS, 5, seed=0), 3)])
    examples, views = np.divmod(rows[:, 0] // 4, 3)
    assert [sorted(examples[start : start + 5]) for start in (0, 5, 10)] == [list(range(5))] * 3
    assert sorted(zip(examples, views, strict=True)) == [(e, v) for e in range(5) for v in range(3)]
    assert len(set(views[:5])) > 1  # examples begin with views of their own


def test_token_batches_resume_bitwise_and_differ_by_seed():
    whole = take(token_batches(TOKENS, LABELS, 3, seed=7), 12)
    resumed = take(token_batches(TOKENS, LABELS, 3, seed=7, start_step=5), 7)
    for expected, batch in zip(whole[5:], resumed, strict=True):
        np.testing.assert_array_equal(batch["tokens"], expected["tokens"])
        np.testing.assert_array_equal(batch["label"], expected["label"])
    other = take(token_batches(TOKENS, LABELS, 3, seed=8), 12)
    assert any((a["tokens"] != b["tokens"]).any() for a, b in zip(whole, other, strict=True))


def test_workers_share_token_batches_by_rows():
    whole = take(token_batches(TOKENS, LABELS, 4, seed=7, start_step=1), 6)
    for first, size in ((0, 1), (1, 3)):
        part = token_batches(TOKENS, LABELS, 4, seed=7, start_step=1, rows=(first, size))
        assert part.element_spec["tokens"].shape == (size, 4)
        for expected, batch in zip(whole, take(part, 6), strict=True):
            np.testing.assert_array_equal(batch["tokens"], expected["tokens"][first : first + size])
            np.testing.assert_array_equal(batch["label"], expected["label"][first : first + size])
