"""Memory of optimizers' state: FactoredAdam's on the paper's model, compared with AdamW's."""

import math

import keras
import numpy as np
import pytest

from vim_tf.models.language_model import LanguageModel
from vim_tf.training.factored_adam import (
    FactoredAdam,
    planned_state_bytes,
    slot_shapes,
    state_bytes,
    state_bytes_per_parameter,
)
from vim_tf.training.schedules import WarmupThenDecay


def language_model(**sizes):
    settings = {"depth": 1, "num_classes": 1000, "dropout": 0.1} | sizes
    return LanguageModel(**settings)


def vim_base_shapes():
    """Shapes of VIM-Base's weights, for 1024 tokens of 8192 codes, without creating them."""
    with keras.StatelessScope(initialize_variables=False):
        model = language_model(
            grid_height=32,
            grid_width=32,
            codebook_size=8192,
            num_layers=24,
            num_heads=16,
            hidden_dim=1536,
            mlp_dim=6144,
        )
        model.build()
        return [tuple(weight.shape) for weight in model.trainable_weights]


def test_vim_base_needs_little_more_than_a_byte_per_parameter():
    shapes = vim_base_shapes()
    parameters = sum(map(math.prod, shapes))
    assert 700e6 < parameters < 715e6
    assert 1.0 < planned_state_bytes(shapes) / parameters < 1.02


def test_a_matrix_by_hand():
    # int8 values, a scale and a mean for each of 40 rows, a mean for each of 50 columns; a vector has two floats.
    assert planned_state_bytes([(40, 50)]) == 40 * 50 + 4 * (40 + 40 + 50)
    assert planned_state_bytes([(50,), (31, 50)]) == 8 * 50 + 8 * 31 * 50
    assert slot_shapes((3, 1, 40, 50))["scale"] == ((3, 40), "float32")


def test_the_plan_is_what_a_built_optimizer_holds():
    model = language_model(
        grid_height=4, grid_width=8, codebook_size=64, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64
    )
    model.build()
    weights = model.trainable_weights
    optimizer = FactoredAdam(WarmupThenDecay(0.1, 2, "constant", 0, 0.1, 5))
    optimizer.build(weights)
    counter = 8
    assert state_bytes(optimizer) == planned_state_bytes([tuple(w.shape) for w in weights]) + counter
    assert state_bytes_per_parameter(optimizer, weights) == state_bytes(optimizer) / model.count_params()


def test_adamw_needs_eight_bytes_per_parameter():
    weights = [keras.Variable(np.zeros((400, 500), "float32"))]
    optimizer = keras.optimizers.AdamW(0.1)
    optimizer.build(weights)
    assert state_bytes_per_parameter(optimizer, weights) == pytest.approx(8, rel=1e-3)
