"""Attention with a hand-written gradient.

Automatic differentiation computes the same, but in an order that XLA is slow at on CPUs. `benchmarks.tokenizer_speed`
measures the time of a step.
"""

import functools
import operator
from typing import NamedTuple

from keras import ops

from vim_tf.models.activations import softmax


def attend(projected, num_heads, causal=False):
    """Multi-head scaled dot-product attention.

    Its gradient multiplies the matrices [length, length] without transposing them. Causal attention takes the queries
    in blocks, so that most of what is above the diagonal is never computed. The softmax is float32.

    Args:
        projected: float [batch, length, 3 * num_heads * head_dim]: queries, keys and values, each head by head.
        num_heads: int.
        causal: whether a position sees only itself and earlier ones.

    Returns:
        float [batch, length, num_heads * head_dim].

    References:
        Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, eq. 1.
    """
    length, width = projected.shape[1], projected.shape[2] // 3
    scale = (width // num_heads) ** -0.5
    mask = ops.tril(ops.ones((length, length), dtype="bool")) if causal else None
    blocks = _query_blocks(length, causal)

    @ops.custom_gradient
    def function(projected):
        def heads():
            """Scaled queries, keys and values: [batch, length, heads, head_dim] each."""
            split = ops.reshape(projected, (-1, length, 3, num_heads, width // num_heads))
            return split[:, :, 0] * scale, split[:, :, 1], split[:, :, 2]

        def block_weights(query, key, block):
            scores = ops.matmul(_rows(query)[:, :, block.queries], _columns(key)[..., block.keys])
            return softmax(scores, mask[block.queries, block.keys] if causal else None)

        query, key, value = heads()
        weights = [block_weights(query, key, block) for block in blocks]
        mixed = [
            ops.matmul(ops.cast(part, value.dtype), _rows(value)[:, :, block.keys])
            for block, part in zip(blocks, weights, strict=True)
        ]

        def gradient(upstream):
            # Sliced again: a tensor that a gradient captures is kept in memory from the forward to the backward pass.
            parts = _gradients(upstream, *heads(), scale, blocks, weights, mixed)
            return ops.concatenate([ops.reshape(part, (-1, length, width)) for part in parts], axis=-1)

        outputs = ops.transpose(_join(mixed, axis=2), (0, 2, 1, 3))
        return ops.reshape(outputs, (-1, length, width)), gradient

    return function(projected)


def _gradients(upstream, query, key, value, scale, blocks, weights, mixed):
    """Gradients of the unscaled queries, the keys and the values.

    Args:
        upstream: float [batch, length, heads * head_dim], the gradient of the outputs.
        query: float [batch, length, heads, head_dim], scaled; key, value: of the same shape.
        scale: float, of the queries.
        blocks: list of _Block.
        weights: for each block float32 [batch, heads, queries, keys].
        mixed: for each block float [batch, heads, queries, head_dim], its outputs.

    Returns:
        tuple of three float [batch, length, heads, head_dim].
    """
    upstream = ops.reshape(upstream, ops.shape(query))
    by_query, by_key, by_value = [], [], []
    for block, weight, output in zip(blocks, weights, mixed, strict=True):
        above = _rows(upstream)[:, :, block.queries]
        by_weight = ops.cast(ops.matmul(above, _columns(value)[..., block.keys]), "float32")
        # The mean of by_weight under the weights, which is cheaper to compute from the outputs.
        mean = ops.sum(ops.cast(above, "float32") * ops.cast(output, "float32"), axis=-1, keepdims=True)
        by_score = ops.cast(weight * (by_weight - mean), query.dtype)
        by_query.append(ops.matmul(by_score, _rows(key * scale)[:, :, block.keys]))
        by_key.append(ops.matmul(_columns(query)[..., block.queries], by_score))
        by_value.append(ops.matmul(_columns(upstream)[..., block.queries], ops.cast(weight, value.dtype)))
    return (
        ops.transpose(_join(by_query, axis=2), (0, 2, 1, 3)),
        ops.transpose(_add_prefixes(by_key, blocks), (0, 3, 1, 2)),
        ops.transpose(_add_prefixes(by_value, blocks), (0, 3, 1, 2)),
    )


class _Block(NamedTuple):
    """Neighbouring queries and all keys that any of them sees."""

    queries: slice
    keys: slice


def _query_blocks(length, causal):
    """The blocks that attention is computed in: one, or four where that saves enough work to be worth it."""
    count = 4 if causal and length % 4 == 0 and length >= 128 else 1
    ends = [length * (i + 1) // count for i in range(count)]
    return [_Block(slice(end - length // count, end), slice(0, end)) for end in ends]


def _join(parts, axis):
    return ops.concatenate(parts, axis=axis) if len(parts) > 1 else parts[0]


def _add_prefixes(parts, blocks):
    """Sum over blocks of [..., number of keys], where a key that a block doesn't see gets nothing from it."""
    sums = []
    for index, block in enumerate(blocks):
        # Its queries' positions are the keys that the preceding blocks don't see.
        terms = [part[..., block.queries] for part in parts[index:]]
        sums.append(functools.reduce(operator.add, terms))
    return _join(sums, axis=-1)


def _rows(heads):
    """[batch, length, heads, head_dim] to [batch, heads, length, head_dim]."""
    return ops.transpose(heads, (0, 2, 1, 3))


def _columns(heads):
    """[batch, length, heads, head_dim] to [batch, heads, head_dim, length]."""
    return ops.transpose(heads, (0, 2, 3, 1))
