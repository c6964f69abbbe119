"""Fixed grids of codes: each dimension is rounded by itself, and nothing is looked up."""

import math

import keras
import numpy as np
from keras import ops

from vim_tf.models.quantizers.base import Quantized, Quantizer, commitment_loss, pass_straight_through

# Keeps bounded latents just inside the range that rounds to the outermost values of a dimension.
MARGIN = 1e-3


@keras.saving.register_keras_serializable(package="vim_tf")
class FiniteScalarQuantizer(Quantizer):
    """Each dimension bounded by tanh and rounded to one of a few equally spaced values.

    The codes of L values in a dimension are the integers from -floor(L / 2) up, divided by floor(L / 2); the token's
    digits in the mixed base of the levels, the first dimension least significant, count them from 0.

    Args:
        codebook_size: number of codes, the product of the levels.
        codebook_dim: dimensions of a code, the number of levels.
        fsq_levels: number of values of each dimension, at least 2.

    Call arguments:
        latents: float [batch, length, codebook_dim].

    Returns:
        Quantized, without losses. The gradient is that of the bounded latents before rounding.

    Raises:
        ValueError: codebook_size or codebook_dim don't fit the levels.

    References:
        Mentzer et al., 2023, https://arxiv.org/abs/2309.15505, section 3.1 and appendix A.1.
    """

    config_fields = (*Quantizer.config_fields, "fsq_levels")

    def __init__(self, codebook_size, codebook_dim, fsq_levels, **kwargs):
        super().__init__(codebook_size, codebook_dim, **kwargs)
        self.fsq_levels = tuple(fsq_levels)
        if (codebook_size, codebook_dim) != (math.prod(self.fsq_levels), len(self.fsq_levels)):
            raise ValueError(
                f"levels {self.fsq_levels} make {math.prod(self.fsq_levels)} codes of {len(self.fsq_levels)} "
                f"dimensions, not {codebook_size} of {codebook_dim}"
            )
        levels = np.array(self.fsq_levels, "int32")
        self._levels = levels
        self._centers = levels // 2
        self._place_values = np.cumprod([1, *levels[:-1]]).astype("int32")
        # An even number of values is half a step off centre.
        offset = np.where(levels % 2 == 0, 0.5, 0.0)
        half_range = (levels - 1) * (1 - MARGIN) / 2
        self._offset, self._half_range = offset.astype("float32"), half_range.astype("float32")
        self._shift = np.tan(offset / half_range).astype("float32")

    def call(self, latents, seed=None, temperature=None):
        bounded = self._bounded(latents)
        rounded = ops.stop_gradient(ops.round(bounded))
        centers = self._centers.astype("float32")
        return Quantized(
            quantized=pass_straight_through(rounded / centers, bounded / centers),
            tokens=self._number(rounded),
            losses={},
        )

    def tokens(self, latents):
        return self._number(ops.round(self._bounded(latents)))

    def lookup(self, tokens):
        digits = ops.mod(ops.floor_divide(ops.cast(tokens, "int32")[..., None], self._place_values), self._levels)
        return ops.cast(digits - self._centers, "float32") / self._centers.astype("float32")

    def _bounded(self, latents):
        return ops.tanh(ops.cast(latents, "float32") + self._shift) * self._half_range - self._offset

    def _number(self, rounded):
        return ops.sum((ops.cast(rounded, "int32") + self._centers) * self._place_values, axis=-1)

    def get_config(self):
        return {**super().get_config(), "fsq_levels": self.fsq_levels}


@keras.saving.register_keras_serializable(package="vim_tf")
class LookupFreeQuantizer(Quantizer):
    """The sign of each dimension: codes are the corners of a cube.

    Dimension i is bit 2^i of the token, set where the latent is above 0.

    Args:
        codebook_size: number of codes, 2^codebook_dim.
        codebook_dim: dimensions of a code.
        entropy_temperature: temperature of the distribution over codes in the entropy loss, above 0.

    Call arguments:
        latents: float [batch, length, codebook_dim].

    Returns:
        Quantized; `entropy_loss` as in `code_entropy_loss`, of the latents of this call (so two half batches don't
        average to the whole one's); `commitment_loss` is a mean over all elements. The gradient of the codes goes to
        the latents unchanged.

    Raises:
        ValueError: codebook_size isn't 2^codebook_dim.

    References:
        Yu et al., 2024, https://arxiv.org/abs/2310.05737, section 3.1.
    """

    config_fields = (*Quantizer.config_fields, "entropy_temperature")
    loss_names = ("entropy_loss", "commitment_loss")

    def __init__(self, codebook_size, codebook_dim, entropy_temperature, **kwargs):
        super().__init__(codebook_size, codebook_dim, **kwargs)
        if codebook_size != 2**codebook_dim:
            raise ValueError(f"{codebook_dim} dimensions make {2**codebook_dim} codes, not {codebook_size}")
        self.entropy_temperature = entropy_temperature

    def call(self, latents, seed=None, temperature=None):
        latents = ops.cast(latents, "float32")
        codes = ops.where(latents > 0, 1.0, -1.0)
        return Quantized(
            quantized=pass_straight_through(codes, latents),
            tokens=self.tokens(latents),
            losses={
                "entropy_loss": code_entropy_loss(latents, self.entropy_temperature),
                "commitment_loss": commitment_loss(codes, latents),
            },
        )

    def tokens(self, latents):
        return ops.sum(ops.cast(ops.cast(latents, "float32") > 0, "int32") * self._place_values(), axis=-1)

    def lookup(self, tokens):
        bits = ops.mod(ops.floor_divide(ops.cast(tokens, "int32")[..., None], self._place_values()), 2)
        return 2 * ops.cast(bits, "float32") - 1

    def _place_values(self):
        return 2 ** np.arange(self.codebook_dim, dtype="int32")

    def get_config(self):
        return {**super().get_config(), "entropy_temperature": self.entropy_temperature}


def code_entropy_loss(latents, temperature):
    """Mean entropy of each latent's distribution over sign codes, less the entropy of the mean distribution.

    The distribution is the softmax over all codes c of -|z - c|^2 / temperature, that is of 2 <z, c> / temperature. In
    it the bits are independent, so its entropy is the sum of theirs. The mean of such distributions isn't of that kind:
    it is computed for every code, exactly, but as a product of two matrices [n, 2^(D/2)], one for each half of the
    bits, so that no [n, 2^D] array is needed.

    Args:
        latents: float32 [..., D].
        temperature: float above 0.

    Returns:
        float32 [], nats, in [-D log 2, 0]; smaller is better: sure of each latent, and every code equally used.

    References:
        Yu et al., 2024, https://arxiv.org/abs/2310.05737, section 3.1; Jansen et al., 2020,
        https://arxiv.org/abs/1911.05894.
    """
    bits = latents.shape[-1]
    log_odds = ops.reshape(latents, (-1, bits)) * (4 / temperature)
    one, zero = ops.sigmoid(log_odds), ops.sigmoid(-log_odds)
    entropies = ops.sum(one * ops.softplus(-log_odds) + zero * ops.softplus(log_odds), axis=-1)
    half = bits // 2
    low = _joint_probabilities(one[:, :half], zero[:, :half])
    high = _joint_probabilities(one[:, half:], zero[:, half:])
    count = ops.cast(ops.shape(log_odds)[0], "float32")
    mean = ops.matmul(ops.transpose(high), low) / count  # [2^(D - D//2), 2^(D//2)]
    return ops.mean(entropies) + ops.sum(mean * ops.log(ops.maximum(mean, 1e-30)))


def _joint_probabilities(one, zero):
    """Probability of each value of some bits, the first the least significant: float32 [n, bits] to [n, 2^bits]."""
    joint = ops.ones((ops.shape(one)[0], 1), "float32")
    for bit in range(one.shape[1]):
        joint = ops.concatenate([joint * zero[:, bit : bit + 1], joint * one[:, bit : bit + 1]], axis=1)
    return joint
