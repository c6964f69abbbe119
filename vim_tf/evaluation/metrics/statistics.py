"""Statistics of a feature network's outputs over a set of images, in memory that doesn't grow with the set."""

import numpy as np
from scipy import special
from scipy.linalg import blas

from vim_tf.errors import InputError

# Rows gathered before they are folded into the scatter matrix, since each fold passes over the whole matrix.
_FOLDED_ROWS = 1024


class FeatureStatistics:
    """Mean and covariance of features, the sums for the classifier score, and a uniform sample of the features.

    It is filled batch by batch, and two of them merge into that of both sets; neither the size of the batches nor the
    order of merges changes a value by more than rounding. Sums are float64.

    Args:
        num_features: int.
        num_classes: int; 0 = logits are ignored.
        capacity: int, features kept in the sample, at most `2 * capacity * num_features * 4` bytes.
        seed: int or sequence of ints that determines which features are kept. Sets that will be merged need different
            seeds.
    """

    def __init__(self, num_features, num_classes=0, capacity=10_000, seed=0):
        self.num_features = num_features
        self.num_classes = num_classes
        self.capacity = capacity
        self._count = 0
        self._mean = np.zeros(num_features)
        # Sum of outer products of the deviations from the mean; BLAS only updates its upper triangle.
        self._scatter = np.zeros([num_features, num_features], order="F")
        self._waiting = []
        self._probability_sum = np.zeros(num_classes)
        self._negative_entropy_sum = 0.0
        self._scored = 0
        self._random = np.random.default_rng(seed)
        # Pairs of features and their priorities; rows above the limit can no longer be part of the sample.
        self._kept = [(np.zeros([0, num_features], np.float32), np.zeros(0))]
        self._limit = np.inf

    @classmethod
    def of(cls, features, logits=None, capacity=10_000, seed=0):
        """The statistics of one set in memory; arguments as in `update` and the class."""
        features = np.asarray(features)
        statistics = cls(features.shape[1], 0 if logits is None else np.shape(logits)[1], capacity, seed)
        statistics.update(features, logits)
        return statistics

    @classmethod
    def of_gaussian(cls, mean, covariance, count):
        """Statistics of which only the moments are known, as in other projects' files.

        Args:
            mean: float [num_features].
            covariance: float [num_features, num_features].
            count: int, images that they were measured on; at least 2.

        Raises:
            ValueError: the shapes don't match, or a value isn't finite.
        """
        mean, covariance = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
        _check_array("mu", mean, (mean.size,))
        _check_array("sigma", covariance, (mean.size, mean.size))
        if count < 2:
            raise ValueError(f"num_images is {count}, and moments need at least 2")
        statistics = cls(len(mean), capacity=0)
        statistics._count = count
        statistics._mean = mean
        statistics._scatter = np.asfortranarray(covariance * (count - 1))
        return statistics

    def update(self, features, logits=None):
        """Takes in one batch.

        Args:
            features: float [batch, num_features].
            logits: float [batch, num_classes], or None where there are no classes.

        Raises:
            InputError: a feature or a logit is not finite.
        """
        features = np.asarray(features)
        if not np.all(np.isfinite(features)):
            raise InputError("the feature network gave NaN or infinity for some images: nothing can be measured on it")
        self._waiting.append(features.astype(np.float64))
        if sum(map(len, self._waiting)) >= _FOLDED_ROWS:
            self._fold()
        if self.capacity:
            self._keep(features.astype(np.float32), self._random.random(len(features)))
        if self.num_classes:
            self._score(np.asarray(logits, np.float64))

    def merge(self, other):
        """Takes in everything of another FeatureStatistics of the same sizes."""
        self._fold()
        other._fold()
        self._add_moments(other._count, other._mean, other._scatter)
        self._probability_sum += other._probability_sum
        self._negative_entropy_sum += other._negative_entropy_sum
        self._scored += other._scored
        for features, priorities in other._kept:
            self._keep(features, priorities)

    @property
    def count(self):
        """int, images so far."""
        self._fold()
        return self._count

    @property
    def mean(self):
        """float64 [num_features]."""
        self._fold()
        return self._mean

    @property
    def covariance(self):
        """Unbiased covariance, float64 [num_features, num_features]; zeros for a single image."""
        self._fold()
        upper = np.triu(self._scatter)
        return (upper + np.triu(upper, 1).T) / max(self._count - 1, 1)

    @property
    def sample(self):
        """float32 [min(count, capacity), num_features]: features drawn without repetition, in random order."""
        self._compact()
        return self._kept[0][0]

    @property
    def classifier_score(self):
        """exp of the mean divergence of p(class | image) from p(class), in [1, num_classes]; None without logits."""
        if not self._scored:
            return None
        marginal = self._probability_sum / self._scored
        return float(np.exp(self._negative_entropy_sum / self._scored - np.sum(special.xlogy(marginal, marginal))))

    def arrays(self):
        """Dict of arrays for `from_arrays`; other projects use the names mu and sigma too."""
        return {
            "mu": self.mean,
            "sigma": self.covariance,
            "num_images": np.int64(self.count),
            "num_scored": np.int64(self._scored),
            "probability_sum": self._probability_sum,
            "negative_entropy_sum": np.float64(self._negative_entropy_sum),
            "sample": self.sample,
            "sample_priorities": self._kept[0][1],
            "capacity": np.int64(self.capacity),
        }

    @classmethod
    def from_arrays(cls, arrays):
        """The statistics that `arrays` described; others can be merged into them, but no images added.

        Raises:
            KeyError: an array is missing.
            ValueError: the shapes don't match, or a value isn't finite.
        """
        statistics = cls.of_gaussian(arrays["mu"], arrays["sigma"], int(arrays["num_images"]))
        sample, priorities = arrays["sample"], arrays["sample_priorities"]
        _check_array("sample", sample, (len(priorities), statistics.num_features))
        _check_array("sample_priorities", priorities, (len(priorities),))
        _check_array("probability_sum", arrays["probability_sum"], (arrays["probability_sum"].size,))
        _check_array("negative_entropy_sum", arrays["negative_entropy_sum"], ())
        statistics.num_classes = len(arrays["probability_sum"])
        statistics._probability_sum = arrays["probability_sum"]
        statistics._negative_entropy_sum = float(arrays["negative_entropy_sum"])
        statistics._scored = int(arrays["num_scored"])
        statistics.capacity = int(arrays["capacity"])
        statistics._kept = [(sample, priorities)]
        return statistics

    def _fold(self):
        """Brings count, mean and scatter up to date."""
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting)
        self._waiting = []
        mean = rows.mean(axis=0)
        centered = rows - mean
        self._scatter = blas.dsyrk(1.0, centered.T, beta=1.0, c=self._scatter, overwrite_c=1)
        self._add_moments(len(rows), mean, None)

    def _add_moments(self, count, mean, scatter):
        """Adds a set's moments to ours, by the formula of Chan et al. (1979) for two sets."""
        if not count:
            return
        total = self._count + count
        shift = mean - self._mean
        self._scatter = blas.dsyr(self._count * count / total, shift, a=self._scatter, overwrite_a=1)
        if scatter is not None:
            self._scatter += scatter
        self._mean = self._mean + shift * (count / total)
        self._count = total

    def _keep(self, features, priorities):
        """Rows with the lowest of independent random numbers are a uniform sample, however they are batched."""
        chosen = priorities < self._limit
        self._kept.append((features[chosen], priorities[chosen]))
        if sum(len(part) for _, part in self._kept) > 2 * self.capacity:
            self._compact()

    def _compact(self):
        features, priorities = (np.concatenate(column) for column in zip(*self._kept, strict=True))
        best = np.argsort(priorities)[: self.capacity]
        self._kept = [(features[best], priorities[best])]
        if len(best) == self.capacity:
            self._limit = priorities[best[-1]] if self.capacity else -np.inf

    def _score(self, logits):
        if not np.all(np.isfinite(logits)):
            raise InputError("the feature network gave logits of NaN or infinity: no classifier score can be measured")
        log_p = special.log_softmax(logits, axis=1)
        p = np.exp(log_p)
        self._probability_sum = self._probability_sum + p.sum(axis=0)
        # A probability that underflows to 0 contributes 0, as 0 log 0 does.
        self._negative_entropy_sum += float(np.sum(p * np.maximum(log_p, -1e4)))
        self._scored += len(logits)


def _check_array(name, values, shape):
    if values.shape != shape:
        raise ValueError(f"{name} has the shape {list(values.shape)}, not {list(shape)}")
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{name} holds NaN or infinity")
