"""Sets of images as a feature network sees them: generated ones, and real ones whose statistics are kept on disk."""

import json

import numpy as np
import tensorflow as tf
from absl import logging

from vim_tf.data.batches import eval_batches
from vim_tf.errors import InputError
from vim_tf.evaluation import conditions
from vim_tf.evaluation.metrics.statistics import FeatureStatistics
from vim_tf.storage import npz
from vim_tf.storage.digests import digest

_FORMAT = 1


class MeasuredImages:
    """What is kept of a set of images that goes through a feature network.

    Args:
        network: FeatureNetwork.
        kept_features: int, features kept as a sample.
        seed: int that determines which.

    Attributes:
        statistics: FeatureStatistics.
        num_labelled, num_recognised: images with a label, and how many of them the network recognises as it.
    """

    def __init__(self, network, kept_features, seed):
        self.statistics = FeatureStatistics(network.num_features, network.num_classes, kept_features, seed)
        self.num_labelled = self.num_recognised = 0
        self.network = network

    def update(self, images, labels=None):
        """Takes in images, uint8 [batch, height, width, 3], and their labels, int [batch], -1 = none.

        Returns:
            Activations of the batch.
        """
        found = self.network.activations(images)
        self.statistics.update(found.features, found.logits)
        if labels is not None:
            labels = np.asarray(labels)
            labelled = labels >= 0
            self.num_labelled += int(labelled.sum())
            self.num_recognised += int(np.sum(found.logits[labelled].argmax(axis=1) == labels[labelled]))
        return found

    @property
    def label_accuracy(self):
        """Share of the labelled images that the network recognises as their label; None if there are none."""
        return self.num_recognised / self.num_labelled if self.num_labelled else None

    def merge(self, other):
        """Takes in everything of another MeasuredImages of the same network."""
        self.statistics.merge(other.statistics)
        self.num_labelled += other.num_labelled
        self.num_recognised += other.num_recognised

    def arrays(self):
        """Dict of arrays for `from_arrays`."""
        return {
            **self.statistics.arrays(),
            "num_labelled": np.int64(self.num_labelled),
            "num_recognised": np.int64(self.num_recognised),
        }

    @classmethod
    def from_arrays(cls, network, arrays):
        """The set that `arrays` described; other sets can be merged into it, but no images added.

        Raises:
            KeyError: an array is missing.
            ValueError: an array has another shape, or isn't finite.
        """
        measured = cls(network, 0, 0)
        measured.statistics = FeatureStatistics.from_arrays(arrays)
        measured.num_labelled = int(arrays["num_labelled"])
        measured.num_recognised = int(arrays["num_recognised"])
        return measured


class ReferenceSets:
    """Statistics of real images from one feature network, which each set goes through only once.

    Args:
        network: FeatureNetwork.
        batch_size: int, images in memory at once.
        kept_features: int, features kept of each set, on which kernel distance, precision and recall are measured.
        seed: int that determines which.
        folder: str where statistics are kept for later evaluations; None = in this process only. A file's name is a
            digest of everything its content depends on, so it is never out of date. It is an .npz with the arrays `mu`
            and `sigma` that other projects read, among others.
    """

    def __init__(self, network, batch_size=64, kept_features=10_000, seed=0, folder=None):
        self.network = network
        self.batch_size = batch_size
        self.kept_features = kept_features
        self.seed = seed
        self.folder = folder
        self._known = {}

    def empty(self):
        """An empty MeasuredImages with the settings of the reference sets."""
        return MeasuredImages(self.network, self.kept_features, self.seed)

    def of(self, source):
        """MeasuredImages of all images of an ImageSource.

        Raises:
            InputError: there are no images.
        """
        key = self._key(source)
        if key not in self._known:
            self._known[key] = self._read(key) or self._measured(source, key)
        return self._known[key]

    def path(self, source):
        """Path of the file with the statistics of an ImageSource, whether or not it exists yet."""
        return f"{self.folder}/{self._key(source)[:32]}.npz"

    def _key(self, source):
        facts = {
            "format": _FORMAT,
            "images": conditions.image_set(source, source.num_examples),
            "files": source.fingerprint(),
            **conditions.through_network(self.network),
            "kept_features": self.kept_features,
            "seed": self.seed,
        }
        return digest(facts)

    def _read(self, key):
        path = f"{self.folder}/{key[:32]}.npz"
        if not self.folder or not tf.io.gfile.exists(path):
            return None
        logging.info("reading the statistics of real images from %s", path)
        try:
            return MeasuredImages.from_arrays(self.network, npz.read(path))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}): delete it to measure the images again") from error

    def _measured(self, source, key):
        measured = self.empty()
        for batch in eval_batches(source, self.batch_size):
            measured.update(np.asarray(batch["image"]), np.asarray(batch["label"]))
        if not measured.statistics.count:
            raise InputError(f"{source.name} has no images in its {source.split} split: there is nothing to measure")
        if self.folder:
            facts = conditions.image_set(source, measured.statistics.count)
            write_set(f"{self.folder}/{key[:32]}.npz", measured, facts)
        return measured


def write_set(path, measured, facts):
    """Writes a set as an .npz file for `--reference` and for ReferenceSets.

    Args:
        path: str.
        measured: MeasuredImages.
        facts: dict of JSON values that says which images they are, for the conditions of metrics.
    """
    described = json.dumps({"images": facts, "feature_network": measured.network.checksum})
    npz.write(path, measured.arrays() | {"described": np.array(described)})
