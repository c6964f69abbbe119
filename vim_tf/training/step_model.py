"""What both stages' training steps share: Keras `fit` that is right under tf.distribute.

Stock Keras 3 `fit` averages per-replica metric values instead of merging them, builds models outside the strategy's
scope and, on some strategies, fails outright. Overriding the function that `fit` calls once per step avoids all of it
and keeps `fit`, its callbacks and `compile`.
"""

import keras
import tensorflow as tf


class StepModel(keras.Model):
    """Base of a model whose `train_step` updates weights and metrics and returns nothing.

    Build it, its optimizers and its metrics inside the strategy's scope. Losses are means over the replica's examples;
    a subclass divides them by `num_replicas` before it asks for gradients, since optimizers add up the replicas'.

    Args:
        seed: int, origin of the training's randomness.
        metric_names: names, as `stage/name`, of the means that `train_step` updates.
    """

    def __init__(self, seed, metric_names, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        # Keras metrics can't have a slash in their name, since it becomes a name scope.
        self._means = {name: keras.metrics.Mean(name=name.replace("/", ".")) for name in metric_names}

    @property
    def metrics(self):
        return list(self._means.values())

    @property
    def step(self):
        """Training steps made: int variable, the optimizer's."""
        return self.optimizer.iterations

    @property
    def num_replicas(self):
        return self.distribute_strategy.num_replicas_in_sync

    def step_seed(self):
        """A seed that differs for each step and replica: int32 [2]."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.cast(self.step.value, tf.int32)
        return tf.stack([tf.constant(self.seed, tf.int32), step * self.num_replicas + tf.cast(replica, tf.int32)])

    def gradients(self, tape, loss, weights):
        """Dense gradients of a loss: sparse ones would be reduced by a collective of their own."""
        return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]

    def update_means(self, values):
        """Adds one step's values: dict from metric name to float32 []."""
        for name, value in values.items():
            self._means[name].update_state(value)

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            strategy = self.distribute_strategy

            def replica_step(batch):
                self.train_step(batch)

            def host_step(iterator):
                strategy.run(replica_step, args=(next(iterator),))
                return {name: mean.result() for name, mean in self._means.items()}

            # Autograph would turn next(iterator) into an op that can't carry a distributed value.
            host_step = tf.autograph.experimental.do_not_convert(host_step)
            self.train_function = host_step if self.run_eagerly else tf.function(host_step, reduce_retracing=True)
        return self.train_function

    def _symbolic_build(self, *args, **kwargs):
        """Does nothing: models, optimizers and metrics are built in the strategy's scope before `fit`."""
