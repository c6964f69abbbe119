"""Activations, computed in float32 for inputs of any type."""

import math

from keras import ops


def gelu(inputs):
    """Gaussian error linear unit, x * P(X <= x) for a standard normal X.

    Keras computes it with the complementary error function: a few more correct digits where the result is almost 0, and
    more time.

    Args:
        inputs: float [...].

    Returns:
        float [...].

    References:
        Hendrycks and Gimpel, 2016, https://arxiv.org/abs/1606.08415.
    """

    @ops.custom_gradient
    def function(inputs):
        # For every type: in half precision, 1 + erf is nothing but rounding error where it is close to 0.
        wide = ops.cast(inputs, "float32")

        def probability():
            return 0.5 * (1 + ops.erf(wide * math.sqrt(0.5)))

        def gradient(upstream):
            density = ops.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi)
            above = ops.cast(upstream, "float32")
            # Ends with a sum: XLA sums the rows of a product, for the bias before it, several times more slowly.
            return ops.cast(above * probability() + above * wide * density, inputs.dtype)

        return ops.cast(wide * probability(), inputs.dtype), gradient

    return function(inputs)


def softmax(scores, mask=None):
    """Softmax over the last axis.

    Args:
        scores: float [..., length].
        mask: bool that can be broadcast to the scores; False = weight 0. None = all True.

    Returns:
        float32 [..., length].
    """
    scores = ops.cast(scores, "float32")
    if mask is not None:
        scores = ops.where(mask, scores, -1e9)
    return ops.softmax(scores, axis=-1)
