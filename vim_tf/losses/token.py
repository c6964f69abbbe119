"""Losses of predicted tokens and labels."""

import keras
from keras import ops


def cross_entropy_loss(tokens, logits):
    """Mean negative log-likelihood of tokens.

    Args:
        tokens: int32 [batch, length] in [0, codebook_size).
        logits: float [batch, length, codebook_size].

    Returns:
        float32 [], nats per token, at least 0.
    """
    return ops.mean(_of_each_token(tokens, logits))


def cross_entropy_losses(tokens, logits):
    """The same for each example: float32 [batch]."""
    return ops.mean(_of_each_token(tokens, logits), axis=-1)


def _of_each_token(tokens, logits):
    return keras.losses.sparse_categorical_crossentropy(tokens, ops.cast(logits, "float32"), from_logits=True)


def classification_loss(labels, logits):
    """Negative log-likelihood of labels, summed over the labelled examples and divided by the number of all examples.

    Args:
        labels: int32 [batch] in [0, num_classes); below 0 = no label, which costs nothing.
        logits: float [batch, num_classes].

    Returns:
        float32 [], nats per example, at least 0.
    """
    logits = ops.cast(logits, "float32")
    known = ops.maximum(labels, 0)
    losses = keras.losses.sparse_categorical_crossentropy(known, logits, from_logits=True)
    return ops.mean(ops.where(labels >= 0, losses, 0.0))
