"""Bits per token, on fakes with known values."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.errors import InputError
from vim_tf.evaluation.tokens import TokenEvaluator


class UniformLanguageModel:
    """Gives token 0 the logit of its label, all others 0."""

    def known_labels(self, labels):
        return tf.maximum(labels, 0)

    def __call__(self, tokens, labels):
        first = tf.cast(labels, tf.float32)[:, None, None] * tf.one_hot([0], 16)[None]
        return tf.tile(first, [1, tf.shape(tokens)[1], 1])


def test_a_uniform_language_model_needs_the_codebook_s_bits():
    tokens = np.random.default_rng(0).integers(0, 16, [5, 2, 4]).astype(np.int32)
    result = TokenEvaluator(tokens, np.full(5, -1, np.int32), batch_size=2).run(UniformLanguageModel())
    assert result.metrics == {"language_model/validation_bits_per_token": pytest.approx(4.0)}


def test_bits_are_means_over_examples_of_the_first_view():
    # Label 2 gives token 0 a logit of 2: only the first example has it.
    tokens = np.zeros([3, 2, 4], np.int32)
    tokens[:, 1] = 9
    labels = np.array([2, 0, 0], np.int32)
    expected = (np.log2(np.exp(2) + 15) - 2 / np.log(2) + 2 * 4) / 3
    result = TokenEvaluator(tokens, labels, batch_size=2).run(UniformLanguageModel())
    assert result.metrics["language_model/validation_bits_per_token"] == pytest.approx(expected, rel=1e-6)


def test_no_tokens_are_refused():
    with pytest.raises(InputError, match="no tokens"):
        TokenEvaluator(np.zeros([0, 1, 4], np.int32), np.zeros([0], np.int32), 2).run(UniformLanguageModel())
