"""Adam with Adafactor's state: about one byte per weight instead of eight."""

import math

import keras
import numpy as np
from keras import ops

# One level of int8 is left free: the dither rounds up by less than one.
LEVELS = 126
SMALLEST_SCALE = 1e-30
DITHER_ROWS = 16


@keras.saving.register_keras_serializable(package="vim_tf")
class FactoredAdam(keras.optimizers.Optimizer):
    """Adam whose second moment is factored and whose first moment is int8.

    A matrix's squared gradients are kept as the decayed means of its rows and of its columns; their outer product,
    divided by the mean of the rows, approximates the second moment. The first moment is stored divided by the root of
    the columns' means, in 126 levels either side of zero, with a scale for each row: in that unit, columns of small
    gradients don't vanish next to those of large ones. A weight moves by the value before rounding. Other weights
    (vectors, and matrices with a side too short to gain from it) keep both moments in full, in float32, and move as
    with Adam.

    Rounding to the nearest level would lose every change below half a level, which a decay of 0.9 makes of any gradient
    that differs from its mean by under five levels: the moment would stall. A dither is added before rounding down
    instead. It steps through [0, 1) by the golden ratio, with a different phase for each element: rounding is
    unbiased, errors cancel over the steps that a moment lasts, and the same step always rounds the same way.

    The second moment decays as Adam's with its bias correction, there are no relative step sizes and no scaling by the
    parameters, and weight decay is decoupled. Epsilon is used as in Adafactor, which keeps the moment factored: its
    square is added to the squared gradients.

    Args:
        learning_rate: float, or a schedule.
        beta_1: float in [0, 1), decay of the first moment.
        beta_2: float in [0, 1), decay of the second moment.
        epsilon: float of at least 1e-18; gradients far below it hardly move a weight.
        clip_threshold: float, largest root mean square of a weight's gradients over the roots of their second
            moments, above which the gradients are scaled down; None = no limit.
        min_factored_dim: int, the smallest shorter side of a matrix that is factored. Matrices are the last two axes
            that are longer than one; further axes count matrices.
        weight_decay: float, share of the weights that a learning rate of 1 removes at every step; None = 0.
        **kwargs: further arguments of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: an argument is out of range.

    References:
        Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980, algorithm 1.
        Shazeer and Stern, 2018, https://arxiv.org/abs/1804.04235, algorithms 1 and 4.
        Yu et al., 2022, https://arxiv.org/abs/2110.04627, section 5.2.
    """

    def __init__(
        self,
        learning_rate,
        beta_1=0.9,
        beta_2=0.96,
        epsilon=1e-8,
        clip_threshold=None,
        min_factored_dim=32,
        weight_decay=None,
        name="factored_adam",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, name=name, **kwargs)
        for label, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= beta < 1:
                raise ValueError(f"{label} must be in [0, 1), not {beta}")
        if epsilon < 1e-18:
            raise ValueError(f"epsilon must be at least 1e-18, since its square is a float32; it is {epsilon}")
        if clip_threshold is not None and clip_threshold <= 0:
            raise ValueError(f"clip_threshold must be None or above 0, not {clip_threshold}")
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.clip_threshold = clip_threshold
        self.min_factored_dim = min_factored_dim

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._slots = [self._make_slots(variable) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        slots = self._slots[self._get_variable_index(variable)]
        gradient = ops.cast(ops.convert_to_tensor(gradient), "float32")
        step = ops.cast(self.iterations + 1, "float32")
        rate = ops.cast(learning_rate, "float32") / (1 - ops.power(self.beta_1, step))
        # Adam's decay and its bias correction combined: the first step keeps nothing older.
        mixed = (1 - self.beta_2) / (1 - ops.power(self.beta_2, step))
        if "scale" in slots:
            update = self._factored_update(ops.reshape(gradient, slots["momentum"].shape), slots, mixed, rate)
            update = ops.reshape(update, variable.shape)
        else:
            update = self._full_update(gradient, slots, mixed, rate)
        self.assign_sub(variable, update)

    def moments(self, variable):
        """The moments stored for a weight.

        Args:
            variable: one of the weights that the optimizer was built with.

        Returns:
            float32 first moment and float32 second moment, both of the weight's shape. The second one includes Adam's
            bias correction, the first one doesn't.
        """
        slots = self._slots[self._get_variable_index(variable)]
        momentum = ops.cast(slots["momentum"], "float32")
        if "scale" not in slots:
            return momentum, ops.convert_to_tensor(slots["second_moment"])
        rows, columns = ops.convert_to_tensor(slots["rows"]), ops.convert_to_tensor(slots["columns"])[..., None, :]
        momentum = momentum * ops.convert_to_tensor(slots["scale"])[..., None] * ops.sqrt(columns)
        second = (rows / ops.mean(rows, axis=-1, keepdims=True))[..., None] * columns
        return ops.reshape(momentum, variable.shape), ops.reshape(second, variable.shape)

    def _make_slots(self, variable):
        name = variable.path.replace("/", "_")
        return {
            slot: self.add_variable(shape=shape, dtype=dtype, name=f"{name}_{slot}")
            for slot, (shape, dtype) in slot_shapes(variable.shape, self.min_factored_dim).items()
        }

    def _full_update(self, gradient, slots, mixed, rate):
        squared = ops.square(gradient) + self.epsilon**2
        second = _moved(slots["second_moment"], squared, mixed)
        gradient = self._clipped(gradient, lambda: ops.square(gradient) / second)
        momentum = _moved(slots["momentum"], gradient, 1 - self.beta_1)
        self.assign(slots["second_moment"], second)
        self.assign(slots["momentum"], momentum)
        return rate * momentum * ops.rsqrt(second)

    def _factored_update(self, gradient, slots, mixed, rate):
        squared = ops.square(gradient)
        old_columns = ops.convert_to_tensor(slots["columns"])
        rows = _moved(slots["rows"], ops.mean(squared, axis=-1) + self.epsilon**2, mixed)
        columns = _moved(old_columns, ops.mean(squared, axis=-2) + self.epsilon**2, mixed)
        row_factor = ops.rsqrt(rows / ops.mean(rows, axis=-1, keepdims=True))[..., None]
        column_factor = ops.rsqrt(columns)[..., None, :]
        gradient = self._clipped(gradient, lambda: squared * ops.square(row_factor) * ops.square(column_factor))
        # The first moment in units of the columns' roots. Factors are applied to the vectors, where they cost nothing.
        decayed = (self.beta_1 / (1 - self.beta_1)) * ops.convert_to_tensor(slots["scale"])[..., None]
        momentum = ops.cast(slots["momentum"], "float32") * decayed * ops.sqrt(old_columns)[..., None, :] + gradient
        momentum = momentum * ((1 - self.beta_1) * column_factor)
        largest = ops.maximum(ops.max(momentum, axis=-1), -ops.min(momentum, axis=-1))
        scale = ops.maximum(largest, SMALLEST_SCALE) / LEVELS
        levels = _rounded(momentum * (1 / scale)[..., None], self.iterations)
        for slot, value in (("momentum", levels), ("scale", scale), ("rows", rows), ("columns", columns)):
            self.assign(slots[slot], value)
        return momentum * (rate * row_factor)

    def _clipped(self, gradient, squared_update):
        """The gradient, scaled down so that the mean of `squared_update()` is at most the threshold's square."""
        if self.clip_threshold is None:
            return gradient
        size = ops.sqrt(ops.mean(squared_update()))
        return gradient / ops.maximum(size / self.clip_threshold, 1.0)

    def get_config(self):
        names = ("beta_1", "beta_2", "epsilon", "clip_threshold", "min_factored_dim")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def slot_shapes(shape, min_factored_dim=32):
    """The state that `FactoredAdam` keeps for a weight.

    Args:
        shape: tuple of int.
        min_factored_dim: as of `FactoredAdam`.

    Returns:
        dict from the slot's name to its shape and type.
    """
    matrices = tuple(size for size in shape if size > 1)
    if len(matrices) < 2 or min(matrices[-2:]) < min_factored_dim:
        return {"momentum": (tuple(shape), "float32"), "second_moment": (tuple(shape), "float32")}
    *count, rows, columns = matrices
    return {
        "momentum": (matrices, "int8"),
        "scale": ((*count, rows), "float32"),
        "rows": ((*count, rows), "float32"),
        "columns": ((*count, columns), "float32"),
    }


def planned_state_bytes(shapes, min_factored_dim=32):
    """Memory of `FactoredAdam`'s state for weights that need not exist.

    Args:
        shapes: iterable of tuples of int.
        min_factored_dim: as of `FactoredAdam`.

    Returns:
        int, bytes, except for the few of the step counter and the learning rate.
    """
    slots = (slot for shape in shapes for slot in slot_shapes(shape, min_factored_dim).values())
    return sum(_bytes(shape, dtype) for shape, dtype in slots)


def state_bytes(optimizer):
    """Memory of any built Keras optimizer's state on one replica: int, bytes."""
    return sum(_bytes(variable.shape, variable.dtype) for variable in optimizer.variables)


def state_bytes_per_parameter(optimizer, variables):
    """Memory of any built Keras optimizer's state over the number of weights that it moves: float, bytes."""
    return state_bytes(optimizer) / sum(math.prod(variable.shape) for variable in variables)


def _bytes(shape, dtype):
    return math.prod(shape) * np.dtype(keras.backend.standardize_dtype(dtype)).itemsize


def _moved(average, value, share):
    """A decayed mean, updated with a share of the new value."""
    return average + share * (value - average)


def _rounded(values, step):
    """Values rounded down with a dither: int8, of the shape [..., rows, columns] of the float32 values."""
    *_, rows, columns = values.shape
    # All rows reuse the phases of a few: a number that divides the rows, so that the sum needs no copies.
    dither = _dither(step, math.gcd(rows, DITHER_ROWS), columns)
    levels = ops.floor(ops.reshape(values, (-1, *dither.shape)) + dither)
    return ops.reshape(ops.cast(levels, "int8"), values.shape)


def _dither(step, rows, columns):
    """The dither added before rounding down: float32 [rows, columns] in [0, 1).

    Over the steps, each element goes through equally spaced values. The three constants are fractions of the golden
    ratio and of its analogue in two dimensions.
    """
    # 20251 / 2^15 is the golden ratio's fraction; in integers, since a float32 step count would lose it.
    moved = ops.cast(ops.cast(step, "int32") % 2**15 * 20251 % 2**15, "float32") / 2**15
    row_phases = np.arange(rows) * 0.7548776662466927
    column_phases = np.arange(columns) * 0.5698402909980532
    phases = ((row_phases[:, None] + column_phases) % 1).astype("float32") + moved
    return phases - ops.floor(phases)
