"""Measures how close two sets of images are as distributions, by the outputs of a feature network.

Everything is measured on `FeatureStatistics`, in float64, with TF-GAN's functions where it has them and they don't need
all activations at once. Values are comparable only if the feature network, both sample counts and the resize rule are
the same; the evaluators store these with every value. With a network other than TF-GAN's Inception graph the metrics
are not FID, Inception Score and KID, and are never called that.
"""

import numpy as np
import tensorflow as tf
from absl import logging

from vim_tf.errors import InputError
from vim_tf.losses import tf_gan

NUM_NEIGHBORS = 3
BLOCK_SIZE = 1000
_DISTANCE_ROWS = 1024


def frechet_distance(statistics, other):
    """Fréchet distance between Gaussians fitted to two sets of features; 0 is best.

    |m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)), with unbiased covariances. The estimate is biased upwards, the more so
    the fewer samples: compare only values of equal sample counts, and read them against the distance between two sets
    of real images. With fewer samples than features the covariances are singular; the value is still defined, and so
    biased that it ranks models poorly (`frechet_caution`).

    Args:
        statistics, other: FeatureStatistics of the two sets.

    Returns:
        float, in squared units of the features.

    Raises:
        InputError: a set has fewer than 2 images, or the sets have different features.

    References:
        Heusel et al., 2017, https://arxiv.org/abs/1706.08500, eq. 6.
    """
    _check_same_features(statistics, other)
    for each in (statistics, other):
        if each.count < 2:
            raise InputError(
                f"a Fréchet distance needs at least 2 images on each side, not {each.count}: one image has no spread"
            )
    caution = frechet_caution(statistics, other)
    if caution:
        logging.warning("Fréchet distance: %s", caution)
    covariances = [each.covariance for each in (statistics, other)]
    # TF-GAN treats eigenvalues under 1e-10 as zero, regardless of the features' unit. Scaled by their own spread,
    # neither tiny nor huge features suffer from that; the distance scales with the square of the unit.
    variance = np.mean([np.trace(covariance) for covariance in covariances]) / statistics.num_features or 1.0
    scaled = [tf.constant(covariance / variance) for covariance in covariances]
    root = float(tf_gan.classifier_metrics().trace_sqrt_product(*scaled)) * variance
    distance = np.sum((statistics.mean - other.mean) ** 2) + sum(map(np.trace, covariances)) - 2 * root
    if not np.isfinite(distance):
        raise InputError("the Fréchet distance isn't finite: the features are too large to be squared, or not numbers")
    # Rounding can leave a distance of zero slightly negative.
    return max(float(distance), 0.0)


def frechet_caution(statistics, other):
    """A warning about a Fréchet distance from too few images: str, empty if there are enough."""
    few = min(statistics.count, other.count)
    if few > statistics.num_features:
        return ""
    return (
        f"{few} images for {statistics.num_features} features: the covariance is singular and the value so biased "
        f"upwards that it ranks models poorly; take more than {statistics.num_features} images, better ten times as "
        "many"
    )


def classifier_score(statistics):
    """exp of the mean KL divergence of p(class | image) from p(class); higher is better, in [1, num_classes].

    High when the classifier is sure of each image and all classes are equally frequent. It isn't compared with
    real images, so it misses both a lack of variety within a class and artefacts that leave the class clear. Biased
    downwards for few samples. All images form one set: no mean over splits is taken.

    Args:
        statistics: FeatureStatistics that were given logits.

    Returns:
        float.

    Raises:
        InputError: there are no images.

    References:
        Salimans et al., 2016, https://arxiv.org/abs/1606.03498, section 4.
    """
    score = statistics.classifier_score
    if score is None:
        raise InputError("a classifier score needs at least one image, and a feature network with classes")
    return score


def kernel_distance(statistics, other):
    """Squared maximum mean discrepancy with a cubic polynomial kernel, over blocks of the two sets' samples.

    Unlike the Fréchet distance it is unbiased, so it can be slightly negative; 0 is best. Each block holds at most
    `BLOCK_SIZE` images of each set.

    Args:
        statistics, other: FeatureStatistics; only their `sample` is measured.

    Returns:
        (float, float): the distance and its standard error, which is None for a single block.

    Raises:
        InputError: a sample has fewer than 2 images, or the sets have different features.

    References:
        Binkowski et al., 2018, https://arxiv.org/abs/1801.01401, section 4.
    """
    samples = _samples(statistics, other, "a kernel distance", least=2)
    activations = [tf.constant(sample, tf.float64) for sample in samples]
    distance, error = tf_gan.classifier_metrics().kernel_classifier_distance_and_std_from_activations(
        *activations, max_block_size=BLOCK_SIZE
    )
    return float(distance), float(error) if np.isfinite(error) else None


def precision_and_recall(statistics, reference):
    """What share of the images looks real, and of the real images is covered; both in [0, 1], higher is better.

    Precision is the share of images in the manifold of the reference, recall the share of the reference in the
    manifold of the images; a set's manifold is the union of balls around its features that reach to the
    `NUM_NEIGHBORS`-th nearest feature of the same set. Both grow with the sample counts.

    Args:
        statistics, reference: FeatureStatistics; only their `sample` is measured.

    Returns:
        (float, float).

    Raises:
        InputError: a sample has no more than `NUM_NEIGHBORS` images, or the sets have different features.

    References:
        Kynkäänniemi et al., 2019, https://arxiv.org/abs/1904.06991, section 3.
    """
    samples = _samples(statistics, reference, "precision and recall", least=NUM_NEIGHBORS + 1)
    images, real = (sample.astype(np.float64) for sample in samples)
    return _share_inside(images, real), _share_inside(real, images)


def _share_inside(points, others):
    """Share of the points in the manifold of the others."""
    # Far from the origin, differences of squares would lose digits.
    points, others = points - others.mean(axis=0), others - others.mean(axis=0)
    rounding = 1e-12 * max(np.max(np.sum(part**2, axis=1)) for part in (points, others))
    # A feature's nearest neighbour is itself.
    radii = np.concatenate(
        [np.partition(d, NUM_NEIGHBORS, axis=1)[:, NUM_NEIGHBORS] for d in _distances(others, others)]
    )
    inside = [np.any(distances <= radii + rounding, axis=1) for distances in _distances(points, others)]
    return float(np.mean(np.concatenate(inside)))


def _distances(points, others):
    """Yields squared distances of the next points to all others, float64 [rows, len(others)], a block at a time."""
    norms = np.sum(others**2, axis=1)
    for start in range(0, len(points), _DISTANCE_ROWS):
        block = points[start : start + _DISTANCE_ROWS]
        yield np.sum(block**2, axis=1)[:, None] + norms - 2 * block @ others.T


def _check_same_features(statistics, other):
    if statistics.num_features != other.num_features:
        raise InputError(
            f"one set has {statistics.num_features} features and the other {other.num_features}: they come from "
            "different feature networks and can't be compared"
        )


def _samples(statistics, other, what, least):
    _check_same_features(statistics, other)
    samples = statistics.sample, other.sample
    for sample in samples:
        if len(sample) < least:
            raise InputError(f"{what} needs the features of at least {least} images of each set, not of {len(sample)}")
    return samples
