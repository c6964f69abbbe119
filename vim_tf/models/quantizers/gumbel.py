"""Codes drawn from a categorical distribution."""

import math

import keras
from keras import ops

from vim_tf.models.layers import stateless_uniform
from vim_tf.models.quantizers.base import Quantized, Quantizer, first_argmax, pass_straight_through


def gumbel_noise(shape, seed):
    """Standard Gumbel variables, -log(-log(u)): float32 [*shape], a function of only the seed (int32 [2])."""
    uniform = ops.maximum(stateless_uniform(shape, seed), 1e-30)
    return -ops.log(-ops.log(uniform))


@keras.saving.register_keras_serializable(package="vim_tf")
class GumbelQuantizer(Quantizer):
    """A code drawn from a distribution that the latent determines, with the gradient of the Gumbel softmax.

    A trained projection turns a latent into the logits of all codes. With a seed, the code is a sample: the largest of
    logits plus Gumbel noise. Without one it is the likeliest. The gradient is that of the softmax of the same numbers
    divided by the temperature, both for the logits and, only through the chosen code, for the codebook.

    Args:
        codebook_size: number of codes.
        codebook_dim: dimensions of a latent and of a code.

    Call arguments:
        latents: float [batch, length, codebook_dim].
        seed: int32 [2], or None for the likeliest codes.
        temperature: float or float32 [] above 0; None = 1.

    Returns:
        Quantized; `prior_loss` is the Kullback-Leibler divergence in nats of the distribution, without noise and at
        temperature 1, from the uniform one, mean over the latents; in [0, log(codebook_size)].

    References:
        Jang et al., 2017, https://arxiv.org/abs/1611.01144, section 2; Ramesh et al., 2021,
        https://arxiv.org/abs/2102.12092, section 2.1; the projection and the hard samples are those of
        `GumbelQuantize` in https://github.com/CompVis/taming-transformers.
    """

    loss_names = ("prior_loss",)

    def build(self, input_shape=None):
        self.add_codebook()
        shape = (self.codebook_dim, self.codebook_size)
        self.logits_kernel = self.add_float32_weight("logits_kernel", shape, "glorot_uniform")
        self.logits_bias = self.add_float32_weight("logits_bias", (self.codebook_size,), "zeros")
        self.built = True

    def call(self, latents, seed=None, temperature=None):
        logits = self._logits(latents)
        noisy = logits if seed is None else logits + gumbel_noise(ops.shape(logits), seed)
        tokens = first_argmax(ops.stop_gradient(noisy))
        weights = ops.softmax(noisy if temperature is None else noisy / temperature, axis=-1)
        mixture = ops.matmul(weights, ops.stop_gradient(ops.convert_to_tensor(self.codebook)))
        log_probabilities = ops.log_softmax(logits, axis=-1)
        negative_entropy = ops.sum(ops.exp(log_probabilities) * log_probabilities, axis=-1)
        return Quantized(
            quantized=pass_straight_through(self.lookup(tokens), mixture),
            tokens=tokens,
            losses={"prior_loss": ops.mean(negative_entropy) + math.log(self.codebook_size)},
        )

    def tokens(self, latents):
        return first_argmax(self._logits(latents))

    def lookup(self, tokens):
        return ops.take(self.codebook, tokens, axis=0)

    def _logits(self, latents):
        return ops.matmul(ops.cast(latents, "float32"), self.logits_kernel) + self.logits_bias
