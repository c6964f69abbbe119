"""Several codes for one latent, each for the residual of those before it."""

import keras
from keras import ops

from vim_tf.models.quantizers.base import (
    Quantized,
    Quantizer,
    codebook_loss,
    commitment_loss,
    nearest_codes,
    pass_straight_through,
)


@keras.saving.register_keras_serializable(package="vim_tf")
class ResidualQuantizer(Quantizer):
    """Sum of `depth` codes of one shared codebook: the nearest one, then the nearest one to the residual, and so on.

    Args:
        codebook_size: number of codes.
        codebook_dim: dimensions of a code.
        depth: codes for one latent.
        l2_normalize: False; codes of length 1 can't get smaller from level to level, as the residuals do.

    Call arguments:
        latents: float [batch, length, codebook_dim].

    Returns:
        Quantized; both losses compare the latents with the sum of the first d codes, mean over all elements and over
        d = 1 to depth. The gradient of the codes goes to the latents unchanged.

    Raises:
        ValueError: l2_normalize is true, or depth below 1.

    References:
        Lee et al., 2022, https://arxiv.org/abs/2203.01941, section 3.1; the mean over levels, not their sum, is that of
        `RQBottleneck` in https://github.com/kakaobrain/rq-vae-transformer.
    """

    config_fields = (*Quantizer.config_fields, "depth")
    loss_names = ("codebook_loss", "commitment_loss")
    restartable = True

    def __init__(self, codebook_size, codebook_dim, depth, l2_normalize=False, **kwargs):
        super().__init__(codebook_size, codebook_dim, **kwargs)
        if l2_normalize:
            raise ValueError("a residual quantizer adds up codes of any length: l2_normalize must be off")
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        self.depth = depth
        self.l2_normalize = l2_normalize

    def build(self, input_shape=None):
        self.add_codebook()
        self.built = True

    def call(self, latents, seed=None, temperature=None):
        latents = ops.cast(latents, "float32")
        _, tokens = self._levels(latents)
        sums = ops.cumsum(ops.take(self.codebook, tokens, axis=0), axis=2)  # [B, L, depth, D]
        targets = latents[:, :, None]
        return Quantized(
            quantized=pass_straight_through(ops.stop_gradient(sums[:, :, -1]), latents),
            tokens=self._flat(tokens),
            losses={
                "codebook_loss": codebook_loss(sums, targets),
                "commitment_loss": commitment_loss(sums, targets),
            },
        )

    def tokens(self, latents):
        return self._flat(self._levels(ops.cast(latents, "float32"))[1])

    def lookup(self, tokens):
        codes = ops.take(self.codebook, tokens, axis=0)  # [B, L * depth, D]
        length = codes.shape[1] // self.depth
        return ops.sum(ops.reshape(codes, (-1, length, self.depth, self.codebook_dim)), axis=2)

    def restart_candidates(self, latents):
        """The residual before each level: float32 [batch * length * depth, codebook_dim]."""
        residuals, _ = self._levels(ops.cast(latents, "float32"))
        return ops.reshape(residuals, (-1, self.codebook_dim))

    def restart(self, unused, candidates):
        self.codebook.assign(ops.where(unused[:, None], candidates, self.codebook))

    def _levels(self, latents):
        """Residuals that the levels code, float32 [B, L, depth, D], and tokens, int32 [B, L, depth]; no gradient."""
        codebook = ops.stop_gradient(ops.convert_to_tensor(self.codebook))
        residuals, tokens = [ops.stop_gradient(latents)], []
        for level in range(self.depth):
            tokens.append(nearest_codes(residuals[level], codebook, unit_length=False))
            residuals.append(residuals[level] - ops.take(codebook, tokens[level], axis=0))
        return ops.stack(residuals[:-1], axis=2), ops.stack(tokens, axis=2)

    def _flat(self, tokens):
        return ops.reshape(tokens, (-1, tokens.shape[1] * self.depth))

    def get_config(self):
        return {**super().get_config(), "depth": self.depth, "l2_normalize": self.l2_normalize}
