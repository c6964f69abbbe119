"""One training step of a linear probe."""

import numpy as np
import tensorflow as tf

from vim_tf.losses.token import classification_loss
from vim_tf.training.trainer import Trainer


class LinearProbeTrainer(Trainer):
    """Softmax regression on frozen features, all heads at once.

    The loss is the sum of the heads' losses, so each head's gradient is the same as if it were trained separately; with
    an elementwise optimizer, so is what it learns.

    Args:
        probe: LinearProbe.
        features: ImageFeatures, which isn't a layer: the frozen weights don't belong in a checkpoint of the probe.
        optimizer: built optimizer, which doesn't scale its loss: heads compute in float32.
        jit_compile: whether XLA compiles everything after the tokens.
        seed: int. The other arguments are those of `Trainer`.
    """

    def __init__(self, probe, features, optimizer, jit_compile, seed, **kwargs):
        names = ("linear_probe/loss", "linear_probe/gradient_norm")
        super().__init__(probe, seed, names, compile_updates=jit_compile, **kwargs)
        self.probe = probe
        self._features = features
        self._compiled_gradients = tf.function(self._gradients, jit_compile=jit_compile, autograph=False)
        self._compiled_features = tf.function(features.of, jit_compile=jit_compile, autograph=False)
        self.built = True
        self.compile(optimizer=optimizer)

    def standardize(self, batches, min_deviation):
        """Sets each feature's mean and standard deviation from batches, before the first step.

        A deviation is at least `min_deviation` times the largest one of the same kind (each block is a separate kind):
        a pixel that is black in nearly every image would otherwise outweigh all others in the few where it isn't.

        Args:
            batches: iterable of {"image": float32 [batch, height, width, 3] in [0, 1]}.
            min_deviation: float in (0, 1].
        """
        count, means, squares = 0, {}, {}
        for batch in batches:
            images = batch["image"]
            features = self._compiled_features(images, self._features.encode(images))
            count_before, count = count, count + len(images)
            for name, values in features.items():
                values = values.numpy().astype(np.float64)
                mean = values.mean(axis=0)
                shift = mean - means.get(name, 0.0)
                # Chan's update: sums lose no accuracy where the mean is far from 0.
                squares[name] = (
                    squares.get(name, 0.0)
                    + ((values - mean) ** 2).sum(axis=0)
                    + shift**2 * count_before * len(images) / count
                )
                means[name] = means.get(name, 0.0) + shift * len(images) / count
        deviations = {}
        for name, total in squares.items():
            deviation = np.sqrt(total / count)
            least = min_deviation * deviation.max()
            deviations[name] = np.maximum(deviation, least) if least > 0 else np.ones_like(deviation)
        self.probe.standardize(means, deviations)

    def train_step(self, batch):
        loss, gradients = self.all_reduce(self.over_microbatches(self._microbatch, batch))
        norm = self.apply(self.optimizer, gradients, self.probe.trainable_variables)
        self.update_means({"linear_probe/gradient_norm": norm, "linear_probe/loss": loss / len(self.probe.heads)})
        self.finish_step()

    def _microbatch(self, batch, index):
        images = batch["image"]
        # Outside the compiled function, so that images get exactly the tokens that encode_dataset gives them.
        tokens = self._features.encode(images)
        return self._compiled_gradients(images, tokens, tf.cast(batch["label"], tf.int32))

    def _gradients(self, images, tokens, labels):
        features = self._features.of(images, tokens)
        with tf.GradientTape() as tape:
            losses = [classification_loss(labels, logits) for logits in self.probe(features).values()]
            # In this order: tf.add_n would add them in the order in which they become ready.
            loss = self.mean_share(sum(losses))
        return loss, self.gradients(tape, loss, self.probe.trainable_variables)
