"""The nearest code of a learned codebook."""

import keras
from keras import ops

from vim_tf.models.quantizers.base import (
    Quantized,
    Quantizer,
    codebook_loss,
    commitment_loss,
    nearest_codes,
    normalize,
    pass_straight_through,
)

# Keeps the smoothed count of a code that was hardly ever chosen above zero.
SMOOTHING = 1e-5


@keras.saving.register_keras_serializable(package="vim_tf")
class VectorQuantizer(Quantizer):
    """Nearest code of a codebook that is trained by gradients.

    Args:
        codebook_size: number of codes.
        codebook_dim: dimensions of a code.
        l2_normalize: scale latents and codes to length 1 first, so that the nearest code is the one of largest cosine.
        straight_through: where the gradient of the codes goes unchanged: to the "latents" as they are, or to the
            "normalized" ones that are compared. The two are the same where the quantizer doesn't normalise.

    Call arguments:
        latents: float [batch, length, codebook_dim].

    Returns:
        Quantized; both losses are means over all elements of the vectors that are compared.

    Raises:
        ValueError: straight_through is neither of the two.

    References:
        van den Oord et al., 2017, https://arxiv.org/abs/1711.00937, eq. 3; Yu et al., 2022,
        https://arxiv.org/abs/2110.04627, eq. 1 and section 3.2.
    """

    config_fields = (*Quantizer.config_fields, "l2_normalize", "straight_through")
    loss_names = ("codebook_loss", "commitment_loss")
    restartable = True

    def __init__(self, codebook_size, codebook_dim, l2_normalize=True, straight_through="latents", **kwargs):
        super().__init__(codebook_size, codebook_dim, **kwargs)
        if straight_through not in ("latents", "normalized"):
            raise ValueError(f"straight_through must be latents or normalized, not {straight_through!r}")
        self.l2_normalize = l2_normalize
        self.straight_through = straight_through

    def build(self, input_shape=None):
        self.add_codebook()
        self.built = True

    def call(self, latents, seed=None, temperature=None):
        latents = ops.cast(latents, "float32")
        compared = self.normalized(latents)
        tokens = self._nearest(compared)
        codes = self.lookup(tokens)
        carrier = latents if self.straight_through == "latents" else compared
        return Quantized(
            quantized=pass_straight_through(ops.stop_gradient(codes), carrier),
            tokens=tokens,
            losses=self._terms(codes, compared),
        )

    def _terms(self, codes, latents):
        return {"codebook_loss": codebook_loss(codes, latents), "commitment_loss": commitment_loss(codes, latents)}

    def tokens(self, latents):
        return self._nearest(self.normalized(ops.cast(latents, "float32")))

    def lookup(self, tokens):
        return self.normalized(ops.take(self.codebook, tokens, axis=0))

    def normalized(self, vectors):
        return normalize(vectors) if self.l2_normalize else vectors

    def _nearest(self, vectors):
        codes = self.normalized(ops.convert_to_tensor(self.codebook))
        return nearest_codes(vectors, codes, unit_length=self.l2_normalize)

    def restart_candidates(self, latents):
        return self.normalized(ops.reshape(ops.cast(latents, "float32"), (-1, self.codebook_dim)))

    def restart(self, unused, candidates):
        self.codebook.assign(ops.where(unused[:, None], candidates, self.codebook))

    def get_config(self):
        return {
            **super().get_config(),
            "l2_normalize": self.l2_normalize,
            "straight_through": self.straight_through,
        }


@keras.saving.register_keras_serializable(package="vim_tf")
class EMAVectorQuantizer(VectorQuantizer):
    """Nearest code of a codebook that follows the latents: each code is a moving average of those that chose it.

    With n latents of sum s choosing a code, and exponential moving averages N of n and M of s, the code becomes M / N,
    N smoothed a little towards the mean of all codes' counts. A code that nothing chose in a step stays where it is.
    Where the quantizer normalises, the averages are those of normalised latents, and so no longer of length 1; they are
    normalised when they are compared and looked up.

    Args:
        codebook_size, codebook_dim, l2_normalize, straight_through: as in `VectorQuantizer`.
        ema_decay: decay of both moving averages in a step, in [0, 1).

    Call arguments:
        latents: float [batch, length, codebook_dim].

    Returns:
        Quantized; only `update` moves the codes.

    References:
        van den Oord et al., 2017, https://arxiv.org/abs/1711.00937, appendix A.1; the smoothing is that of
        `VectorQuantizerEMA` in https://github.com/google-deepmind/sonnet.
    """

    config_fields = (*VectorQuantizer.config_fields, "ema_decay")
    loss_names = ("commitment_loss",)

    def __init__(self, codebook_size, codebook_dim, ema_decay, l2_normalize=True, straight_through="latents", **kwargs):
        super().__init__(codebook_size, codebook_dim, l2_normalize, straight_through, **kwargs)
        self.ema_decay = ema_decay

    def build(self, input_shape=None):
        self.add_codebook(trainable=False)
        # Both start at zero: their ratio needs no correction for that, and the initial codes leave no trace in it.
        self.counts = self.add_float32_weight("counts", (self.codebook_size,), "zeros", trainable=False)
        self.sums = self.add_float32_weight("sums", self.codebook.shape, "zeros", trainable=False)
        self.built = True

    def _terms(self, codes, latents):
        return {"commitment_loss": commitment_loss(codes, latents)}

    def statistics(self, latents, tokens):
        """How many latents chose each code, and their sum.

        Args:
            latents: float [batch, length, codebook_dim].
            tokens: int32 [batch, length], their tokens.

        Returns:
            dict of `counts` float32 [codebook_size] and `sums` float32 [codebook_size, codebook_dim].
        """
        vectors = self.restart_candidates(latents)
        tokens = ops.reshape(tokens, (-1,))
        return {
            "counts": ops.segment_sum(ops.ones_like(vectors[:, 0]), tokens, self.codebook_size),
            "sums": ops.segment_sum(vectors, tokens, self.codebook_size),
        }

    def update(self, statistics):
        decay = self.ema_decay
        counts = decay * self.counts + (1 - decay) * statistics["counts"]
        sums = decay * self.sums + (1 - decay) * statistics["sums"]
        total = ops.sum(counts)
        smoothed = (counts + SMOOTHING) / (total + self.codebook_size * SMOOTHING) * total
        # The ratio of a code that nothing chose stays the same, until both numbers are too small for float32.
        chosen = (statistics["counts"] > 0)[:, None]
        self.codebook.assign(ops.where(chosen, sums / smoothed[:, None], self.codebook))
        self.counts.assign(counts)
        self.sums.assign(sums)

    def restart(self, unused, candidates):
        super().restart(unused, candidates)
        self.counts.assign(ops.where(unused, 0.0, self.counts))
        self.sums.assign(ops.where(unused[:, None], 0.0, self.sums))

    def get_config(self):
        return {**super().get_config(), "ema_decay": self.ema_decay}
