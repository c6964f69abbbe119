"""The plain formulas that optimized operations are compared with."""

import numpy as np
import tensorflow as tf


def value_and_gradients(function, *inputs):
    """Outputs, and gradients of a sum that weighs every element differently."""
    inputs = [tf.convert_to_tensor(each) for each in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
        total = tf.reduce_sum(
            tf.cast(outputs, tf.float32)
            * tf.reshape(tf.cos(tf.range(tf.size(outputs), dtype=tf.float32)), tf.shape(outputs))
        )
    return [outputs, *tape.gradient(total, inputs)]


def assert_close(one, other, tolerance=1e-5):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def plain_attention(projected, num_heads, causal):
    batch, length, width = projected.shape
    heads = tf.transpose(tf.reshape(projected, [batch, length, 3, num_heads, -1]), [2, 0, 3, 1, 4])
    scores = tf.matmul(heads[0], heads[1], transpose_b=True) / tf.sqrt(float(heads.shape[-1]))
    if causal:
        scores += tf.linalg.band_part(tf.ones([length, length]), -1, 0) * 1e9 - 1e9
    mixed = tf.matmul(tf.nn.softmax(scores), heads[2])
    return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [batch, length, width // 3])
