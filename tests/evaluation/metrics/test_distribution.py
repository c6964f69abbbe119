"""Fréchet distance and classifier score against closed forms and scipy."""

import numpy as np
import pytest
from scipy import linalg, special
from sklearn import metrics
from sklearn.neighbors import NearestNeighbors

from vim_tf.errors import InputError
from vim_tf.evaluation.metrics import distribution
from vim_tf.evaluation.metrics.statistics import FeatureStatistics


def statistics(features, logits=None):
    return FeatureStatistics.of(features, logits)


def frechet_distance(features, other_features):
    return distribution.frechet_distance(statistics(features), statistics(other_features))


def classifier_score(logits):
    return distribution.classifier_score(statistics(np.zeros([len(logits), 1]), logits))


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


def test_shifted_unit_gaussians_are_the_squared_shift_apart():
    shift = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    assert frechet_distance(whitened(), whitened() + shift) == pytest.approx(np.sum(shift**2), rel=1e-9)


def test_scaled_unit_gaussians_are_their_difference_of_scale_apart():
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
    with pytest.raises(InputError, match="NaN or infinity"):
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
    with pytest.raises(InputError, match="NaN or infinity"):
        classifier_score(np.array([[np.inf, 0.0]]))


def independent_kernel_distance(features, other):
    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    within = [kernel(a, a) for a in (features, other)]
    means = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in within]
    return sum(means) - 2 * kernel(features, other).mean()


def test_kernel_distance_agrees_with_numpy():
    sets = [correlated(seed, 300).astype(np.float32) for seed in (1, 2)]
    found, error = distribution.kernel_distance(*map(statistics, sets))
    assert found == pytest.approx(independent_kernel_distance(*(array.astype(float) for array in sets)), rel=1e-6)
    assert error is None


def test_kernel_distance_of_many_images_is_the_mean_over_blocks(monkeypatch):
    monkeypatch.setattr(distribution, "BLOCK_SIZE", 100)
    sets = [statistics(correlated(seed, 300)) for seed in (1, 2)]
    blocks = zip(*(np.split(each.sample.astype(float), 3) for each in sets), strict=True)
    expected = [independent_kernel_distance(*block) for block in blocks]
    found, error = distribution.kernel_distance(*sets)
    assert found == pytest.approx(np.mean(expected), rel=1e-6)
    assert error == pytest.approx(np.std(expected, ddof=1) / np.sqrt(3), rel=1e-6)


def independent_precision(points, others, neighbors=3):
    # Each feature is its own nearest neighbour.
    finder = NearestNeighbors(n_neighbors=neighbors + 1).fit(others)
    radii = finder.kneighbors(others)[0][:, -1]
    return np.mean(np.any(metrics.pairwise_distances(points, others) <= radii + 1e-9, axis=1))


@pytest.mark.parametrize("shift", [0.0, 2.0, 1000.0])
def test_precision_and_recall_agree_with_scikit_learn(shift, monkeypatch):
    # In blocks that the sets don't fill exactly.
    monkeypatch.setattr(distribution, "_DISTANCE_ROWS", 64)
    random = np.random.default_rng(0)
    images, real = random.normal(size=[150, 4]) + 1000, 1.5 * random.normal(size=[200, 4]) + 1000 + shift
    precision, recall = distribution.precision_and_recall(statistics(images), statistics(real))
    images, real = images.astype(np.float32).astype(float), real.astype(np.float32).astype(float)
    assert precision == independent_precision(images, real)
    assert recall == independent_precision(real, images)


def test_a_set_covers_itself_and_so_do_its_duplicates():
    samples = correlated(0, 60)
    assert distribution.precision_and_recall(statistics(samples), statistics(samples)) == (1.0, 1.0)
    doubled = np.repeat(samples[:10], 6, axis=0)
    assert distribution.precision_and_recall(statistics(doubled), statistics(doubled)) == (1.0, 1.0)


@pytest.mark.parametrize("unit", [1e-3, 1, 1e6])
def test_copies_of_real_images_are_precise_however_the_products_of_two_sizes_are_rounded(unit):
    # The balls around repeated images have radius 0, which is computed as some rounding error of the squares.
    real = unit * correlated(0, 10, 64)
    images, repeated = statistics(real[:7]), statistics(np.repeat(real, 6, axis=0))
    precision, _ = distribution.precision_and_recall(images, repeated)
    assert precision == 1.0


def test_a_model_that_repeats_few_images_has_precision_without_recall():
    real = np.random.default_rng(0).normal(size=[400, 3])
    repeated = np.repeat(real[:4], 20, axis=0)
    precision, recall = distribution.precision_and_recall(statistics(repeated), statistics(real))
    assert precision == 1.0
    # The balls around repeated images have radius 0 and reach only themselves.
    assert recall == 4 / 400


def test_too_few_images_say_what_the_value_would_have_meant():
    few, many = statistics(correlated(0, 5)), statistics(correlated(1, 50))
    assert distribution.frechet_caution(many, many) == ""
    assert distribution.frechet_caution(few, many).startswith(
        "5 images for 6 features: the covariance is singular and the value so biased upwards that it ranks models"
    )


@pytest.mark.parametrize("measure", [distribution.kernel_distance, distribution.precision_and_recall])
def test_a_reference_without_a_sample_is_refused(measure):
    moments = FeatureStatistics.of_gaussian(np.zeros(6), np.eye(6), 100)
    with pytest.raises(InputError, match="not of 0"):
        measure(statistics(correlated(0, 50)), moments)


def test_features_of_different_networks_are_refused():
    with pytest.raises(InputError, match="3 features and the other 6"):
        frechet_distance(np.zeros([9, 3]), np.zeros([9, 6]))
