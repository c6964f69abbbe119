"""Base of the training steps: a Keras `fit` that is correct under tf.distribute, microbatches, updates.

Stock Keras 3 `fit` averages per-replica metric values instead of merging them, builds models outside the strategy's
scope and, on some strategies, fails outright; its optimizers clip and accumulate gradients per replica. Overriding the
function that `fit` calls once per step avoids all of that and keeps `fit`, its callbacks and `compile`.
"""

import keras
import tensorflow as tf


class Trainer(keras.Model):
    """Base of a model whose `train_step` updates weights and metrics and returns nothing.

    Build it, its optimizers and its metrics inside the strategy's scope. Losses are means over a microbatch;
    `mean_share` makes them parts of the mean over the whole batch, so that their sums over microbatches and replicas
    are the whole batch's mean.

    Args:
        trained: the model of this stage.
        seed: int, origin of the training's randomness.
        metric_names: names, as `stage/name`, of the means that `train_step` updates.
        num_microbatches: int, parts that a replica's share of the batch is split into, processed one after another.
        clip_norm: float, largest global norm of an optimizer's gradients; 0 = no limit.
        ema_model: a second model like `trained`, built with the same weights, that holds the moving average of them;
            None = no average.
        ema_decay: float in [0, 1), decay of that average.
        compile_updates: whether XLA compiles the optimizers' updates, where a single replica makes them.
    """

    def __init__(
        self,
        trained,
        seed,
        metric_names,
        num_microbatches=1,
        clip_norm=0.0,
        ema_model=None,
        ema_decay=0.0,
        compile_updates=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.trained = trained
        self._compile_updates = compile_updates
        self.seed = seed
        self.num_microbatches = num_microbatches
        self.clip_norm = clip_norm
        self.ema_model = ema_model
        self.ema_decay = ema_decay
        self.copy_to_average()
        # Not the optimizer's: one that scales its loss doesn't count steps whose gradients overflowed.
        self.step = self.state("step", (), "int64")
        self._metric_names = tuple(metric_names)
        # Sums of the metrics' values and of their weights since the last reset. Values are the whole batch's on every
        # replica, so that no replica has to ask the others when they are read, as it would with Keras' metrics.
        self._metric_sums = self.state("metric_sums", (2, len(self._metric_names)))

    def state(self, name, shape, dtype="float32"):
        """A variable of zeros to which all replicas assign the same values."""
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=dtype,
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )

    @property
    def metrics(self):
        """Keras' own metrics, of which there are none: see `means`."""
        return []

    def means(self):
        """Means of the metrics over the steps since the last reset: dict from name to float32 []."""
        sums, weights = tf.unstack(self._metric_sums.value)
        return dict(zip(self._metric_names, tf.unstack(tf.math.divide_no_nan(sums, weights)), strict=True))

    def get_metrics_result(self):
        return self.means()

    def reset_metrics(self):
        self._metric_sums.assign(tf.zeros(self._metric_sums.shape))

    @property
    def inference_model(self):
        """The model that is validated and exported: the weights' moving average if there is one."""
        return self.trained if self.ema_model is None else self.ema_model

    @property
    def num_replicas(self):
        return self.distribute_strategy.num_replicas_in_sync

    def mean_share(self, values):
        """A microbatch's part of a mean over the whole batch, for a nest of tensors."""
        count = self.num_replicas * self.num_microbatches
        return tf.nest.map_structure(lambda value: value / count, values)

    def step_seed(self, microbatch=0):
        """A seed that differs for each step, replica and microbatch: int32 [2]."""
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
        index = tf.cast(self.step.value, tf.int32) * self.num_replicas + replica
        return tf.stack([tf.constant(self.seed, tf.int32), index * self.num_microbatches + microbatch])

    def over_microbatches(self, function, batch):
        """Sum of `function(microbatch, index)` over the replica's microbatches, one after another.

        Args:
            function: of a part of the batch and its number, int32 []; returns a nest of tensors.
            batch: nest of tensors with a batch axis that `num_microbatches` divides.

        Returns:
            The nest of sums. Microbatches are neighbouring rows, so that groups of neighbours stay together.
        """
        count = self.num_microbatches
        if count == 1:
            return function(batch, 0)
        parts = tf.nest.map_structure(lambda x: tf.reshape(x, [count, -1, *x.shape[1:]]), batch)

        def at(index):
            return function(tf.nest.map_structure(lambda x: x[index], parts), index)

        def add(index, sums):
            return index + 1, tf.nest.map_structure(tf.add, sums, at(index))

        # One at a time: in parallel, they would need the memory of the whole batch.
        _, sums = tf.while_loop(lambda index, _: index < count, add, (1, at(0)), parallel_iterations=1)
        return sums

    def all_reduce(self, values):
        """Sum of a nest of tensors over the replicas."""
        if self.num_replicas == 1:
            return values
        return tf.distribute.get_replica_context().all_reduce("sum", values)

    def gradients(self, tape, loss, weights):
        """Dense gradients (sparse ones would need another collective); zeros for weights not in the loss."""
        return [
            tf.zeros(weight.shape) if gradient is None else tf.convert_to_tensor(gradient)
            for gradient, weight in zip(tape.gradient(loss, weights), weights, strict=True)
        ]

    def apply(self, optimizer, gradients, weights):
        """Updates weights.

        Args:
            optimizer: keras.optimizers.Optimizer; one that scales its loss gets gradients of the scaled loss.
            gradients: those of the whole batch, all-reduced, equal on every replica.
            weights: the weights.

        Returns:
            float32 [], global norm of the gradients before clipping.
        """
        # Under a strategy, even with a single replica, Keras synchronizes the replicas in an update, which a compiled
        # function can't do.
        if not self._compile_updates or tf.distribute.has_strategy():
            return self._update(optimizer, gradients, weights)
        update = tf.function(
            lambda gradients: self._update(optimizer, gradients, weights), jit_compile=True, autograph=False
        )
        return update(gradients)

    def _update(self, optimizer, gradients, weights):
        scale = loss_scale(optimizer)
        norm = tf.linalg.global_norm(gradients) / scale
        if self.clip_norm:
            factor = self.clip_norm / tf.maximum(norm, self.clip_norm)
            gradients = [gradient * factor for gradient in gradients]
        _without_reduction(optimizer).apply(gradients, weights)
        return norm

    def copy_to_average(self):
        """Starts the moving average at the weights; to be called once they are set."""
        if self.ema_model is not None:
            for average, weight in zip(self.ema_model.weights, self.trained.weights, strict=True):
                average.assign(weight)

    def finish_step(self):
        """Updates the weights' moving average and counts the step."""
        if self.ema_model is not None:
            count = tf.cast(self.step.value, tf.float32)
            # Early averages would otherwise be mostly the initial weights.
            decay = tf.minimum(self.ema_decay, (1 + count) / (10 + count))
            for average, weight in zip(self.ema_model.weights, self.trained.weights, strict=True):
                value = tf.convert_to_tensor(weight)
                moved = average + (1 - decay) * (value - average) if weight.trainable else value
                average.assign(moved)
        self.step.assign_add(1)

    def update_means(self, values):
        """Adds one step's values, which must be the same on every replica.

        Args:
            values: dict from each metric's name to float32 [], or to a pair of it and its weight.
        """
        if values.keys() != set(self._metric_names):
            raise ValueError(f"a step has the metrics {sorted(self._metric_names)}, not {sorted(values)}")
        pairs = [
            value if isinstance(value, tuple) else (value, tf.ones([])) for value in map(values.get, self._metric_names)
        ]
        values, weights = (tf.stack(each) for each in zip(*pairs, strict=True))
        self._metric_sums.assign_add(tf.stack([values * weights, weights]))

    def gradient_norm(self, norm, optimizer):
        """A gradient's norm as `update_means` takes it, of weight 0 if only the loss scale made it overflow."""
        if not is_loss_scaled(optimizer):
            return norm
        finite = tf.math.is_finite(norm)
        return tf.where(finite, norm, 0.0), tf.cast(finite, tf.float32)

    def checkpointed(self):
        """The objects that a resume needs, by name; other commands load the model `ema`, or else `model`."""
        objects = {"model": self.trained, "optimizer": self.optimizer, "step": self.step}
        return objects if self.ema_model is None else {**objects, "ema": self.ema_model}

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            strategy = self.distribute_strategy

            def replica_step(batch):
                self.train_step(batch)

            def step(iterator):
                strategy.run(replica_step, args=(next(iterator),))

            # Autograph would turn next(iterator) into an op that can't carry a distributed value.
            step = tf.autograph.experimental.do_not_convert(step)
            if not self.run_eagerly:
                # Not inlined: within the loop, TensorFlow would optimize, and so round, a step differently.
                step = tf.function(step, reduce_retracing=True, experimental_attributes={"_noinline": True})

            @tf.autograph.experimental.do_not_convert
            def execution(iterator):
                def body(index):
                    step(iterator)
                    return (index + 1,)

                count = self.steps_per_execution
                if count == 1:
                    step(iterator)
                else:
                    # One at a time: a step starts once the previous one has assigned its weights.
                    tf.while_loop(lambda index: index < count, body, (0,), parallel_iterations=1)
                return self.means()

            self.train_function = execution if self.run_eagerly else tf.function(execution, reduce_retracing=True)
        return self.train_function

    def _maybe_symbolic_build(self, *args, **kwargs):
        """Does nothing: models, optimizers and metrics are built in the strategy's scope before `fit`.

        Keras would take a batch and reduce it to build them, which fails with several workers.
        """


def _without_reduction(optimizer):
    """The optimizer, which from now on treats the gradients that it is given as the sum over all replicas.

    Keras would reduce them once more, which costs the same communication again.
    """
    inner = optimizer.inner_optimizer if is_loss_scaled(optimizer) else optimizer
    inner._all_reduce_sum_gradients = lambda gradients_and_weights: gradients_and_weights
    return optimizer


def is_loss_scaled(optimizer):
    """Whether an optimizer works on gradients of a scaled loss, as half precision needs."""
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def loss_scale(optimizer):
    """float32 []: factor on the loss before its gradients are given to the optimizer."""
    return optimizer.dynamic_scale.value if is_loss_scaled(optimizer) else tf.ones([])
