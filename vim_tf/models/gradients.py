"""Operations of a Transformer block that bring their own gradients.

The derived gradients compute the same, but keep more of the forward pass, and multiply large matrices in the orders
that XLA is slowest at on CPUs. `benchmarks.tokenizer_speed` says what a step takes.
"""

import math

import keras
from keras import ops


def dense(inputs, kernel, bias=None):
    """inputs @ kernel + bias.

    Args:
        inputs: float [..., input_dim].
        kernel: float [input_dim, output_dim], tensor or Keras variable.
        bias: float [output_dim], or None.

    Returns:
        float [..., output_dim].
    """

    @ops.custom_gradient
    def product(inputs, kernel, *bias):
        outputs = ops.matmul(inputs, kernel)

        def gradient(upstream):
            leading = tuple(range(len(upstream.shape) - 1))
            by_bias = [ops.cast(ops.sum(ops.cast(upstream, "float32"), axis=leading), each.dtype) for each in bias]
            by_kernel = ops.matmul(ops.transpose(_flat(inputs)), _flat(upstream))
            return (ops.matmul(upstream, ops.transpose(kernel)), by_kernel, *by_bias)

        return outputs + bias[0] if bias else outputs, gradient

    # Copies, since a custom gradient takes tensors and no variables; compiled, they cost nothing.
    return product(inputs, *(ops.copy(weight) for weight in (kernel, bias) if weight is not None))


def _flat(inputs):
    """[..., width] to [rows, width]."""
    return ops.reshape(inputs, (-1, inputs.shape[-1]))


def gelu(inputs):
    """Gaussian error linear unit, x * P(X <= x) for a standard normal X.

    Keras computes it by the complement of the error function: a few more correct digits where the result is almost 0,
    and more time.

    Args:
        inputs: float [...].

    Returns:
        float [...].

    References:
        Hendrycks and Gimpel, 2016, https://arxiv.org/abs/1606.08415.
    """

    @ops.custom_gradient
    def function(inputs):
        def probability():
            return 0.5 * (1 + ops.erf(inputs * math.sqrt(0.5)))

        def gradient(upstream):
            density = ops.exp(-0.5 * inputs * inputs) / math.sqrt(2 * math.pi)
            # A sum at the end: XLA adds up the rows of a product, as for the bias before, several times as slowly.
            return upstream * probability() + upstream * inputs * density

        return inputs * probability(), gradient

    return function(inputs)


def attend(projected, num_heads, mask=None):
    """Multi-head scaled dot-product attention.

    Its gradient multiplies the matrices [length, length] without transposing them. The softmax is float32.

    Args:
        projected: float [batch, length, 3 * num_heads * head_dim]: queries, keys and values, each head after head.
        num_heads: int.
        mask: bool [length, length], which positions (second axis) each position sees; None = all.

    Returns:
        float [batch, length, num_heads * head_dim].

    References:
        Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, eq. 1.
    """
    length, width = projected.shape[1], projected.shape[2] // 3
    scale = (width // num_heads) ** -0.5

    @ops.custom_gradient
    def function(projected):
        def heads():
            """Queries, which carry the scale, keys and values: [batch, length, heads, head_dim] each."""
            split = ops.reshape(projected, (-1, length, 3, num_heads, width // num_heads))
            return split[:, :, 0] * scale, split[:, :, 1], split[:, :, 2]

        query, key, value = heads()
        weights = softmax(ops.matmul(_rows(query), _columns(key)), mask)
        mixed = ops.matmul(ops.cast(weights, value.dtype), _rows(value))

        def gradient(upstream):
            # Cut out again: what a gradient takes from outside is kept from the forward pass to the backward pass.
            query, key, value = heads()
            upstream = ops.reshape(upstream, ops.shape(query))
            by_weights = ops.cast(ops.matmul(_rows(upstream), _columns(value)), "float32")
            # The softmax' gradient needs the mean of by_weights under the weights, which is cheaper from the outputs.
            mean = ops.sum(ops.cast(_rows(upstream) * mixed, "float32"), axis=-1, keepdims=True)
            by_scores = ops.cast(weights * (by_weights - mean), query.dtype)
            by_query = ops.matmul(by_scores, _rows(key * scale))
            by_key = ops.matmul(_columns(query), by_scores)
            by_value = ops.matmul(_columns(upstream), ops.cast(weights, value.dtype))
            parts = (
                ops.transpose(by_query, (0, 2, 1, 3)),
                *(ops.transpose(each, (0, 3, 1, 2)) for each in (by_key, by_value)),
            )
            return ops.concatenate([ops.reshape(part, (-1, length, width)) for part in parts], axis=-1)

        return ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, length, width)), gradient

    return function(projected)


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


def _rows(heads):
    """[batch, length, heads, head_dim] to [batch, heads, length, head_dim]."""
    return ops.transpose(heads, (0, 2, 1, 3))


def _columns(heads):
    """[batch, length, heads, head_dim] to [batch, heads, head_dim, length]."""
    return ops.transpose(heads, (0, 2, 3, 1))


@keras.saving.register_keras_serializable(package="vim_tf")
class Dense(keras.layers.Dense):
    """Keras' Dense with the gradient of `dense`."""

    def call(self, inputs, training=None):
        outputs = dense(inputs, self.kernel, self.bias)
        return self.activation(outputs) if self.activation is not None else outputs
