"""The real images of an evaluation and the feature network that is trained on them."""

import numpy as np
import tensorflow as tf
from absl import logging

from vim_tf.data import pipeline, preprocessing
from vim_tf.errors import InputError
from vim_tf.evaluation.features import DESCRIPTION_FILE, MIN_SIDE, FeatureNetwork, describe

_FEATURE_BATCH_SIZE = 64


def described(source, num_images):
    """JSON dict for the conditions of a metric that was measured on so many images of an ImageSource."""
    return {
        "source": source.name,
        "split": source.split,
        "num_images": int(num_images),
        "resize_rule": preprocessing.RESIZE_RULE,
    }


def activations(feature_network, source, batch_size):
    """Features, logits and labels of all images of a source, with a batch of images in memory at a time.

    Args:
        feature_network: FeatureNetwork.
        source: ImageSource.
        batch_size: int.

    Returns:
        (float32 [num_images, num_features], float32 [num_images, num_classes], int64 [num_images]).

    Raises:
        InputError: there are no images.
    """
    parts = []
    for batch in pipeline.eval_batches(source, batch_size):
        parts.append((*feature_network.activations(np.asarray(batch["image"])), np.asarray(batch["label"], np.int64)))
    if not parts:
        raise InputError(f"{source.name} has no images in its {source.split} split: there is nothing to measure")
    features, logits, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    return features, logits, labels


def trained_feature_network(source, steps, seed, folder=None):
    """The feature network for evaluations on a source's images.

    Args:
        source: ImageSource of the training split.
        steps, seed: as in `FeatureNetwork.train`.
        folder: str where the network is stored, and taken from if it is already there; None = not stored.

    Returns:
        FeatureNetwork, or None where there can be none (no labels, or images under 8 px); one logged line says so.
    """
    batches = _labelled_batches(source, seed)
    _, height, width, _ = batches.element_spec["image"].shape
    if not source.num_classes or min(height, width) < MIN_SIDE:
        reason = f"has images under {MIN_SIDE} px" if source.num_classes else "has no labels"
        logging.info(
            "%s %s, so no feature network can be trained on it: Fréchet distance, classifier score and label accuracy "
            "are left out",
            source.name,
            reason,
        )
        return None
    trained_on = described(source, source.num_examples)
    wanted = describe(height, width, source.num_classes, steps, seed, _FEATURE_BATCH_SIZE, trained_on)
    if folder and tf.io.gfile.exists(f"{folder}/{DESCRIPTION_FILE}"):
        network = FeatureNetwork.load(folder)
        if network.description == wanted:
            return network
    logging.info("training the feature network: %d steps on %s %s", steps, source.name, source.split)
    network = FeatureNetwork.train_on_batches(batches, source.num_classes, steps, seed, trained_on)
    if folder:
        network.save(folder)
    return network


def _labelled_batches(source, seed):
    examples = source.shuffled(seed).filter(lambda example: example["label"] >= 0)
    batches = examples.batch(_FEATURE_BATCH_SIZE, drop_remainder=True)
    return batches.map(lambda batch: {"image": batch["image"], "label": batch["label"]})
