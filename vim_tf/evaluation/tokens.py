"""Measures how well a language model predicts tokens."""

import math

import numpy as np
import tensorflow as tf

from vim_tf.devices import strategies
from vim_tf.errors import InputError
from vim_tf.evaluation.results import EvaluationResult
from vim_tf.losses.token import cross_entropy_losses


class TokenEvaluator:
    """Measures how well a language model predicts tokens that it wasn't trained on.

    Metric: language_model/validation_bits_per_token, mean over tokens, lower is better.

    Args:
        tokens: int32 [num_examples, views, num_tokens]; the first view is measured.
        labels: int32 [num_examples], -1 = none.
        batch_size: int, examples that the replicas work on at once.
        strategy: tf.distribute.Strategy in whose scope the model was made; None = the current one.
    """

    def __init__(self, tokens, labels, batch_size, strategy=None):
        self.tokens = tokens[:, 0]
        self.labels = labels
        self.batch_size = batch_size
        self._losses = strategies.replicated(strategy or tf.distribute.get_strategy(), _token_losses)

    def run(self, language_model):
        """EvaluationResult of a LanguageModel.

        Raises:
            InputError: there are no tokens.
        """
        if not len(self.tokens):
            raise InputError("there are no tokens to measure: the split is empty")
        total = 0.0
        for start in range(0, len(self.tokens), self.batch_size):
            chunk = slice(start, start + self.batch_size)
            batch = tf.convert_to_tensor(self.tokens[chunk]), tf.convert_to_tensor(self.labels[chunk])
            total += float(np.sum(self._losses(language_model, batch), dtype=np.float64))
        bits = total / len(self.tokens) / math.log(2)
        name = "language_model/validation_bits_per_token"
        return EvaluationResult({name: bits}, {name: {"num_images": len(self.tokens)}})


# One trace is kept for each model, so repeated validation doesn't compile it again.
@tf.function(reduce_retracing=True)
def _token_losses(language_model, batch):
    """Nats per token of each example: float32 [batch]."""
    tokens, labels = batch
    return cross_entropy_losses(tokens, language_model(tokens, language_model.known_labels(labels)))
