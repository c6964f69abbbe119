"""Draws a token from logits: pure functions, every setting a tensor with a value for each sample."""

import math

import tensorflow as tf

GUIDANCE_SCHEDULES = ("constant", "linear", "cosine")


def guidance_at(guidance_scale, schedule, progress):
    """The guidance scale at a position of the sequence.

    Args:
        guidance_scale: float32 [batch], the final one.
        schedule: constant; linear, from 1 at the first token to the scale at the last one; or cosine, the same along
            half a wave, flat at both ends.
        progress: float32 [] in [0, 1], share of the sequence before it.

    Returns:
        float32 [batch]; 1 where the scale is 1.

    References:
        Chang et al., 2023, https://arxiv.org/abs/2301.00704, section 2.7 (linear); Gao et al., 2023,
        https://arxiv.org/abs/2303.14389, section 3.3 (half a wave).
    """
    if schedule == "constant":
        return guidance_scale
    share = {"linear": lambda: progress, "cosine": lambda: (1 - tf.cos(math.pi * progress)) / 2}[schedule]()
    return 1 + share * (guidance_scale - 1)


def guide(logits, null_logits, guidance_scale):
    """Classifier-free guidance: null + scale * (conditional - null).

    Args:
        logits: float32 [batch, codebook_size], given the label.
        null_logits: float32 [batch, codebook_size], given the null label.
        guidance_scale: float32 [batch]; 1 returns `logits` unchanged, 0 `null_logits`.

    Returns:
        float32 [batch, codebook_size].

    References:
        Ho and Salimans, 2022, https://arxiv.org/abs/2207.12598, eq. 6 (there w = scale - 1).
    """
    scale = guidance_scale[:, None]
    # Exact at 1, so that a guided neighbour in the batch doesn't change this sample.
    return tf.where(scale == 1, logits, null_logits + scale * (logits - null_logits))


def keep_likeliest(logits, top_k, top_p):
    """Sets all but the likeliest tokens to -inf.

    Args:
        logits: float32 [batch, codebook_size].
        top_k: int32 [batch], number of tokens to keep; 0 = all. Of equal logits the lower token comes first.
        top_p: float32 [batch] in (0, 1]; of those, keep the fewest whose probabilities reach this sum; 1 = all.

    Returns:
        float32 [batch, codebook_size].

    References:
        Holtzman et al., 2020, https://arxiv.org/abs/1904.09751, section 3.
    """
    size = tf.shape(logits)[-1]
    order = tf.argsort(logits, direction="DESCENDING", stable=True)
    rank = tf.argsort(order)  # rank of each token by likelihood
    limit = tf.where(top_k > 0, tf.minimum(top_k, size), size)[:, None]
    within_k = tf.range(size)[None] < limit
    probabilities = tf.nn.softmax(tf.where(within_k, tf.gather(logits, order, batch_dims=1), float("-inf")))
    before = tf.cumsum(probabilities, axis=-1, exclusive=True)
    within_p = (before < top_p[:, None]) | (top_p[:, None] >= 1)
    kept = tf.gather(within_k & within_p, rank, batch_dims=1)
    return tf.where(kept, logits, float("-inf"))


def draw(logits, uniform):
    """One token for each row, by the inverse of the cumulative distribution.

    Args:
        logits: float32 [batch, codebook_size]; -inf = never.
        uniform: float32 [batch] in [0, 1).

    Returns:
        int32 [batch] in [0, codebook_size).
    """
    probabilities = tf.nn.softmax(logits)
    cumulative = tf.cumsum(probabilities, axis=-1)
    # XLA sums in a tree, whose sums can rise and fall by a rounding error where nothing is added.
    possible = probabilities > 0
    reached = possible & (cumulative > uniform[:, None] * cumulative[:, -1:])
    tokens = tf.range(tf.shape(logits)[-1])
    first = tf.reduce_min(tf.where(reached, tokens, tokens.dtype.max), axis=-1)
    # Rounding can raise uniform * total to total; the result is then the last token of positive probability.
    return tf.minimum(first, tf.reduce_max(tf.where(possible, tokens, 0), axis=-1))
