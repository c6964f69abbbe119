"""How close two sets of images are as distributions, judged by the outputs of a feature network.

Thin wrappers of TF-GAN's functions: float64 throughout, safe at the edges. Values compare only where the feature
network, both sample counts and the resize rule are the same; `evaluators` stores these beside every value. With
another network than TF-GAN's Inception graph these are not FID and Inception Score, and are never named so.
"""

import numpy as np
import tensorflow as tf
from absl import logging

from vim_tf import tf_gan
from vim_tf.errors import InputError

_MAX_LOGIT_GAP = 700.0


def frechet_distance(features, other_features):
    """Fréchet distance between Gaussians fitted to two sets of features; 0 is best.

    |m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)), with unbiased covariances. The estimate is biased upwards, the more so
    the fewer samples: compare only values of equal sample counts, and read them beside the distance of two sets of
    real images. With fewer samples than features the covariances are singular; the value is still defined, and so
    biased that it ranks models poorly.

    Args:
        features: float [num_samples, num_features].
        other_features: float [other_num_samples, num_features].

    Returns:
        float, in squared units of the features.

    Raises:
        InputError: a set has fewer than 2 samples, or a feature is not finite.

    References:
        Heusel et al., 2017, https://arxiv.org/abs/1706.08500, eq. 6.
    """
    sets = [np.asarray(array, np.float64) for array in (features, other_features)]
    for array in sets:
        if len(array) < 2:
            raise InputError(f"a Fréchet distance needs at least 2 images on each side, not {len(array)}")
        if not np.all(np.isfinite(array)):
            raise InputError("a Fréchet distance needs finite features; some images gave NaN or infinity")
        if len(array) <= array.shape[1]:
            logging.warning(
                "Fréchet distance from %d images and %d features: too few images for a value that ranks models",
                len(array),
                array.shape[1],
            )
    # TF-GAN treats eigenvalues under 1e-10 as zero, whatever the features' unit. Measured in units of their own
    # spread, neither tiny nor huge features suffer from that; the distance scales with the square of the unit.
    spread = np.sqrt(np.mean([np.mean(np.var(array, axis=0)) for array in sets])) or 1.0
    activations = [tf.constant(array / spread) for array in sets]
    distance = tf_gan.classifier_metrics().frechet_classifier_distance_from_activations(*activations)
    # Rounding can leave a distance of zero slightly negative.
    return max(float(distance), 0.0) * spread**2


def classifier_score(logits):
    """exp of the mean KL divergence of p(class | image) from p(class); higher is better, in [1, num_classes].

    High when the classifier is sure of each image and all classes are equally frequent. It compares with no real
    images, so it sees neither a missing variety within a class nor artefacts that leave the class clear. Biased
    downwards for few samples.

    Args:
        logits: float [num_samples, num_classes].

    Returns:
        float.

    Raises:
        InputError: there are no samples, or a logit is not finite.

    References:
        Salimans et al., 2016, https://arxiv.org/abs/1606.03498, section 4.
    """
    logits = np.asarray(logits, np.float64)
    if not len(logits):
        raise InputError("a classifier score needs at least one image")
    if not np.all(np.isfinite(logits)):
        raise InputError("a classifier score needs finite logits; some images gave NaN or infinity")
    logits = logits - logits.max(axis=1, keepdims=True)
    # A probability that underflows to 0 in every row would give 0 * log(0); e^-700 is as good as 0 in the score.
    logits = np.maximum(logits, -_MAX_LOGIT_GAP)
    return float(tf_gan.classifier_metrics().classifier_score_from_logits(tf.constant(logits)))
