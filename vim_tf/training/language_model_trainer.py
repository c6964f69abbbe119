"""One training step of the language model."""

import math

import tensorflow as tf

from vim_tf.losses.token import cross_entropy_loss
from vim_tf.training.trainer import Trainer, loss_scale


class LanguageModelTrainer(Trainer):
    """Next-token prediction.

    Args:
        language_model: LanguageModel.
        optimizer: built optimizer.
        jit_compile: whether XLA compiles the forward and backward pass, and the update.
        seed: int.
        encode: function of a frozen tokenizer from images, float32 [batch, height, width, 3] in [0, 1], to tokens,
            int32 [batch, num_tokens]; batches then hold `image` instead of `tokens`. None = they hold tokens. The
            other arguments are those of `Trainer`.
    """

    def __init__(self, language_model, optimizer, jit_compile, seed, encode=None, **kwargs):
        names = ("language_model/loss", "language_model/bits_per_token", "language_model/gradient_norm")
        super().__init__(language_model, seed, names, compile_updates=jit_compile, **kwargs)
        self.language_model = language_model
        # A function, not a layer: the tokenizer's weights don't belong in a checkpoint of the language model.
        self._encode = encode
        self._compiled_gradients = tf.function(self._gradients, jit_compile=jit_compile, autograph=False)
        self.built = True
        self.compile(optimizer=optimizer)

    def train_step(self, batch):
        loss, gradients = self.all_reduce(self.over_microbatches(self._microbatch, batch))
        norm = self.apply(self.optimizer, gradients, self.language_model.trainable_variables)
        self.update_means(
            {
                "language_model/loss": loss,
                "language_model/bits_per_token": loss / math.log(2),
                "language_model/gradient_norm": self.gradient_norm(norm, self.optimizer),
            }
        )
        self.finish_step()

    def _microbatch(self, batch, index):
        labels = self.language_model.known_labels(tf.cast(batch["label"], tf.int32))
        # Outside the compiled function, so that images get exactly the tokens that encode_dataset gives them.
        tokens = self._encode(batch["image"]) if self._encode else batch["tokens"]
        return self._compiled_gradients(tokens, labels, self.step_seed(index), loss_scale(self.optimizer))

    def _gradients(self, tokens, labels, seed, scale):
        with tf.GradientTape() as tape:
            logits = self.language_model(tokens, labels, seed=seed)
            loss = self.mean_share(cross_entropy_loss(tokens, logits))
            scaled_loss = loss * scale
        return loss, self.gradients(tape, scaled_loss, self.language_model.trainable_variables)
