"""The interface of every quantizer, and the maths that several of them share."""

from typing import Any, NamedTuple

import keras
from keras import ops

# Codes compared at a time: the products of one block stay in the CPU's cache, and never fill the memory.
BLOCK = 1024


class Quantized(NamedTuple):
    """A quantizer's outputs for latents.

    Attributes:
        quantized: float32 [batch, length, codebook_dim], the codes; their gradient reaches the latents.
        tokens: int32 [batch, length * depth] in [0, codebook_size), depth fastest.
        losses: dict of float32 [], unweighted, by the quantizer's `loss_names`: `codebook_loss` moves codes to latents
            and sends no gradient to the latents, `commitment_loss` the other way round; `entropy_loss` and
            `prior_loss` are in nats.
    """

    quantized: Any
    tokens: Any
    losses: dict


class Quantizer(keras.layers.Layer):
    """Latents to tokens and back.

    Everything is computed in float32 under any policy: distances in half precision pick wrong codes.

    Args:
        codebook_size: number of codes.
        codebook_dim: dimensions of a code.

    Call arguments:
        latents: float [batch, length, codebook_dim].
        seed: int32 [2] for quantizers that draw their tokens in training, or None for the likeliest ones.
        temperature: float or float32 [], of the distribution that tokens are drawn from; None = 1.

    Returns:
        Quantized.

    Attributes:
        config_fields: the arguments of its constructor, which are fields of QuantizerConfig.
        depth: tokens for one latent.
        loss_names: which losses it has.
        restartable: whether it has codes that can be set to latents.
    """

    config_fields = ("codebook_size", "codebook_dim")
    depth = 1
    loss_names = ()
    restartable = False

    def __init__(self, codebook_size, codebook_dim, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.codebook_size = codebook_size
        self.codebook_dim = codebook_dim

    def build(self, input_shape=None):
        self.built = True

    def add_codebook(self, trainable=True):
        """Makes `codebook`, normally distributed."""
        normal = keras.initializers.RandomNormal(stddev=1.0)
        self.codebook = self.add_float32_weight("codebook", (self.codebook_size, self.codebook_dim), normal, trainable)

    def add_float32_weight(self, name, shape, initializer, trainable=True):
        """A weight that reads as float32 inside models of any policy, and that all replicas update identically."""
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=trainable,
            autocast=False,
            aggregation="only_first_replica",
        )

    def tokens(self, latents):
        """Tokens of latents: the nearest codes, or the likeliest ones.

        Args:
            latents: float [batch, length, codebook_dim].

        Returns:
            int32 [batch, length * depth] in [0, codebook_size), depth fastest.
        """
        raise NotImplementedError

    def lookup(self, tokens):
        """The decoder's inputs for tokens.

        Args:
            tokens: int32 [batch, length * depth] in [0, codebook_size), depth fastest.

        Returns:
            float32 [batch, length, codebook_dim].
        """
        raise NotImplementedError

    def normalized(self, vectors):
        """The vectors that are compared: of length 1 where the quantizer normalises, else unchanged."""
        return vectors

    def restart_candidates(self, latents):
        """Vectors that an unused code can be set to.

        Args:
            latents: float [batch, length, codebook_dim].

        Returns:
            float32 [candidates, codebook_dim].
        """
        raise NotImplementedError(f"{type(self).__name__} has no codes that can be set to latents")

    def restart(self, unused, candidates):
        """Sets unused codes to candidates.

        Args:
            unused: bool [codebook_size].
            candidates: float32 [codebook_size, codebook_dim], one for each code, taken if the code is unused.
        """
        raise NotImplementedError(f"{type(self).__name__} has no codes that can be set to latents")

    def statistics(self, latents, tokens):
        """Sums over latents that `update` needs, to be added up over microbatches and replicas.

        Args:
            latents: float [batch, length, codebook_dim].
            tokens: int32 [batch, length * depth], their tokens.

        Returns:
            dict of float32 tensors; empty where training moves the codes only by gradients.
        """
        return {}

    def update(self, statistics):
        """Moves the codes by the statistics of one step's whole batch; does nothing where there are none."""

    def get_config(self):
        return {**super().get_config(), "codebook_size": self.codebook_size, "codebook_dim": self.codebook_dim}


def normalize(vectors):
    """Vectors of length 1 along the last axis; a zero vector stays zero."""
    return vectors * ops.rsqrt(ops.maximum(ops.sum(vectors**2, axis=-1, keepdims=True), 1e-12))


def pass_straight_through(codes, carrier):
    """The exact codes; the gradient goes unchanged to the carrier, and to the codes too unless it is stopped there."""
    return codes + (carrier - ops.stop_gradient(carrier))


def codebook_loss(codes, latents):
    """Mean squared difference of codes and latents over all elements; no gradient to the latents."""
    return ops.mean((codes - ops.stop_gradient(latents)) ** 2)


def commitment_loss(codes, latents):
    """Mean squared difference of codes and latents over all elements; no gradient to the codes."""
    return ops.mean((ops.stop_gradient(codes) - latents) ** 2)


def first_argmax(values):
    """Index of the largest value along the last axis; the lowest one of equals.

    On CPUs a maximum and a minimum, compiled by XLA, take less time than an argmax: 0.70 of it for 2048 rows of 1024.

    Args:
        values: float [..., n].

    Returns:
        int32 [...] in [0, n) for any values, not-a-number included.
    """
    size = values.shape[-1]
    largest = ops.max(values, axis=-1, keepdims=True)
    return ops.min(ops.where(ops.equal(values, largest), ops.arange(size, dtype="int32"), size - 1), axis=-1)


def nearest_codes(vectors, codes, unit_length):
    """Index of the nearest code; the lowest one of equals.

    Args:
        vectors: float32 [..., dimensions].
        codes: float32 [codes, dimensions].
        unit_length: whether all codes have length 1, so that the largest product is the smallest distance.

    Returns:
        int32 [...]; no gradient.
    """
    vectors, codes = ops.stop_gradient(vectors), ops.stop_gradient(codes)
    flat = ops.reshape(vectors, (-1, vectors.shape[-1]))
    best = None
    for start in range(0, codes.shape[0], BLOCK):
        block = codes[start : start + BLOCK]
        similarity = ops.matmul(flat, ops.transpose(block))
        if not unit_length:
            # -|vector - code|^2 / 2 up to a constant.
            similarity = similarity - ops.sum(block**2, axis=-1) / 2
        highest, index = ops.max(similarity, axis=-1), start + first_argmax(similarity)
        if best is None:
            best, nearest = highest, index
        else:
            nearest = ops.where(highest > best, index, nearest)
            best = ops.maximum(highest, best)
    return ops.reshape(nearest, ops.shape(vectors)[:-1])
