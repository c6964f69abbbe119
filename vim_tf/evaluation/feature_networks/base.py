"""The base class of feature networks."""

import abc
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vim_tf.devices import strategies
from vim_tf.errors import InputError
from vim_tf.losses import frozen


class Activations(NamedTuple):
    """Outputs of a feature network.

    Attributes:
        features: float32 [num_images, num_features].
        logits: float32 [num_images, num_classes].
    """

    features: np.ndarray
    logits: np.ndarray


class MetricNames(NamedTuple):
    """Names of a network's distribution metrics, after `<stage>/`."""

    frechet: str
    score: str
    kernel: str


class FeatureNetwork(abc.ABC):
    """A frozen network whose inner activations judge images.

    If built in a strategy's scope, it divides batches among the replicas.

    Attributes:
        num_features, num_classes: int.
        description: dict of JSON values: what the network is, where it came from and how images enter it.
        checksum: sha256 of everything that determines its outputs, in hexadecimal digits.
        metric_prefix: str before the names of its metrics, for networks whose weights are always the same.
        is_inception: whether its metrics may be called FID, Inception Score and KID.
        judges_labels: whether its classes are the labels of the images that are evaluated.
    """

    metric_prefix = ""
    is_inception = False
    judges_labels = False

    def __init__(self, num_features, num_classes, description, checksum):
        self.num_features = num_features
        self.num_classes = num_classes
        self.description = description
        self.checksum = checksum
        self._replicated = strategies.replicated(tf.distribute.get_strategy(), self.forward)

    @abc.abstractmethod
    def forward(self, images):
        """(features, logits), float32 [batch, num_features] and [batch, num_classes], of uint8 images [batch, height,
        width, 3]; a graph function."""

    def check(self, images):
        """Raises InputError unless images are uint8 [num_images, height, width, 3] and of a usable size."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise InputError(
                f"a feature network takes uint8 images [n, height, width, 3], not {images.dtype} {images.shape}"
            )

    @property
    def metric_names(self):
        """MetricNames."""
        if self.is_inception:
            return MetricNames("fid", "inception_score", "kid")
        names = ("frechet_distance", "classifier_score", "kernel_distance")
        return MetricNames(*(self.metric_prefix + name for name in names))

    @property
    def conditions(self):
        """dict of JSON values for the conditions of a metric."""
        return {"checksum": self.checksum, **self.description}

    def activations(self, images, batch_size=256):
        """`Activations` of images.

        Args:
            images: uint8 [num_images, height, width, 3].
            batch_size: int, images in the network at once.

        Raises:
            InputError: the network can't judge images of this size.
        """
        images = np.asarray(images)
        self.check(images)
        parts = [self._replicated(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
        if not parts:
            return Activations(
                np.zeros([0, self.num_features], np.float32), np.zeros([0, self.num_classes], np.float32)
            )
        return Activations(*(np.concatenate([np.asarray(part[index]) for part in parts]) for index in (0, 1)))

    def features(self, images, batch_size=256):
        """float32 [num_images, num_features]; arguments as in `activations`."""
        return self.activations(images, batch_size).features

    def logits(self, images, batch_size=256):
        """float32 [num_images, num_classes]; arguments as in `activations`."""
        return self.activations(images, batch_size).logits

    def probabilities(self, images, batch_size=256):
        """float32 [num_images, num_classes], rows sum to 1; arguments as in `activations`."""
        return tf.nn.softmax(self.logits(images, batch_size)).numpy()


class ImportedNetwork(FeatureNetwork):
    """A network with ImageNet's weights, from a file that `vim_tf.import_weights` wrote.

    Args:
        model: keras.Model with `assign`, not built.
        arrays: dict of its weights, as `frozen.read_weights` returns them.
        num_features, num_classes: int.
        title: str, what the network is called.
        entry: str, how images enter it.
    """

    def __init__(self, model, arrays, num_features, num_classes, title, entry):
        model.build()
        model.assign(arrays)
        self._model = model
        description = {
            "kind": f"{title} with ImageNet's weights",
            "num_features": num_features,
            "num_classes": num_classes,
            "input": entry,
        }
        super().__init__(num_features, num_classes, description, frozen.checksum(arrays))
