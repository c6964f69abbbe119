"""Streamed statistics against numpy on the whole set."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from vim_tf.errors import InputError
from vim_tf.evaluation.metrics.statistics import FeatureStatistics
from vim_tf.losses import tf_gan


def features(count=2500, size=7, seed=0):
    random = np.random.default_rng(seed)
    # Far from the origin, where sums of squares would lose digits.
    return (random.normal(size=[count, size]) @ random.normal(size=[size, size]) + 300).astype(np.float32)


def streamed(rows, batch_size, logits=None, **settings):
    statistics = FeatureStatistics(rows.shape[1], 0 if logits is None else logits.shape[1], **settings)
    for start in range(0, len(rows), batch_size):
        part = slice(start, start + batch_size)
        statistics.update(rows[part], None if logits is None else logits[part])
    return statistics


@pytest.mark.parametrize("batch_size", [1, 64, 1000, 5000])
def test_streamed_moments_are_those_of_the_whole(batch_size):
    rows = features()
    statistics = streamed(rows, batch_size)
    assert statistics.count == len(rows)
    np.testing.assert_allclose(statistics.mean, rows.astype(float).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.covariance, np.cov(rows.astype(float), rowvar=False), rtol=1e-9)


def test_merged_statistics_are_those_of_both_sets():
    rows, logits = features(), features(2500, 4, 1) / 50
    merged = FeatureStatistics(7, 4, seed=[0, 0])
    for number, part in enumerate(np.split(np.arange(2500), 5), start=1):
        merged.merge(streamed(rows[part], 100, logits[part], seed=[0, number]))
    whole = FeatureStatistics.of(rows, logits)
    assert merged.count == 2500
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.covariance, whole.covariance, rtol=1e-9)
    assert merged.classifier_score == pytest.approx(whole.classifier_score, rel=1e-12)
    assert {tuple(row) for row in merged.sample} == {tuple(row) for row in rows}


def test_merging_into_nothing_gives_the_other_set():
    statistics = FeatureStatistics(7)
    statistics.merge(FeatureStatistics.of(features()))
    np.testing.assert_allclose(statistics.covariance, FeatureStatistics.of(features()).covariance, rtol=1e-12)


def test_images_merged_into_a_set_known_by_its_moments_leave_no_sample():
    """A sample of only the images would be taken for one of the whole set."""
    rows, others = features(60), features(40, seed=1)
    mean, covariance = rows.astype(float).mean(axis=0), np.cov(rows.astype(float), rowvar=False)
    statistics = FeatureStatistics.of_gaussian(mean, covariance, 60)
    statistics.merge(FeatureStatistics.of(others))
    assert statistics.sample.shape == (0, 7)
    whole = FeatureStatistics.of(np.concatenate([rows, others]))
    np.testing.assert_allclose(statistics.covariance, whole.covariance, rtol=1e-9)


def test_the_kept_sample_does_not_depend_on_the_batches():
    rows = features()
    first, second = (streamed(rows, size, capacity=100, seed=3).sample for size in (7, 900))
    np.testing.assert_array_equal(first, second)
    assert len({tuple(row) for row in first} & {tuple(row) for row in rows}) == 100


def test_every_image_is_kept_equally_often():
    # 20 images of which 5 are kept, 400 times: each is kept about 100 times.
    rows = np.arange(20, dtype=np.float32)[:, None]
    kept = np.concatenate([streamed(rows, 3, capacity=5, seed=seed).sample[:, 0] for seed in range(400)])
    assert stats.chisquare(np.bincount(kept.astype(int), minlength=20)).pvalue > 0.01


def test_the_sample_of_merged_sets_takes_both_by_their_size():
    first, second = np.zeros([900, 1], np.float32), np.ones([100, 1], np.float32)
    shares = []
    for seed in range(50):
        merged = streamed(first, 64, capacity=100, seed=[seed, 0])
        merged.merge(streamed(second, 64, capacity=100, seed=[seed, 1]))
        shares.append(merged.sample.mean())
    assert np.mean(shares) == pytest.approx(0.1, abs=0.02)


def test_the_streamed_score_agrees_with_tf_gan_and_numpy():
    logits = np.random.default_rng(0).normal(size=[500, 9]) * 3
    score = streamed(np.zeros([500, 1]), 33, logits).classifier_score
    p = special.softmax(logits, axis=1)
    independent = np.exp(np.mean(np.sum(special.rel_entr(p, p.mean(axis=0)), axis=1)))
    assert score == pytest.approx(independent, rel=1e-9)
    by_tf_gan = tf_gan.classifier_metrics().classifier_score_from_logits(tf.constant(logits))
    assert score == pytest.approx(float(by_tf_gan), rel=1e-6)


def test_arrays_bring_the_same_statistics_back():
    statistics = streamed(features(), 100, features(2500, 3, 1) / 50, capacity=60)
    again = FeatureStatistics.from_arrays(statistics.arrays())
    assert again.count == 2500
    np.testing.assert_allclose(again.covariance, statistics.covariance, rtol=1e-12)
    np.testing.assert_array_equal(again.sample, statistics.sample)
    assert again.classifier_score == statistics.classifier_score


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="NaN or infinity"):
        FeatureStatistics(2).update(np.array([[1.0, np.nan]]))
