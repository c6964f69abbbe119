"""Drawing a token from logits: hand-worked cases."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax
from scipy.stats import chisquare

from vim_tf.sampling.logits import draw, guidance_at, guide, keep_likeliest

INF = float("inf")


def kept(logits, top_k=0, top_p=1.0):
    """Tokens of one row that are kept."""
    result = keep_likeliest(tf.constant([logits], tf.float32), tf.constant([top_k]), tf.constant([top_p])).numpy()[0]
    left = np.flatnonzero(result > -INF)
    np.testing.assert_array_equal(result[left], np.float32(logits)[left])
    return left.tolist()


def log(*probabilities):
    return np.log(probabilities).tolist()


class TestTopK:
    @pytest.mark.parametrize(("top_k", "expected"), [(1, [2]), (2, [0, 2]), (3, [0, 2, 3]), (4, [0, 1, 2, 3])])
    def test_the_k_likeliest_are_kept(self, top_k, expected):
        assert kept([2.0, -1.0, 3.0, 0.0], top_k=top_k) == expected

    def test_zero_keeps_all(self):
        assert kept([2.0, -1.0, 3.0], top_k=0) == [0, 1, 2]

    def test_more_than_there_are_keeps_all(self):
        assert kept([2.0, -1.0, 3.0], top_k=99) == [0, 1, 2]

    def test_of_equals_the_lower_token_comes_first(self):
        assert kept([1.0, 5.0, 5.0, 5.0], top_k=2) == [1, 2]
        assert kept([0.0, 0.0, 0.0], top_k=1) == [0]


class TestTopP:
    @pytest.mark.parametrize(
        ("top_p", "expected"), [(0.01, [1]), (0.49, [1]), (0.51, [1, 3]), (0.79, [1, 3]), (0.81, [0, 1, 3])]
    )
    def test_the_fewest_that_reach_the_sum_are_kept(self, top_p, expected):
        assert kept(log(0.15, 0.5, 0.05, 0.3), top_p=top_p) == expected

    def test_one_keeps_all_even_the_unlikely(self):
        assert kept([50.0, 0.0, -50.0], top_p=1.0) == [0, 1, 2]

    def test_an_exact_sum_needs_no_further_token(self):
        assert kept(log(0.5, 0.25, 0.25), top_p=0.5) == [0]

    def test_of_equals_the_lower_token_comes_first(self):
        assert kept([0.0, 0.0, 0.0, 0.0], top_p=0.5) == [0, 1]

    def test_it_counts_the_probability_within_the_top_k(self):
        # Among only tokens 0 and 1, 0.4 : 0.3 is 0.571 : 0.429; among all, 0.4 would not reach 0.55.
        assert kept(log(0.4, 0.3, 0.2, 0.1), top_k=2, top_p=0.55) == [0]


def test_each_row_has_its_own_settings():
    logits = tf.constant([log(0.5, 0.3, 0.2)] * 3, tf.float32)
    result = keep_likeliest(logits, tf.constant([0, 1, 0]), tf.constant([1.0, 1.0, 0.6]))
    np.testing.assert_array_equal(result > -INF, [[True] * 3, [True, False, False], [True, True, False]])


def drawn(probabilities, uniform):
    logits = tf.constant([log(*probabilities)] * len(uniform), tf.float32)
    return draw(logits, tf.constant(uniform, tf.float32)).numpy().tolist()


BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


class TestDraw:
    def test_it_inverts_the_cumulative_distribution(self):
        # 0.5, 0.75, 1: each token owns the interval below its sum.
        assert drawn([0.5, 0.25, 0.25], [0.0, 0.49, 0.51, 0.74, 0.76, BELOW_ONE]) == [0, 0, 1, 1, 2, 2]

    def test_a_number_on_the_border_belongs_to_the_token_after_it(self):
        assert drawn([0.5, 0.5], [0.5]) == [1]

    @pytest.mark.filterwarnings("ignore:divide by zero")
    @pytest.mark.parametrize(
        ("probabilities", "expected"),
        [([0.0, 0.5, 0.0, 0.5, 0.0], {1, 3}), ([0.0, 0.0, 1.0], {2}), ([1.0, 0.0, 0.0], {0})],
    )
    def test_tokens_of_probability_zero_are_never_drawn(self, probabilities, expected):
        numbers = [0.0, 1e-30, 0.25, 0.4999999, 0.5, 0.5000001, 0.75, BELOW_ONE]
        assert set(drawn(probabilities, numbers)) == expected

    def test_tokens_that_were_left_out_of_a_large_codebook_are_never_drawn_with_xla_either(self):
        """XLA's sums fall and rise by a rounding error at tokens of probability 0, which these numbers aim at."""
        logits = np.random.default_rng(0).normal(0, 3, [256, 8192]).astype("float32")
        logits = keep_likeliest(tf.constant(logits), tf.fill([256], 20), tf.ones([256]))
        is_kept = np.isfinite(logits)
        sums = tf.function(lambda: tf.cumsum(tf.nn.softmax(logits), axis=-1), jit_compile=True)().numpy()
        rises = ~is_kept[:, 1:] & (sums[:, 1:] > sums[:, :-1])
        uniform = np.where(rises, sums[:, :-1] / sums[:, -1:], 0.5).max(axis=1)
        in_xla = tf.function(draw, jit_compile=True)
        assert rises.any()
        for number in (uniform, np.nextafter(uniform, np.float32(2)), np.nextafter(uniform, np.float32(0))):
            tokens = in_xla(logits, tf.constant(np.minimum(number, BELOW_ONE), tf.float32)).numpy()
            assert is_kept[np.arange(256), tokens].all()

    @pytest.mark.filterwarnings("ignore:divide by zero")
    def test_a_number_rounded_up_to_one_gives_the_last_token_of_any_probability(self):
        assert drawn([0.5, 0.5, 0.0], [1.0]) == [1]
        assert drawn([1.0, 0.0, 0.0], [1.0]) == [0]

    def test_the_largest_number_stays_inside_a_large_codebook(self):
        logits = tf.random.stateless_normal([64, 8192], [1, 2])
        assert np.all(draw(logits, tf.fill([64], BELOW_ONE)).numpy() < 8192)

    def test_a_shift_of_all_logits_changes_nothing(self):
        uniform = tf.constant([0.1, 0.5, 0.9])
        logits = tf.constant([[0.0, 1.0, 2.0]] * 3)
        np.testing.assert_array_equal(draw(logits, uniform), draw(logits + 1000, uniform))

    def test_frequencies_are_the_softmax(self):
        logits = np.random.default_rng(0).normal(0, 1.5, 12).astype("float32")
        uniform = tf.random.stateless_uniform([20_000], [3, 4])
        tokens = draw(tf.broadcast_to(logits, [20_000, 12]), uniform).numpy()
        expected = softmax(logits.astype("float64")) * 20_000
        assert chisquare(np.bincount(tokens, minlength=12), expected).pvalue > 1e-3

    def test_top_k_of_one_is_argmax(self):
        logits = tf.random.stateless_normal([200, 50], [5, 6])
        one = keep_likeliest(logits, tf.ones([200], tf.int32), tf.ones([200]))
        tokens = draw(one, tf.random.stateless_uniform([200], [7, 8]))
        np.testing.assert_array_equal(tokens, np.argmax(logits, axis=-1))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [3, 3, 3]), ("linear", [1, 1.5, 3]), ("cosine", [1, 1 + 2 * (1 - 0.5**0.5) / 2, 3])],
)
def test_guidance_grows_by_its_schedule(schedule, expected):
    found = [guidance_at(tf.constant([3.0, 1.0]), schedule, tf.constant(share)) for share in (0.0, 0.25, 1.0)]
    np.testing.assert_allclose([each[0] for each in found], expected, rtol=1e-6)
    np.testing.assert_array_equal([each[1] for each in found], [1, 1, 1])


class TestGuide:
    LOGITS = tf.constant([[1.0, 2.0, 0.1]])
    NULL = tf.constant([[0.3, 0.7, 0.9]])

    def test_scale_one_is_the_conditional_model_bit_for_bit(self):
        np.testing.assert_array_equal(guide(self.LOGITS, self.NULL, tf.constant([1.0])), self.LOGITS)

    def test_scale_zero_is_the_unconditional_model_bit_for_bit(self):
        np.testing.assert_array_equal(guide(self.LOGITS, self.NULL, tf.constant([0.0])), self.NULL)

    def test_larger_scales_go_beyond_the_conditional_model(self):
        # 0.3 + 3 * 0.7, 0.7 + 3 * 1.3, 0.9 - 3 * 0.8.
        np.testing.assert_allclose(guide(self.LOGITS, self.NULL, tf.constant([3.0])), [[2.4, 4.6, -1.5]], rtol=1e-5)

    def test_each_row_has_its_own_scale(self):
        logits, null = (tf.repeat(row, 2, axis=0) for row in (self.LOGITS, self.NULL))
        np.testing.assert_array_equal(guide(logits, null, tf.constant([1.0, 0.0])), [self.LOGITS[0], self.NULL[0]])
