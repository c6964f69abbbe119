"""Fréchet distance and classifier score against closed forms and scipy."""

import numpy as np
import pytest
from scipy import linalg, special

from vim_tf.errors import InputError
from vim_tf.evaluation.distribution_metrics import classifier_score, frechet_distance


def independent_frechet_distance(features, other_features):
    means = [array.mean(axis=0) for array in (features, other_features)]
    covariances = [np.cov(array, rowvar=False) for array in (features, other_features)]
    # The root of a product of positive semi-definite matrices has the roots of its eigenvalues; real and at least 0.
    eigenvalues = linalg.eigvals(covariances[0] @ covariances[1]).real
    trace_of_root = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    return np.sum((means[0] - means[1]) ** 2) + np.trace(covariances[0] + covariances[1]) - 2 * trace_of_root


def independent_classifier_score(logits):
    log_p = special.log_softmax(logits, axis=1)
    p = np.exp(log_p)
    marginal = p.mean(axis=0)
    return np.exp(np.mean(np.sum(special.xlogy(p, p) - special.xlogy(p, marginal), axis=1)))


def correlated(seed, count, size=6):
    random = np.random.default_rng(seed)
    return random.normal(size=[count, size]) @ random.normal(size=[size, size]) + random.normal(size=size)


def whitened(count=50, size=5):
    """Samples whose mean is exactly 0 and whose covariance is exactly the identity."""
    samples = np.random.default_rng(0).normal(size=[count, size])
    samples -= samples.mean(axis=0)
    return samples @ np.linalg.inv(linalg.cholesky(np.cov(samples, rowvar=False)))


def test_shifted_unit_gaussians_lie_the_squared_shift_apart():
    shift = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    assert frechet_distance(whitened(), whitened() + shift) == pytest.approx(np.sum(shift**2), rel=1e-9)


def test_scaled_unit_gaussians_lie_their_difference_of_scale_apart():
    assert frechet_distance(whitened(), 3 * whitened()) == pytest.approx(5 * (3 - 1) ** 2, rel=1e-9)


def test_the_same_set_twice_is_zero():
    samples = correlated(1, 40)
    assert 0 <= frechet_distance(samples, samples[::-1]) < 1e-9


def test_it_agrees_with_scipy():
    sets = correlated(1, 200), correlated(2, 150)
    assert frechet_distance(*sets) == pytest.approx(independent_frechet_distance(*sets), rel=1e-6)


@pytest.mark.parametrize("count", [4, 20])
def test_singular_covariances_agree_with_scipy(count):
    # With 4 samples of 12 features; and with features that are copies of others.
    sets = [np.tile(correlated(seed, count), 2) for seed in (1, 2)]
    assert frechet_distance(*sets) == pytest.approx(independent_frechet_distance(*sets), rel=1e-5)


def test_the_same_singular_set_twice_is_zero():
    samples = correlated(3, 4)
    assert frechet_distance(samples, samples) < 1e-9 * samples.var()


@pytest.mark.parametrize("unit", [1e-7, 1e6])
def test_the_unit_of_the_features_only_scales_the_distance(unit):
    sets = correlated(1, 60), correlated(2, 60)
    expected = frechet_distance(*sets) * unit**2
    assert frechet_distance(sets[0] * unit, sets[1] * unit) == pytest.approx(expected, rel=1e-6)


def test_constant_features_leave_the_distance_of_the_means():
    assert frechet_distance(np.zeros([3, 2]), np.full([4, 2], 2.0)) == pytest.approx(8.0)


def test_float32_features_lose_nothing_to_their_mean():
    sets = [(correlated(seed, 100) + 1000).astype(np.float32) for seed in (1, 2)]
    expected = independent_frechet_distance(*(array.astype(np.float64) for array in sets))
    assert frechet_distance(*sets) == pytest.approx(expected, rel=1e-6)


def test_one_image_is_too_few():
    with pytest.raises(InputError, match="at least 2 images"):
        frechet_distance(np.zeros([1, 3]), np.zeros([5, 3]))


def test_features_must_be_finite():
    with pytest.raises(InputError, match="finite"):
        frechet_distance(np.full([3, 2], np.nan), np.zeros([5, 2]))


def test_score_agrees_with_numpy():
    logits = np.random.default_rng(0).normal(size=[100, 7]) * 3
    assert classifier_score(logits) == pytest.approx(independent_classifier_score(logits), rel=1e-9)


def test_sure_and_even_classes_score_their_number():
    assert classifier_score(50 * np.eye(6)) == pytest.approx(6.0)


def test_unsure_classes_score_one():
    assert classifier_score(np.zeros([9, 4])) == pytest.approx(1.0)


def test_one_class_only_scores_one():
    assert classifier_score(np.tile([9.0, 0.0, 0.0], [5, 1])) == pytest.approx(1.0)


def test_probabilities_that_underflow_stay_finite():
    logits = np.array([[5000.0, 0.0, -5000.0], [0.0, 5000.0, -5000.0]])
    assert classifier_score(logits) == pytest.approx(2.0)


def test_score_needs_images():
    with pytest.raises(InputError, match="at least one image"):
        classifier_score(np.zeros([0, 3]))


def test_score_needs_finite_logits():
    with pytest.raises(InputError, match="finite"):
        classifier_score(np.array([[np.inf, 0.0]]))
