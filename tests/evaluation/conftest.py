"""Small stand-ins for sources, tokenizers and feature networks."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.data.sources.base import ImageSource
from vim_tf.evaluation.feature_networks import FeatureNetwork
from vim_tf.evaluation.image_sets import ReferenceSets

LEVELS = 16


class ArraySource(ImageSource):
    """A source of images in memory."""

    def __init__(self, images, labels, split="validation", num_classes=LEVELS, name="patterns"):
        super().__init__(name, split, [f"class {label}" for label in range(num_classes)], labels)
        self.images = images

    def ordered(self, views=None):
        keys = [str(index).encode() for index in range(len(self.images))]
        return tf.data.Dataset.from_tensor_slices({"image": self.images, "label": self.labels, "key": keys})

    def shuffled(self, seed, start=0, augment=None, share=None):
        return self.ordered().repeat().skip(start)


class LevelTokenizer:
    """One token for each 4 x 4 patch: its brightness in 16 levels; images of such flat patches come back unchanged."""

    codebook_size = LEVELS
    height = width = 16
    grid_height = grid_width = 4
    depth = 1

    def encode(self, images):
        brightness = tf.nn.avg_pool2d(tf.reduce_mean(images, axis=-1, keepdims=True), 4, 4, "VALID")
        return tf.reshape(tf.cast(tf.round(brightness * (LEVELS - 1)), tf.int32), [-1, 16])

    def decode(self, tokens):
        patches = tf.reshape(tf.cast(tokens, tf.float32) / (LEVELS - 1), [-1, 4, 4, 1])
        return tf.repeat(tf.repeat(tf.repeat(patches, 4, axis=1), 4, axis=2), 3, axis=3)


class BrightnessNetwork(FeatureNetwork):
    """Features: mean brightness of the four quarters. Class: the level of the whole image's brightness."""

    judges_labels = True

    def __init__(self):
        super().__init__(4, LEVELS, {"kind": "brightness"}, "0123")

    def forward(self, images):
        quarters = tf.nn.avg_pool2d(tf.cast(images, tf.float32) / 255, 8, 8, "VALID")
        quarters = tf.reshape(tf.reduce_mean(quarters, axis=-1), [-1, 4])
        level = tf.cast(tf.round(tf.reduce_mean(quarters, axis=1) * (LEVELS - 1)), tf.int32)
        return quarters, 20 * tf.one_hot(level, LEVELS)


def flat_images(levels):
    """uint8 [len(levels), 16, 16, 3], each of one brightness level."""
    return np.broadcast_to(np.asarray(levels)[:, None, None, None] * 17, (len(levels), 16, 16, 3)).astype(np.uint8)


def patch_images(count, seed=0):
    """uint8 [count, 16, 16, 3] of random flat patches, which LevelTokenizer keeps exactly."""
    levels = np.random.default_rng(seed).integers(0, LEVELS, [count, 4, 4, 1]) * 17
    return np.repeat(np.repeat(np.repeat(levels, 4, axis=1), 4, axis=2), 3, axis=3).astype(np.uint8)


def references(**settings):
    """ReferenceSets through the brightness of images."""
    return ReferenceSets(BrightnessNetwork(), batch_size=5, **settings)


@pytest.fixture
def fakes():
    """The names above, for test modules, which can't import a conftest."""

    class Fakes:
        pass

    for item in (references, ArraySource, LevelTokenizer, BrightnessNetwork, flat_images, patch_images):
        setattr(Fakes, item.__name__, staticmethod(item) if not isinstance(item, type) else item)
    Fakes.LEVELS = LEVELS
    return Fakes
