"""Latents to tokens and back."""

from typing import Any, NamedTuple

import keras
from keras import ops


class Quantized(NamedTuple):
    """What a quantizer makes of latents.

    Attributes:
        quantized: float32 [batch, length, codebook_dim], the codes; their gradient goes to the latents unchanged.
        tokens: int32 [batch, length] in [0, codebook_size).
        codebook_loss: float32 [], moves codes to latents; no gradient to the latents.
        commitment_loss: float32 [], moves latents to codes; no gradient to the codes.
    """

    quantized: Any
    tokens: Any
    codebook_loss: Any
    commitment_loss: Any


def normalize(vectors):
    """Vectors of length 1 along the last axis; a zero vector stays zero."""
    return vectors * ops.rsqrt(ops.maximum(ops.sum(vectors**2, axis=-1, keepdims=True), 1e-12))


@keras.saving.register_keras_serializable(package="vim_tf")
class VectorQuantizer(keras.layers.Layer):
    """Nearest code of a learned codebook, with straight-through gradients.

    Args:
        codebook_size: number of codes.
        codebook_dim: dimensions of a code.
        l2_normalize: scale latents and codes to length 1 first, so that the nearest code is the one of largest cosine.

    Call arguments:
        latents: float [batch, length, codebook_dim].

    Returns:
        Quantized; both losses are means over all elements of the vectors that are compared.

    References:
        van den Oord et al., 2017, https://arxiv.org/abs/1711.00937, eq. 3; Yu et al., 2022,
        https://arxiv.org/abs/2110.04627, eq. 1 and section 3.2.
    """

    def __init__(self, codebook_size, codebook_dim, l2_normalize=True, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})  # distances in half precision pick wrong codes
        self.codebook_size = codebook_size
        self.codebook_dim = codebook_dim
        self.l2_normalize = l2_normalize

    def build(self, input_shape=None):
        self.codebook = self.add_weight(
            name="codebook",
            shape=(self.codebook_size, self.codebook_dim),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            # Replicas that restart codes all assign the same values.
            aggregation="only_first_replica",
        )
        self.built = True

    def call(self, latents):
        latents = self.normalized(ops.cast(latents, "float32"))
        tokens = self._nearest(ops.stop_gradient(latents))
        codes = self.lookup(tokens)
        return Quantized(
            quantized=latents + ops.stop_gradient(codes - latents),
            tokens=tokens,
            codebook_loss=ops.mean((codes - ops.stop_gradient(latents)) ** 2),
            commitment_loss=ops.mean((ops.stop_gradient(codes) - latents) ** 2),
        )

    def tokens(self, latents):
        """Index of the nearest code; the lowest one of equals.

        Args:
            latents: float [batch, length, codebook_dim].

        Returns:
            int32 [batch, length] in [0, codebook_size).
        """
        return self._nearest(self.normalized(ops.cast(latents, "float32")))

    def lookup(self, tokens):
        """Codes of tokens, scaled to length 1 where the quantizer normalises.

        Args:
            tokens: int32 [batch, length] in [0, codebook_size).

        Returns:
            float32 [batch, length, codebook_dim].
        """
        return ops.take(self.normalized(self.codebook), tokens, axis=0)

    def normalized(self, vectors):
        """The vectors that are compared: of length 1 where the quantizer normalises, else as they are."""
        return normalize(vectors) if self.l2_normalize else vectors

    def _nearest(self, latents):
        codes = self.normalized(ops.convert_to_tensor(self.codebook))
        similarity = ops.matmul(latents, ops.transpose(codes))
        if not self.l2_normalize:
            similarity = 2 * similarity - ops.sum(codes**2, axis=-1)  # -|latent - code|^2 up to a constant
        return ops.cast(ops.argmax(similarity, axis=-1), "int32")

    def get_config(self):
        return {
            **super().get_config(),
            "codebook_size": self.codebook_size,
            "codebook_dim": self.codebook_dim,
            "l2_normalize": self.l2_normalize,
        }


def restart_unused_codes(codebook, unused_steps, counts, candidates, limit):
    """Sets codes that nothing chose for a while to current latents.

    Args:
        codebook: float32 [codes, dimensions].
        unused_steps: int32 [codes], steps in a row without use before this one.
        counts: int32 [codes], how often each code was chosen in this step.
        candidates: float32 [codes, dimensions], a latent for each code, taken if the code is restarted.
        limit: int, steps without use after which a code is restarted.

    Returns:
        The new codebook and the new unused_steps.
    """
    unused_steps = ops.where(counts > 0, 0, unused_steps + 1)
    restart = unused_steps >= limit
    return ops.where(restart[:, None], candidates, codebook), ops.where(restart, 0, unused_steps)
