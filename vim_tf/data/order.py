"""The order of examples, by stateless functions of (seed, epoch, index), so that a resume starts at once."""

import numpy as np
import tensorflow as tf

from vim_tf.errors import InputError
from vim_tf.storage.digests import integers

_ENDLESS = np.iinfo(np.int64).max
# Explicit, so that a machine's default can't change the order.
_ALGORITHM = "philox"


def endless_order(num_examples, seed, start=0):
    """Every example once per epoch, in a new order each epoch, without end.

    Args:
        num_examples: int.
        seed: int.
        start: int, position in the endless order at which to begin; costs nothing.

    Returns:
        tf.data.Dataset of (epoch int64 [], index int64 [] in [0, num_examples)).
    """
    first_epoch, position = divmod(start, num_examples)

    def epoch_order(epoch):
        order = permutation(num_examples, seed, epoch)
        order = order[tf.where(epoch == first_epoch, tf.constant(position, tf.int64), 0) :]
        return tf.data.Dataset.from_tensor_slices((tf.fill(tf.shape(order), epoch), order))

    return tf.data.Dataset.range(first_epoch, _ENDLESS).flat_map(epoch_order)


def endless_epochs(first_epoch=0):
    """tf.data.Dataset of int64 []: first_epoch, first_epoch + 1, ... without end."""
    return tf.data.Dataset.range(first_epoch, _ENDLESS)


def permutation(size, seed, epoch):
    """int64 [size]: a permutation, function of the seed and the epoch (int or int64 [])."""
    return tf.random.experimental.stateless_shuffle(tf.range(size, dtype=tf.int64), _pair(seed, epoch), _ALGORITHM)


def random_integers(size, seed, epoch, limit):
    """int64 [size] in [0, limit), function of the seed and the epoch (int or int64 [])."""
    return tf.random.stateless_uniform([size], _pair(seed, epoch), 0, limit, tf.int64, alg=_ALGORITHM)


def example_seed(seed, epoch, index):
    """int64 [2]: seed for the augmentation of one example in one epoch.

    Args:
        seed: int, of the training.
        epoch, index: int64 [], index below 2**32.
    """
    # Below -1, so that it differs from the seeds of every epoch's order and of epoch -1.
    return _pair(seed, -2 - (epoch * 2**32 + index))


def select_rows(examples, share):
    """Selects the wanted rows of every batch of an endless dataset, keeping their order.

    Args:
        examples: tf.data.Dataset of single examples.
        share: (batch size, first row, number of rows), or None for all.

    Returns:
        tf.data.Dataset of single examples.
    """
    if share is None:
        return examples
    batch_size, first, size = share

    def cut(*batch):
        return tf.nest.map_structure(lambda values: values[first : first + size], batch)

    return examples.batch(batch_size, drop_remainder=True).map(cut).unbatch()


def is_validation(keys, fraction):
    """Which examples form the validation split, by a hash of their keys: adding or removing others doesn't change it.

    Args:
        keys: list of bytes.
        fraction: float, wanted share.

    Returns:
        bool array [len(keys)].
    """
    hashes = np.array([hash_of(key) for key in keys], np.float64)
    return hashes < validation_limit(hashes, fraction)


def choose_split(name, keys, split, fraction, limit=None):
    """Bool array: which examples belong to a split of a source that is divided by hashes of the keys.

    Args:
        name: str, of the source, for messages.
        keys: list of bytes.
        split: train or validation.
        fraction: float, wanted share of validation.
        limit: float, as `validation_limit` returns it, if it is known already.

    Raises:
        InputError: no example does.
    """
    hashes = np.array([hash_of(key) for key in keys], np.float64)
    chosen = (hashes < (validation_limit(hashes, fraction) if limit is None else limit)) == (split == "validation")
    if not chosen.any():
        raise InputError(
            f"--data.source={name}: the {split} split is empty, as {len(keys)} images were divided with "
            f"--data.validation_fraction={fraction:g}"
        )
    return chosen


def validation_limit(hashes, fraction):
    """Float: examples whose hash is below it form the validation split.

    It is the fraction itself. If that leaves a split empty, the nearest example moves over, provided that there are two
    examples and the fraction is neither 0 nor 1.

    Args:
        hashes: float array, `hash_of` the keys of all examples, or of enough of them that both splits have one.
        fraction: float, wanted share.
    """
    if len(hashes) < 2 or not 0 < fraction < 1:
        return fraction
    return float(min(max(fraction, np.nextafter(np.min(hashes), 2)), np.max(hashes)))


def hash_of(key):
    """Float in [0, 1], uniform over keys (bytes); always the same for a key."""
    return integers(key, 1)[0] / 2**64


def _pair(seed, epoch):
    return tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
