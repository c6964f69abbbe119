"""A small classifier whose inner activations judge images, for data sets on which Inception's mean nothing."""

import itertools
import json

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from vim_tf.data import order
from vim_tf.errors import InputError
from vim_tf.evaluation import conditions
from vim_tf.evaluation.feature_networks.base import FeatureNetwork
from vim_tf.storage import npz
from vim_tf.storage.digests import array_parts, digest, digest_of_parts
from vim_tf.storage.files import write_whole

NUM_FEATURES = 64
MIN_SIDE = 8
_MAX_SIDE = 64
_BATCH_SIZE = 64
_FIRST_CHANNELS = 16
_LAST_MAP_SIDE = 4
_SHIFT_FRACTION = 16
_LEARNING_RATE = 2e-3
_WEIGHTS_FILE = "weights.npz"
DESCRIPTION_FILE = "feature_network.json"


class ClassifierNetwork(FeatureNetwork):
    """A convolutional classifier of uint8 images; its penultimate layer gives the features.

    Made by `train`, `train_on_batches` or `load`. The features are few (64), so that a few hundred images give
    well-conditioned covariances, and scaled so that the training images have a variance of 1 per feature on average:
    Fréchet distances from two trainings are then of the same order, but only values from one network (one checksum)
    are exactly comparable. Images over 64 px are downsized to that within the network, so it is blind to finer detail.

    Attributes:
        height, width: size of images in pixels; the others are those of `FeatureNetwork`.
    """

    judges_labels = True

    def __init__(self, model, feature_scale, description):
        checksum = _checksum(model, feature_scale, description)
        super().__init__(NUM_FEATURES, description["num_classes"], description, checksum)
        self._model = model
        self._feature_scale = feature_scale
        self.height, self.width = description["height"], description["width"]

    @classmethod
    def train(cls, images, labels, num_classes, steps, seed, batch_size=64, trained_on=None):
        """Trains on images in memory.

        Args:
            images: uint8 [num_images, height, width, 3].
            labels: int [num_images] in [0, num_classes).
            num_classes: int.
            steps: int, training steps.
            seed: int, of the initial weights, the order of images and their shifts.
            batch_size: int.
            trained_on: JSON value that names the images, for the description.

        Raises:
            InputError: no images, images under 8 px, or a label out of range.
        """
        images, labels = np.asarray(images), np.asarray(labels)
        if not len(images):
            raise InputError("a feature network needs images to train on, but there are none")
        if labels.min() < 0 or labels.max() >= num_classes:
            raise InputError(f"a feature network needs labels in [0, {num_classes}); some are outside")
        batches = _shuffled_batches(images, labels, batch_size, seed)
        return cls.train_on_batches(batches, num_classes, steps, seed, trained_on)

    @classmethod
    def train_on_batches(cls, batches, num_classes, steps, seed, trained_on=None):
        """Trains on a stream, so that memory doesn't grow with the number of images.

        Args:
            batches: endless tf.data.Dataset of {"image": uint8 [batch, height, width, 3], "label": int [batch]},
                static shapes.
            num_classes, steps, seed, trained_on: as in `train`.

        Raises:
            InputError: images under 8 px.
        """
        batch_size, height, width, _ = batches.element_spec["image"].shape
        if min(height, width) < MIN_SIDE:
            raise InputError(
                f"a feature network needs images of at least {MIN_SIDE} x {MIN_SIDE} px, not {height} x {width}"
            )
        model = _build_model(height, width, num_classes, seed)
        schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)
        model.compile(
            keras.optimizers.Adam(schedule), [None, keras.losses.SparseCategoricalCrossentropy(from_logits=True)]
        )
        numbered = tf.data.Dataset.zip(batches, tf.data.Dataset.counter())
        pairs = numbered.map(lambda batch, step: _training_pair(batch, step, seed), tf.data.AUTOTUNE).prefetch(2)
        model.fit(pairs, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0)
        description = describe(height, width, num_classes, steps, seed, batch_size, trained_on)
        return cls(model, _feature_scale(model, batches), description)

    @tf.function(reduce_retracing=True)
    def forward(self, images):
        features, logits = self._model(images, training=False)
        return features * self._feature_scale, logits

    def check(self, images):
        if images.dtype != np.uint8 or images.shape[1:] != (self.height, self.width, 3):
            raise InputError(
                f"the feature network takes uint8 images of {self.height} x {self.width} px, not {images.dtype} of "
                f"shape {images.shape[1:]}"
            )

    def save(self, folder, files=""):
        """Writes weights and description.

        Args:
            folder: str.
            files: str, fingerprint of what it was trained on, which `trained_classifier` checks.
        """
        # The old description is removed first and the new one written last, so that it always belongs to the weights.
        if tf.io.gfile.exists(f"{folder}/{DESCRIPTION_FILE}"):
            tf.io.gfile.remove(f"{folder}/{DESCRIPTION_FILE}")
        weights = {f"arr_{index}": weight.numpy() for index, weight in enumerate(self._model.weights)}
        npz.write(f"{folder}/{_WEIGHTS_FILE}", weights)
        document = {
            "checksum": self.checksum,
            "feature_scale": float(self._feature_scale),
            "files": files,
            "description": self.description,
        }
        write_whole(f"{folder}/{DESCRIPTION_FILE}", json.dumps(document, indent=2) + "\n")

    @classmethod
    def load(cls, folder):
        """The network that `save` wrote.

        Raises:
            InputError: there is none, or its files don't belong together.
        """
        if not tf.io.gfile.exists(f"{folder}/{DESCRIPTION_FILE}"):
            raise InputError(f"{folder} holds no feature network: there is no {DESCRIPTION_FILE}")
        arrays = npz.read(f"{folder}/{_WEIGHTS_FILE}", advice="delete the folder to train the feature network again")
        try:
            document = _read_document(folder)
            description = document["description"]
            model = _build_model(description["height"], description["width"], description["num_classes"], seed=0)
            model.set_weights([arrays[f"arr_{index}"] for index in range(len(arrays))])
            network = cls(model, np.float32(document["feature_scale"]), description)
            checksum = document["checksum"]
        except (KeyError, TypeError, ValueError, tf.errors.OpError) as error:
            raise InputError(
                f"the feature network in {folder} is damaged or from another version ({error!r}); delete the folder to "
                "train it again"
            ) from error
        if network.checksum != checksum:
            raise InputError(
                f"the feature network in {folder} has checksum {network.checksum}, but its description says "
                f"{checksum}: its files don't belong together; delete the folder to train it again"
            )
        return network


def trained_classifier(source, steps, seed, folder=None):
    """The classifier for evaluations on a source's images.

    Args:
        source: ImageSource of the training split.
        steps, seed: as in `ClassifierNetwork.train`.
        folder: str where the network is stored, and loaded from if it is already there; None = not stored.

    Returns:
        ClassifierNetwork, or None if there can't be one (no labels, or images under 8 px), which is logged.
    """
    height, width = source.size
    if not source.num_classes or min(height, width) < MIN_SIDE:
        reason = f"has images under {MIN_SIDE} px" if source.num_classes else "has no labels"
        logging.info(
            "%s %s, so no feature network can be trained on it: the distribution metrics "
            "are left out; choose another --evaluation.feature_network",
            source.name,
            reason,
        )
        return None
    batches = _labelled_batches(source, seed)
    trained_on = conditions.image_set(source, source.num_examples)
    # Not part of the description: the same images at another path give the same network.
    files = digest([source.fingerprint(), source.class_names])
    wanted = describe(height, width, source.num_classes, steps, seed, _BATCH_SIZE, trained_on)
    if folder and tf.io.gfile.exists(f"{folder}/{DESCRIPTION_FILE}"):
        network = ClassifierNetwork.load(folder)
        if network.description == wanted and _read_document(folder).get("files") == files:
            return network
    logging.info("training the feature network: %d steps on %s %s", steps, source.name, source.split)
    network = ClassifierNetwork.train_on_batches(batches, source.num_classes, steps, seed, trained_on)
    if folder:
        network.save(folder, files)
    return network


def _read_document(folder):
    with tf.io.gfile.GFile(f"{folder}/{DESCRIPTION_FILE}") as file:
        return json.loads(file.read())


def _labelled_batches(source, seed):
    examples = source.shuffled(seed).filter(lambda example: example["label"] >= 0)
    batches = examples.batch(_BATCH_SIZE, drop_remainder=True)
    return batches.map(lambda batch: {"image": batch["image"], "label": batch["label"]})


def describe(height, width, num_classes, steps, seed, batch_size, trained_on):
    """`ClassifierNetwork.description` of a network trained this way; arguments as in `ClassifierNetwork.train`."""
    return {
        "kind": "small convolutional classifier",
        "num_features": NUM_FEATURES,
        "num_classes": num_classes,
        "height": height,
        "width": width,
        "input": _input_rule(height, width),
        "trained_on": trained_on,
        "steps": steps,
        "batch_size": batch_size,
        "seed": seed,
    }


def _build_model(height, width, num_classes, seed):
    """Keras model of uint8 images to [features, logits]; every layer draws its weights from the seed."""
    seeds = iter(np.random.SeedSequence(seed).generate_state(64) >> 1)

    def initializer():
        return keras.initializers.HeNormal(seed=int(next(seeds)))

    images = keras.Input([height, width, 3], dtype="uint8", name="images")
    hidden = keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32")(images)
    network_height, network_width = _network_size(height, width)
    if (network_height, network_width) != (height, width):
        hidden = keras.layers.Resizing(network_height, network_width, antialias=True)(hidden)
    side, channels, strides = max(network_height, network_width), _FIRST_CHANNELS, 1
    while True:
        hidden = keras.layers.Conv2D(
            channels, 3, strides, padding="same", activation="gelu", kernel_initializer=initializer()
        )(hidden)
        side = -(-side // strides)
        if side <= _LAST_MAP_SIDE:
            break
        channels, strides = min(2 * channels, NUM_FEATURES), 2
    hidden = keras.layers.Flatten()(hidden)
    features = keras.layers.Dense(NUM_FEATURES, activation="gelu", kernel_initializer=initializer())(hidden)
    logits = keras.layers.Dense(num_classes, kernel_initializer=initializer())(features)
    return keras.Model(images, [features, logits], name="feature_network")


def _network_size(height, width):
    factor = min(1.0, _MAX_SIDE / max(height, width))
    return max(8, round(height * factor)), max(8, round(width * factor))


def _input_rule(height, width):
    size = _network_size(height, width)
    if size == (height, width):
        return "images as they are"
    return f"images downsized to {size[0]} x {size[1]} px, bilinear, antialiased"


def _shuffled_batches(images, labels, batch_size, seed):
    """Endless batches; the order is a function of the seed, and each epoch has its own."""
    images, labels = tf.constant(images), tf.constant(labels, tf.int64)
    indices = order.endless_order(len(images), seed).map(lambda epoch, index: index)
    batches = indices.batch(batch_size, drop_remainder=True)
    return batches.map(lambda index: {"image": tf.gather(images, index), "label": tf.gather(labels, index)})


def _training_pair(batch, step, seed):
    """A batch whose images are each shifted by a few pixels, and its labels.

    Shifts keep the classifier from memorizing positions; since they depend only on (seed, step), two trainings are
    equal.
    """
    images = batch["image"]
    batch_size, height, width, _ = images.shape
    rows, columns = (
        _shifted_range(batch_size, side, seed, 2 * step + axis) for axis, side in enumerate((height, width))
    )
    images = tf.gather(images, rows, axis=1, batch_dims=1)
    images = tf.gather(images, tf.repeat(columns[:, None], height, axis=1), axis=2, batch_dims=2)
    return images, batch["label"]


def _shifted_range(batch_size, side, seed, draw):
    """int32 [batch_size, side]: 0 to side - 1, each row shifted a little and kept within the image."""
    limit = max(1, side // _SHIFT_FRACTION)
    draw = tf.stack([tf.cast(seed, tf.int64), draw])
    shifts = tf.random.stateless_uniform([batch_size, 1], draw, -limit, limit + 1, tf.int32)
    return tf.clip_by_value(tf.range(side) + shifts, 0, side - 1)


def _feature_scale(model, batches, num_batches=16):
    """Factor that gives features of training images a mean variance of 1."""
    features = np.concatenate([model(batch["image"], training=False)[0] for batch in batches.take(num_batches)])
    return np.float32(1.0 / max(np.sqrt(features.var(axis=0, dtype=np.float64).mean()), 1e-12))


def _checksum(model, feature_scale, description):
    arrays = [np.float32(feature_scale), *model.get_weights()]
    parts = itertools.chain.from_iterable(map(array_parts, arrays))
    return digest_of_parts(itertools.chain([json.dumps(description, sort_keys=True).encode()], parts))
