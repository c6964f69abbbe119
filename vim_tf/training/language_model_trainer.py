"""One training step of the language model."""

import math

import tensorflow as tf

from vim_tf.losses.token import cross_entropy_loss
from vim_tf.training.step_model import StepModel


class LanguageModelTrainer(StepModel):
    """Next-token prediction.

    Args:
        language_model: LanguageModel.
        optimizer: built optimizer.
        jit_compile: whether XLA compiles the forward and backward pass.
        seed: int.
    """

    def __init__(self, language_model, optimizer, jit_compile, seed, **kwargs):
        super().__init__(seed, ("language_model/loss", "language_model/bits_per_token"), **kwargs)
        self.language_model = language_model
        self._compiled_gradients = tf.function(self._gradients, jit_compile=jit_compile, autograph=False)
        self.built = True
        self.compile(optimizer=optimizer)

    def train_step(self, batch):
        labels = self.language_model.known_labels(batch["label"])
        loss, gradients = self._compiled_gradients(batch["tokens"], labels, self.step_seed())
        self.optimizer.apply(gradients, self.language_model.trainable_variables)
        self.update_means({"language_model/loss": loss, "language_model/bits_per_token": loss / math.log(2)})

    def _gradients(self, tokens, labels, seed):
        with tf.GradientTape() as tape:
            logits = self.language_model(tokens, labels, seed=seed)
            loss = cross_entropy_loss(tokens, logits)
            scaled_loss = loss / self.num_replicas
        return loss, self.gradients(tape, scaled_loss, self.language_model.trainable_variables)

    def checkpointed(self):
        """What a resume needs, by name; `model` is what the other commands load."""
        return {"model": self.language_model, "optimizer": self.optimizer}
