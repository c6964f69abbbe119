"""Codebook usage and perplexity of hand-made tokens."""

import numpy as np
import pytest

from vim_tf.evaluation.metrics.codebook import CodebookUsage, UsageInBatches


def measure(tokens, codebook_size=8):
    usage = CodebookUsage(codebook_size)
    usage.update(tokens)
    return usage.result()


def test_equally_frequent_codes_have_full_perplexity():
    assert measure([[0, 1, 2, 3], [4, 5, 6, 7]]) == {"usage": 1.0, "perplexity": pytest.approx(8.0)}


def test_one_code_has_perplexity_one():
    assert measure([3, 3, 3]) == {"usage": 1 / 8, "perplexity": pytest.approx(1.0)}


def test_unequal_codes_have_the_perplexity_of_their_entropy():
    expected = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert measure([5, 5, 5, 6]) == {"usage": 2 / 8, "perplexity": pytest.approx(expected)}


def test_batches_add_up():
    usage = CodebookUsage(4)
    usage.update(np.array([[0, 1]]))
    usage.update(np.array([[1, 3], [3, 3]]))
    assert usage.counts.tolist() == [1, 2, 0, 3]
    assert usage.num_tokens == 6


def test_no_tokens_use_nothing():
    assert CodebookUsage(4).result() == {"usage": 0.0, "perplexity": 1.0}


@pytest.mark.parametrize("token", [-1, 8])
def test_a_token_out_of_range_is_named(token):
    with pytest.raises(ValueError, match=f"token {token} is outside a codebook of 8"):
        measure([0, token])


def test_usage_in_batches_is_the_mean_over_whole_batches():
    """Batches of two images of four codes: {0, 1} and {0, 1, 2}; the fifth image doesn't fill one."""
    usage = UsageInBatches(4, num_images=2)
    usage.update([[0, 0], [1, 1], [0, 1]])
    assert usage.num_batches == 1
    usage.update([[2, 2], [3, 3]])
    assert usage.num_batches == 2
    assert usage.result() == (2 / 4 + 3 / 4) / 2


def test_too_few_images_have_no_usage_in_batches():
    usage = UsageInBatches(4)
    usage.update(np.zeros([255, 1], int))
    assert usage.result() is None
    usage.update([[3]])
    assert usage.result() == 2 / 4
