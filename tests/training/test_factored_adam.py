"""Adam with factored and quantised moments: by hand, against PyTorch, and against AdamW where it must train alike."""

import math
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from vim_tf.devices.strategies import build_strategy
from vim_tf.training.factored_adam import FactoredAdam
from vim_tf.training.schedules import WarmupThenDecay

REFERENCE = pathlib.Path(__file__).parents[1] / "references" / "factored_adam.npz"
# Those of the reference's script.
LEARNING_RATE, BETA_1, WEIGHT_DECAY = 0.05, 0.9, 0.1


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


def steps_of(optimizer, initial, gradients):
    """The weight, and after each step its value."""
    weight = keras.Variable(initial)
    optimizer.build([weight])
    # Tracing takes as long as some ten steps.
    apply = tf.function(optimizer.apply) if len(gradients) > 20 else optimizer.apply
    values = []
    for gradient in gradients:
        apply([tf.constant(gradient)])
        values.append(weight.numpy().copy())
    return weight, values


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


class TestTwoByTwo:
    """Squares 1, 4, 9, 16: rows' means 2.5 and 12.5, columns' means 5 and 10, mean 7.5."""

    gradient = np.array([[1.0, 2.0], [3.0, 4.0]], "float32")
    second_moment = np.array([[2.5 * 5, 2.5 * 10], [12.5 * 5, 12.5 * 10]]) / 7.5

    def test_the_second_moment_is_rows_times_columns_over_the_mean(self):
        optimizer = FactoredAdam(0.1, min_factored_dim=2)
        weight, _ = steps_of(optimizer, np.zeros((2, 2), "float32"), [self.gradient])
        np.testing.assert_allclose(optimizer.moments(weight)[1], self.second_moment, rtol=1e-6)

    def test_the_first_step_is_the_gradient_over_its_root(self):
        _, (value,) = steps_of(FactoredAdam(0.1, min_factored_dim=2), np.zeros((2, 2), "float32"), [self.gradient])
        np.testing.assert_allclose(value, -0.1 * self.gradient / np.sqrt(self.second_moment), rtol=1e-6)

    def test_both_moments_decay_as_adams(self):
        optimizer = FactoredAdam(0.1, min_factored_dim=2)
        _, (first, second) = steps_of(optimizer, np.zeros((2, 2), "float32"), [self.gradient, 0 * self.gradient])
        # Bias-corrected, the second moment falls to 0.96 * 0.04 / (1 - 0.96^2), the first to 0.9 * 0.1 / (1 - 0.9^2).
        expected = first * (0.09 / 0.19) / math.sqrt(0.0384 / 0.0784)
        # A level is at most a 126th of a tenth of the largest ratio, 1.1.
        level = 0.1 * 0.9 / 0.19 / math.sqrt(0.0384 / 0.0784) * 0.11 / 126
        np.testing.assert_allclose(second - first, expected, rtol=0, atol=1.01 * level)


def test_squared_gradients_of_rank_one_are_kept_exactly():
    rows, columns = np.exp(normal(40, seed=1)), np.exp(normal(50, seed=2))
    gradient = np.sign(normal(40, 50)) * np.outer(rows, columns)
    optimizer = FactoredAdam(0.1)
    weight, _ = steps_of(optimizer, np.zeros((40, 50), "float32"), [gradient, 3 * gradient])
    mixed = 0.04 / (1 - 0.96**2)
    np.testing.assert_allclose(optimizer.moments(weight)[1], gradient**2 * (1 - mixed + 9 * mixed), rtol=1e-5)


class TestAgainstPyTorch:
    @pytest.mark.parametrize("name", ["matrix", "matrices", "vector"])
    def test_the_second_moment_is_that_of_its_adafactor(self, reference, name):
        optimizer = FactoredAdam(LEARNING_RATE)
        weight, _ = steps_of(optimizer, reference[f"{name}/initial"], reference[f"{name}/gradients"])
        np.testing.assert_allclose(optimizer.moments(weight)[1], reference[f"{name}/second_moment"], rtol=1e-5)

    def test_a_vector_moves_as_with_adam(self, reference):
        optimizer = FactoredAdam(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        _, values = steps_of(optimizer, reference["vector/initial"], reference["vector/gradients"])
        np.testing.assert_allclose(values, reference["vector/weights"], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("name", ["matrix", "matrices"])
    def test_a_matrix_is_off_by_at_most_the_rounding(self, reference, name):
        optimizer = FactoredAdam(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        weight = keras.Variable(reference[f"{name}/initial"])
        optimizer.build([weight])
        slots = optimizer._slots[0]
        momentum_error, bound = 0.0, 0.0
        expected_weights = reference[f"{name}/weights"]
        for step, gradient in enumerate(reference[f"{name}/gradients"], start=1):
            optimizer.apply([tf.constant(gradient)], [weight])
            rate = LEARNING_RATE / (1 - BETA_1**step)
            second = np.asarray(optimizer.moments(weight)[1])
            # Earlier rounding errors decay; this step's error counts from the next one.
            momentum_error = BETA_1 * momentum_error
            bound = bound + rate * momentum_error / np.sqrt(second)
            assert np.all(np.abs(weight.numpy() - expected_weights[step - 1]) <= bound + 1e-5)
            level = slots["scale"].numpy()[..., None] * np.sqrt(slots["columns"].numpy())[..., None, :]
            momentum_error = momentum_error + level
        # The bound is meaningful: it is small compared with the distance that the weights have moved.
        assert np.mean(bound) < 0.1 * np.mean(np.abs(expected_weights[-1] - reference[f"{name}/initial"]))

    def test_clipping_is_that_of_its_adafactor(self, reference):
        """Without momentum; gradients double at each step, so that all steps but the first are clipped."""
        optimizer = FactoredAdam(1.0, beta_1=0.0, clip_threshold=1.0)
        gradients = [gradient * 2.0**step for step, gradient in enumerate(reference["matrix/gradients"], start=1)]
        _, values = steps_of(optimizer, np.zeros((33, 40), "float32"), gradients)
        updates = -np.diff(values, axis=0, prepend=0)
        np.testing.assert_allclose(updates, reference["matrix/clipped_updates"], rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(np.sqrt(np.mean(updates[1:] ** 2, axis=(1, 2))), 1.0, rtol=1e-4)


def test_clipping_holds_for_vectors_too():
    _, (first, second) = steps_of(
        FactoredAdam(1.0, beta_1=0.0, clip_threshold=0.5), np.zeros(3, "float32"), [np.ones(3, "float32")] * 2
    )
    np.testing.assert_allclose([first, second - first], np.full((2, 3), -0.5), rtol=1e-5)


def test_small_weights_move_as_with_keras_adamw():
    gradients = normal(6, 20, 31)
    schedule = WarmupThenDecay(0.05, 2, "cosine", 0, 0.01, 6)
    _, ours = steps_of(FactoredAdam(schedule, weight_decay=0.1), normal(20, 31), gradients)
    adamw = keras.optimizers.AdamW(schedule, weight_decay=0.1, beta_2=0.96, epsilon=1e-8)
    _, theirs = steps_of(adamw, normal(20, 31), gradients)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


class TestStoredMomentum:
    def test_it_is_less_than_a_level_off(self):
        gradient = normal(40, 50) * np.exp(normal(50, seed=1))
        optimizer = FactoredAdam(0.1)
        weight, _ = steps_of(optimizer, np.zeros((40, 50), "float32"), [gradient])
        slots = optimizer._slots[0]
        level = np.outer(slots["scale"].numpy(), np.sqrt(slots["columns"].numpy()))
        error = np.asarray(optimizer.moments(weight)[0]) - 0.1 * gradient
        assert np.max(np.abs(error) / level) < 1.0001
        assert abs(np.mean(error / level)) < 0.01

    def test_every_row_uses_its_levels(self):
        optimizer = FactoredAdam(0.1)
        steps_of(optimizer, np.zeros((40, 50), "float32"), normal(3, 40, 50) * np.exp(5 * normal(40, 1, seed=1)))
        largest = np.abs(optimizer._slots[0]["momentum"].numpy().astype(int)).max(axis=1)
        assert largest.min() >= 125 and largest.max() == 126

    def test_changes_below_half_a_level_are_not_lost(self):
        """Rounding to the nearest level would leave the small gradients' moment where it first gets stuck."""
        gradient = np.full((64, 64), 0.02, "float32")
        np.fill_diagonal(gradient, 1.0)
        optimizer = FactoredAdam(1e-3)
        weight, values = steps_of(optimizer, np.zeros((64, 64), "float32"), [gradient] * 200)
        slots = optimizer._slots[0]
        level = slots["scale"].numpy()[0] * np.sqrt(slots["columns"].numpy()[0])
        assert 0.1 * 0.02 < level / 2
        # Unrounded, the bias-corrected moments of a constant gradient are itself and its square.
        expected = -200 * 1e-3 * 0.02 / np.sqrt(np.asarray(optimizer.moments(weight)[1])[0, 1])
        small = values[-1][~np.eye(64, dtype=bool)]
        assert np.mean(small) == pytest.approx(expected, rel=0.03)
        np.testing.assert_allclose(small, expected, rtol=0.08)

    def test_rows_without_gradients_stay(self):
        gradient = normal(40, 50)
        gradient[7] = 0
        _, values = steps_of(FactoredAdam(0.1), np.ones((40, 50), "float32"), [gradient] * 3)
        assert np.all(values[-1][7] == 1)
        assert np.all(values[-1][6] != 1)

    def test_a_nan_gradient_shows_in_the_weights(self):
        gradient = normal(40, 50)
        gradient[0, 0] = np.nan
        _, values = steps_of(FactoredAdam(0.1), np.ones((40, 50), "float32"), [gradient, normal(40, 50)])
        assert np.isnan(values[-1][0, 0])


def test_further_axes_count_matrices_and_those_of_length_one_do_not():
    gradients = normal(2, 3, 1, 40, 50)
    _, together = steps_of(FactoredAdam(0.1), np.zeros((3, 1, 40, 50), "float32"), gradients)
    for index in range(3):
        _, single = steps_of(FactoredAdam(0.1), np.zeros((40, 50), "float32"), gradients[:, index, 0])
        np.testing.assert_allclose(together[0][index, 0], single[0], rtol=1e-5, atol=1e-6)
        # A value on the edge between two levels can be rounded either way, so only almost all can be required to agree.
        assert np.mean(np.abs(together[1][index, 0] - single[1]) > 1e-5) < 0.002


def test_sparse_gradients_are_accepted():
    gradient = tf.IndexedSlices(tf.constant(normal(2, 32)), tf.constant([3, 5]), dense_shape=tf.constant([40, 32]))
    weight = keras.Variable(np.zeros((40, 32), "float32"))
    optimizer = FactoredAdam(0.1)
    optimizer.build([weight])
    optimizer.apply([gradient], [weight])
    assert np.flatnonzero(weight.numpy().any(axis=1)).tolist() == [3, 5]


# ----------------------------------------------------------------------------- training, compared with Keras' AdamW


def trained_loss(optimizer, loss_of, weights, batches, held_out):
    optimizer.build(weights)

    @tf.function
    def step(*batch):
        with tf.GradientTape() as tape:
            loss = loss_of(*batch)
        optimizer.apply(tape.gradient(loss, weights), weights)

    for batch in batches:
        step(*batch)
    return float(loss_of(*held_out))


def optimizers(steps, learning_rate):
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    return (
        keras.optimizers.AdamW(schedule, weight_decay=1e-4, beta_2=0.96, epsilon=1e-8),
        FactoredAdam(schedule, weight_decay=1e-4),
    )


def test_a_quadratic_is_brought_as_low_as_by_adamw():
    """Curvatures from 1 to 100, gradients with noise: what is left is the noise, not the rounding."""
    curvature = tf.constant(np.exp(np.random.default_rng(0).uniform(0, math.log(100), size=(48, 40))), tf.float32)
    target, noise = tf.constant(normal(48, 40, seed=1)), normal(400, 48, 40, seed=2)
    losses = []
    for optimizer in optimizers(400, 0.05):
        weight = keras.Variable(np.zeros((48, 40), "float32"))

        def loss_of(noise, weight=weight):
            error = weight - target
            return tf.reduce_mean(0.5 * curvature * error**2 + noise * error)

        batches = [(tf.constant(array),) for array in noise]
        losses.append(trained_loss(optimizer, loss_of, [weight], batches, (tf.zeros((48, 40)),)))
    initial = float(tf.reduce_mean(0.5 * curvature * target**2))
    assert losses[0] < 1e-3 * initial
    assert losses[1] < 1.1 * losses[0]


def test_a_regression_reaches_adamws_loss():
    """A network of 64 units learns another one's outputs, to which noise of variance 0.25 is added."""
    teacher = [normal(32, 64, seed=1) / 4, normal(64, 32, seed=2) / 8]

    def answer(inputs, seed):
        return (np.tanh(inputs @ teacher[0]) @ teacher[1] + 0.5 * normal(len(inputs), 32, seed=seed)).astype("float32")

    inputs, held_out = normal(500, 64, 32, seed=3), normal(2000, 32, seed=4)
    batches = [(tf.constant(x), tf.constant(answer(x, 10 + index))) for index, x in enumerate(inputs)]
    losses = []
    for optimizer in optimizers(500, 0.01):
        weights = [keras.Variable(normal(32, 64, seed=5) / 6), keras.Variable(normal(64, 32, seed=6) / 8)]

        def loss_of(x, y, weights=weights):
            return tf.reduce_mean((tf.tanh(x @ weights[0].value) @ weights[1].value - y) ** 2)

        losses.append(trained_loss(optimizer, loss_of, weights, batches, (held_out, answer(held_out, 5))))
    assert 0.25 < losses[0] < 0.32
    assert losses[1] < 1.02 * losses[0]


# -------------------------------------------------------------------------------------------- as Keras and tf expect


def weights_and_gradients():
    """A matrix and a vector, and the gradients of six steps."""
    initial, *gradients = ([normal(40, 50, seed=seed), normal(50, seed=seed)] for seed in range(7))
    return initial, gradients


def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path):
    initial, gradients = weights_and_gradients()

    def new():
        weights = [keras.Variable(array) for array in initial]
        optimizer = FactoredAdam(WarmupThenDecay(0.1, 2, "cosine", 0, 0.01, 6), weight_decay=0.1)
        optimizer.build(weights)
        return weights, optimizer, tf.train.Checkpoint(optimizer=optimizer, weights=[w.value for w in weights])

    def advance(optimizer, gradients):
        apply = tf.function(optimizer.apply)
        for arrays in gradients:
            apply([tf.constant(array) for array in arrays])

    weights, optimizer, checkpoint = new()
    advance(optimizer, gradients[:3])
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    advance(optimizer, gradients[3:])
    again, resumed, checkpoint = new()
    checkpoint.read(path).assert_consumed()
    advance(resumed, gradients[3:])
    for one, other in zip([*weights, *optimizer.variables], [*again, *resumed.variables], strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


def test_two_replicas_equal_one_with_the_summed_gradient():
    initial, gradients = weights_and_gradients()
    strategy = build_strategy("mirrored")
    with strategy.scope():
        weights = [keras.Variable(array, trainable=True) for array in initial]
        optimizer = FactoredAdam(0.1, weight_decay=0.1)
        optimizer.build(weights)

    @tf.function
    def step(*arrays):
        def apply():
            # Twice the gradient on replica 0, less once the gradient on replica 1: exact in floats.
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            share = tf.where(tf.equal(replica, 0), 2.0, -1.0)
            optimizer.apply([share * array for array in arrays], weights)

        strategy.run(apply)

    expected = [keras.Variable(array) for array in initial]
    single = FactoredAdam(0.1, weight_decay=0.1)
    single.build(expected)
    apply = tf.function(single.apply)
    for arrays in gradients:
        step(*map(tf.constant, arrays))
        apply([tf.constant(array) for array in arrays])
    for one, other in zip(weights, expected, strict=True):
        for copy in strategy.experimental_local_results(one.value):
            np.testing.assert_allclose(copy, other.numpy(), rtol=0, atol=1e-6)


class TestLossScaling:
    def test_a_scaled_loss_gives_the_same_weights(self):
        initial, gradients = weights_and_gradients()
        results = []
        for scale in (1.0, 2.0**15):
            weights = [keras.Variable(array) for array in initial]
            optimizer = FactoredAdam(0.1, weight_decay=0.1)
            if scale > 1:
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale)
            optimizer.build(weights)
            for arrays in gradients:
                optimizer.apply([tf.constant(scale * array) for array in arrays], weights)
            results.append([weight.numpy() for weight in weights])
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_a_step_that_overflows_changes_only_the_scale(self):
        weights = [keras.Variable(normal(40, 50))]
        inner = FactoredAdam(0.1, weight_decay=0.1)
        optimizer = keras.optimizers.LossScaleOptimizer(inner)
        optimizer.build(weights)
        optimizer.apply([tf.constant(normal(40, 50))], weights)
        before = [variable.numpy() for variable in [*weights, *inner.variables]]
        optimizer.apply([tf.fill((40, 50), math.inf)], weights)
        for variable, value in zip([*weights, *inner.variables], before, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)


def test_it_comes_back_from_its_config():
    optimizer = FactoredAdam(WarmupThenDecay(0.8, 4, "cosine", 6, 0.2, 12), 0.8, 0.9, 1e-6, 1.0, 16, weight_decay=0.1)
    scaled = keras.optimizers.LossScaleOptimizer(optimizer)
    twin = keras.optimizers.deserialize(keras.optimizers.serialize(scaled)).inner_optimizer
    assert isinstance(twin, FactoredAdam)
    assert twin.get_config() == optimizer.get_config()
    assert (twin.beta_1, twin.beta_2, twin.epsilon, twin.clip_threshold) == (0.8, 0.9, 1e-6, 1.0)
    assert (twin.min_factored_dim, twin.weight_decay) == (16, 0.1)


def test_it_compiles_with_xla():
    initial, gradients = weights_and_gradients()
    results = []
    for compiled in (False, True):
        weights = [keras.Variable(array) for array in initial]
        optimizer = FactoredAdam(0.1, clip_threshold=1.0)
        optimizer.build(weights)
        apply = tf.function(optimizer.apply, jit_compile=compiled)
        for arrays in gradients[:2]:
            apply([tf.constant(array) for array in arrays])
        results.append([weight.numpy() for weight in weights])
    # A value on the edge between two levels can be rounded either way: a level is 0.1 * 0.9 / 0.19 * 3 / 126 at most.
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=0, atol=0.012)
    assert np.mean(np.abs(results[0][0] - results[1][0]) > 1e-5) < 0.01
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "arguments", [{"beta_1": 1.0}, {"beta_2": -0.1}, {"epsilon": 0.0}, {"clip_threshold": 0.0}], ids=str
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        FactoredAdam(0.1, **arguments)
