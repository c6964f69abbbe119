"""Layers that several models share: seeded dropout, self-attention with a cache, the pre-LN Transformer block."""

import keras
from keras import ops

from vim_tf.models.activations import gelu, softmax
from vim_tf.models.attention import attend

LAYER_NORM_EPSILON = 1e-6


def stateless_uniform(shape, seed):
    """Random numbers that depend only on the seed.

    Keras' own generators take no seed tensor (their state would have to be checkpointed), so each backend's stateless
    generator is called.

    Args:
        shape: tuple of int or int tensors.
        seed: int32 [2].

    Returns:
        float32 [*shape] in [0, 1).
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.random.uniform(jax.random.fold_in(jax.random.PRNGKey(seed[0]), seed[1]), shape)
    import tensorflow as tf

    return tf.random.stateless_uniform(shape, seed)


def keep_mask(shape, rate, seed):
    """Draws which elements a dropout keeps.

    Each element takes sixteen random bits instead of a float's thirty-two: dropout's cost is its random numbers.

    Args:
        shape: tuple of int; the last one static.
        rate: float, share of the elements to drop; exact to 2^-16.
        seed: int32 [2].

    Returns:
        bool [*shape].
    """
    threshold = round(rate * 2**16)
    if keras.backend.backend() == "jax":
        import jax

        key = jax.random.fold_in(jax.random.PRNGKey(seed[0]), seed[1])
        return jax.random.bits(key, shape, "uint16") >= threshold
    import tensorflow as tf

    *leading, width = shape
    pairs = tf.random.stateless_uniform([*leading, -(-width // 2)], seed, minval=None, maxval=None, dtype=tf.uint32)
    bits = tf.reshape(tf.bitcast(pairs, tf.uint16), [*leading, 2 * (-(-width // 2))])[..., :width]
    return tf.cast(bits, tf.int32) >= threshold


@keras.saving.register_keras_serializable(package="vim_tf")
class SeededDropout(keras.layers.Layer):
    """Dropout whose mask is a function of a seed tensor.

    Keras' Dropout draws the same mask on every replica and keeps its state outside `tf.train.Checkpoint`.

    Args:
        rate: share of the elements set to zero; the others are divided by 1 - rate.

    Call arguments:
        inputs: float [...].
        seed: int32 [2], or None to leave the inputs as they are.
    """

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, seed=None):
        if seed is None or self.rate == 0:
            return inputs
        keep = keep_mask(ops.shape(inputs), self.rate, seed)
        return ops.where(keep, inputs / (1 - self.rate), ops.zeros((), inputs.dtype))

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}


def in_sequence(layers, inputs, rematerialize):
    """Runs layers one after another.

    Args:
        layers: list of built layers, functions of one tensor.
        inputs: float [...].
        rematerialize: whether the backward pass recomputes each layer's inner activations from its inputs, so that only
            those are kept: less memory for one more forward pass.

    Returns:
        float [...].

    References:
        Chen et al., 2016, https://arxiv.org/abs/1604.06174.
    """
    for layer in layers:
        inputs = (keras.remat(layer) if rematerialize else layer)(inputs)
    return inputs


def seed_for(seed, site):
    """The seed of one site in the model.

    Args:
        seed: int32 [2], or None.
        site: int, different for each dropout and draw.

    Returns:
        int32 [2], or None where seed is None.
    """
    # The second number counts training steps and replicas, so sites change the first one.
    return None if seed is None else seed + ops.convert_to_tensor([7919 * (site + 1), 0], dtype="int32")


def call_layer(layer, inputs):
    """The layer's outputs."""
    return layer(inputs)


@keras.saving.register_keras_serializable(package="vim_tf")
class SelfAttention(keras.layers.Layer):
    """Multi-head scaled dot-product self-attention.

    The softmax is float32 under any policy.

    Args:
        num_heads: int; divides the width of the inputs where `head_dim` is 0.
        causal: whether a position sees only itself and earlier ones.
        qkv_bias: whether queries, keys and values have a bias.
        head_dim: width of a head; 0 = the width of the inputs / num_heads.

    Call arguments:
        inputs: float [batch, length, channels].

    References:
        Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, eq. 1.
    """

    def __init__(self, num_heads, causal=False, qkv_bias=True, head_dim=0, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.causal = causal
        self.qkv_bias = qkv_bias
        self.head_dim = head_dim

    def build(self, input_shape):
        *leading, width = input_shape
        self._head_width = self.head_dim or width // self.num_heads
        inner = self.num_heads * self._head_width
        self.query_key_value = keras.layers.Dense(
            3 * inner, use_bias=self.qkv_bias, dtype=self.dtype_policy, name="query_key_value"
        )
        self.query_key_value.build(input_shape)
        self.output_projection = keras.layers.Dense(width, dtype=self.dtype_policy, name="output_projection")
        self.output_projection.build((*leading, inner))
        self.built = True

    def call(self, inputs):
        return self.output_projection(attend(self.query_key_value(inputs), self.num_heads, self.causal))

    def step(self, inputs, cache, position, project=call_layer):
        """Attention of the next position over itself and the cached ones.

        Args:
            inputs: float [batch, 1, channels], the position's input.
            cache: pair of float [batch, heads, length, head_dim]: keys and values of the preceding positions.
            position: int32 [].
            project: function of a Dense layer and its inputs to its outputs, such as PackedKernels.

        Returns:
            float [batch, 1, channels], and the cache with this position filled in.
        """
        projected = project(self.query_key_value, inputs)
        projected = ops.reshape(projected, (-1, 3, self.num_heads, 1, self._head_width))
        query, key, value = projected[:, 0], projected[:, 1], projected[:, 2]  # [B, heads, 1, head_dim]
        keys = ops.slice_update(cache[0], (0, 0, position, 0), key)
        values = ops.slice_update(cache[1], (0, 0, position, 0), value)
        scores = ops.matmul(query * self._head_width**-0.5, ops.swapaxes(keys, 2, 3))  # [B, heads, 1, length]
        weights = softmax(scores, ops.arange(keys.shape[2]) <= position)
        mixed = ops.reshape(
            ops.matmul(ops.cast(weights, values.dtype), values), (-1, 1, self.num_heads * self._head_width)
        )
        return project(self.output_projection, mixed), (keys, values)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "causal": self.causal,
            "qkv_bias": self.qkv_bias,
            "head_dim": self.head_dim,
        }


@keras.saving.register_keras_serializable(package="vim_tf")
class TransformerBlock(keras.layers.Layer):
    """Pre-LN Transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    Under a mixed policy the sums have the policy's compute type; the norms' statistics are float32.

    Args:
        num_heads: int.
        mlp_dim: width inside the feed-forward part.
        causal: whether a position sees only itself and earlier ones.
        dropout: rate on the attention output, the activations and the feed-forward output.
        mlp_activation: Keras' name of the activation inside the feed-forward part; gelu is the exact one.
        qkv_bias: whether queries, keys and values have a bias.
        head_dim: width of an attention head; 0 = channels / num_heads.
        layer_norm_epsilon: added to the variance in LayerNorm.

    Call arguments:
        inputs: float [batch, length, channels].
        seed: int32 [2] for dropout, or None.

    References:
        Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929, eq. 2 and 3.
    """

    def __init__(
        self,
        num_heads,
        mlp_dim,
        causal=False,
        dropout=0.0,
        mlp_activation="gelu",
        qkv_bias=True,
        head_dim=0,
        layer_norm_epsilon=LAYER_NORM_EPSILON,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.causal = causal
        self.dropout = dropout
        self.mlp_activation = mlp_activation
        self.qkv_bias = qkv_bias
        self.head_dim = head_dim
        self.layer_norm_epsilon = layer_norm_epsilon
        policy = self.dtype_policy
        self.attention_norm = keras.layers.LayerNormalization(
            epsilon=layer_norm_epsilon, dtype=policy, name="attention_norm"
        )
        self.attention = SelfAttention(num_heads, causal, qkv_bias, head_dim, dtype=policy, name="attention")
        self.mlp_norm = keras.layers.LayerNormalization(epsilon=layer_norm_epsilon, dtype=policy, name="mlp_norm")
        activation = gelu if mlp_activation == "gelu" else mlp_activation
        self.mlp_in = keras.layers.Dense(mlp_dim, activation=activation, dtype=policy, name="mlp_in")
        self.seeded_dropout = SeededDropout(dropout, dtype=policy)

    def build(self, input_shape):
        self.mlp_out = keras.layers.Dense(input_shape[-1], dtype=self.dtype_policy, name="mlp_out")
        for layer in (self.attention_norm, self.attention, self.mlp_norm, self.mlp_in):
            layer.build(input_shape)
        self.mlp_out.build((*input_shape[:-1], self.mlp_dim))
        self.built = True

    def call(self, inputs, seed=None):
        attended = self.attention(self.attention_norm(inputs))
        hidden = inputs + self.seeded_dropout(attended, seed=seed_for(seed, 0))
        return hidden + self._mlp(hidden, seed)

    def step(self, inputs, cache, position, project=call_layer):
        """The block at the next position; arguments and results as in `SelfAttention.step`."""
        attended, cache = self.attention.step(self.attention_norm(inputs), cache, position, project)
        hidden = inputs + attended
        return hidden + self._mlp(hidden, None, project), cache

    @property
    def dense_layers(self):
        """The layers whose kernels a step multiplies by."""
        return [self.attention.query_key_value, self.attention.output_projection, self.mlp_in, self.mlp_out]

    def _mlp(self, hidden, seed, project=call_layer):
        activations = self.seeded_dropout(project(self.mlp_in, self.mlp_norm(hidden)), seed=seed_for(seed, 1))
        return self.seeded_dropout(project(self.mlp_out, activations), seed=seed_for(seed, 2))

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "causal": self.causal,
            "dropout": self.dropout,
            "mlp_activation": self.mlp_activation,
            "qkv_bias": self.qkv_bias,
            "head_dim": self.head_dim,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }
