"""Finds the training images nearest to samples, which shows whether samples are copies."""

import numpy as np

from vim_tf.evaluation.pictures import Picture, grid
from vim_tf.evaluation.results import EvaluationResult

_SHOWN_SAMPLES = 12
_NEIGHBOURS = 3


class NearestImages:
    """Finds the nearest training images of some samples, by the distance of their features.

    Args:
        network: FeatureNetwork.
    """

    def __init__(self, network):
        self._network = network
        self._samples, self._features = [], []

    def add_samples(self, indices, images, features, num_samples):
        """Keeps the samples to be shown, evenly spaced among all.

        Args:
            indices: int [batch], numbers of the samples.
            images: uint8 [batch, height, width, 3].
            features: float32 [batch, num_features].
            num_samples: int, of all batches.
        """
        shown = np.linspace(0, num_samples - 1, min(_SHOWN_SAMPLES, num_samples)).round().astype(int)
        chosen = np.isin(indices, shown)
        self._samples.extend(images[chosen])
        self._features.extend(features[chosen])

    def search(self, batches):
        """Goes through the training images once.

        Args:
            batches: iterable of {"image": uint8 [batch, height, width, 3]}.

        Returns:
            EvaluationResult with the picture generation/nearest: a column for each sample, its nearest images below.
        """
        features = np.stack(self._features).astype(np.float64)
        distances = np.full([len(features), _NEIGHBOURS], np.inf)
        nearest = np.zeros([len(features), _NEIGHBOURS, *self._samples[0].shape], np.uint8)
        num_searched = 0
        for batch in batches:
            images = np.asarray(batch["image"])
            num_searched += len(images)
            found = self._network.features(images).astype(np.float64)
            squared = np.sum((features[:, None] - found[None]) ** 2, axis=2)
            for row in np.flatnonzero(squared.min(axis=1) < distances[:, -1]):
                together = np.concatenate([distances[row], squared[row]])
                best = np.argsort(together, kind="stable")[:_NEIGHBOURS]
                distances[row], nearest[row] = together[best], np.concatenate([nearest[row], images])[best]
        rows = np.concatenate([np.stack(self._samples)[None], nearest.swapaxes(0, 1)])
        picture = Picture(
            title="Nearest training images",
            image=grid(rows.reshape(-1, *rows.shape[2:]), len(features)),
            alt=f"{len(features)} samples, each above the {_NEIGHBOURS} training images nearest to it",
            caption=f"Evenly spaced samples, above the nearest of {num_searched} training images by the feature "
            "network. A sample that equals its neighbour was memorized.",
            row_labels=("sample", *(f"nearest {rank}" for rank in range(1, _NEIGHBOURS + 1))),
            num_columns=len(features),
        )
        return EvaluationResult(pictures={"generation/nearest": picture})
