"""How well tokens are predicted."""

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
    logits = ops.cast(logits, "float32")
    return ops.mean(keras.losses.sparse_categorical_crossentropy(tokens, logits, from_logits=True))
