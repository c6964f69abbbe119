"""Dropout, attention and the Transformer block: PyTorch's values and what the seeds do."""

import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.models.layers import (
    SeededDropout,
    SelfAttention,
    TransformerBlock,
    in_sequence,
    keep_mask,
    seed_for,
    stateless_uniform,
)

REFERENCES = pathlib.Path(__file__).parents[1] / "references"
WEIGHTS = {
    "attention_norm": ("gamma", "beta"),
    "attention/query_key_value": ("kernel", "bias"),
    "attention/output_projection": ("kernel", "bias"),
    "mlp_norm": ("gamma", "beta"),
    "mlp_in": ("kernel", "bias"),
    "mlp_out": ("kernel", "bias"),
}


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCES / "transformer_block.npz") as arrays:
        return dict(arrays)


def block_of(reference, causal):
    block = TransformerBlock(num_heads=2, mlp_dim=12, causal=causal)
    block.build(reference["inputs"].shape)
    for path, names in WEIGHTS.items():
        layer = block
        for part in path.split("/"):
            layer = getattr(layer, part)
        for name in names:
            getattr(layer, name).assign(reference[f"{path}/{name}"])
    return block


@pytest.mark.parametrize(("name", "causal"), [("full", False), ("causal", True)])
class TestBlockAgainstPyTorch:
    def test_outputs_agree(self, reference, name, causal):
        outputs = block_of(reference, causal)(reference["inputs"])
        np.testing.assert_allclose(outputs, reference[name], rtol=1e-5, atol=1e-5)

    def test_gradients_agree(self, reference, name, causal):
        block, inputs = block_of(reference, causal), tf.constant(reference["inputs"])
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            scalar = tf.reduce_sum(block(inputs) * reference["probe"])
        np.testing.assert_allclose(tape.gradient(scalar, inputs), reference[f"{name}_gradient"], rtol=1e-4, atol=1e-5)


def test_a_block_step_by_step_equals_the_causal_block(reference):
    block = block_of(reference, causal=True)
    inputs = tf.constant(reference["inputs"])
    cache = (tf.zeros([2, 2, 5, 4]), tf.zeros([2, 2, 5, 4]))
    for position in range(5):
        output, cache = block.step(inputs[:, position : position + 1], cache, tf.constant(position))
        np.testing.assert_allclose(output[:, 0], reference["causal"][:, position], rtol=1e-5, atol=1e-5)


def test_a_step_ignores_what_later_positions_hold(reference):
    block = block_of(reference, causal=True)
    inputs = tf.constant(reference["inputs"])[:, :1]
    empty, dirty = (tf.zeros([2, 2, 5, 4]),) * 2, (tf.fill([2, 2, 5, 4], 7.0),) * 2
    outputs = [block.step(inputs, cache, tf.constant(0))[0] for cache in (empty, dirty)]
    np.testing.assert_array_equal(*outputs)


class TestOptions:
    INPUTS = np.linspace(-3, 3, 7)

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("gelu", [x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in INPUTS]),
            ("relu", np.maximum(INPUTS, 0)),
            ("tanh", np.tanh(INPUTS)),
        ],
    )
    def test_activations_are_the_exact_ones(self, name, expected):
        block = TransformerBlock(num_heads=1, mlp_dim=7, mlp_activation=name)
        block.build((None, 1, 7))
        block.mlp_in.kernel.assign(np.eye(7))
        np.testing.assert_allclose(block.mlp_in(self.INPUTS[None, None])[0, 0], expected, rtol=1e-5, atol=1e-6)

    def test_without_a_bias_only_the_output_has_one(self):
        attention = SelfAttention(num_heads=2, qkv_bias=False)
        attention.build((None, 3, 8))
        shapes = {weight.path.split("/", 1)[1]: tuple(weight.shape) for weight in attention.weights}
        assert shapes == {
            "query_key_value/kernel": (8, 24),
            "output_projection/kernel": (8, 8),
            "output_projection/bias": (8,),
        }

    def test_heads_may_be_narrower_in_all_than_the_inputs(self):
        attention = SelfAttention(num_heads=2, head_dim=3)
        attention.build((None, 4, 10))
        assert attention.query_key_value.kernel.shape == (10, 18)
        assert attention.output_projection.kernel.shape == (6, 10)
        assert attention(tf.ones([1, 4, 10])).shape == (1, 4, 10)

    def test_a_width_that_the_heads_divide_equally_is_the_default(self, reference):
        block, inputs = block_of(reference, causal=False), reference["inputs"]
        config = {**block.attention.get_config(), "head_dim": 4}
        attention = SelfAttention.from_config(config)
        attention.build(inputs.shape)
        for weight, other in zip(block.attention.weights, attention.weights, strict=True):
            other.assign(weight)
        np.testing.assert_array_equal(attention(inputs), block.attention(inputs))

    def test_the_config_makes_the_same_block(self):
        options = {"mlp_activation": "tanh", "qkv_bias": False, "head_dim": 3, "layer_norm_epsilon": 1e-5}
        config = TransformerBlock(2, 12, causal=True, dropout=0.1, **options).get_config()
        assert options.items() <= config.items()
        assert TransformerBlock.from_config(config).get_config() == config


@pytest.mark.parametrize("rematerialize", [False, True])
def test_layers_follow_each_other(rematerialize):
    layers = [lambda x: x + 1, lambda x: x * 3]
    assert in_sequence(layers, tf.constant(2.0), rematerialize) == 9


class TestDropout:
    SHAPE = (64, 101)

    def kept(self, rate, seed, shape=SHAPE):
        return keep_mask(shape, rate, tf.constant(seed)).numpy()

    def test_the_mask_is_a_function_of_the_seed(self):
        np.testing.assert_array_equal(self.kept(0.5, [3, 4]), self.kept(0.5, [3, 4]))

    @pytest.mark.parametrize("other", [[4, 4], [3, 5]])
    def test_another_seed_gives_an_unrelated_mask(self, other):
        agreement = np.mean(self.kept(0.5, [3, 4]) == self.kept(0.5, other))
        # 6464 coin flips: five standard deviations are 0.031.
        assert abs(agreement - 0.5) < 0.031

    @pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
    def test_the_rate_is_right(self, rate):
        dropped = 1 - np.mean(self.kept(rate, [0, 1], (300, 333)))
        assert abs(dropped - rate) < 5 * np.sqrt(rate * (1 - rate) / (300 * 333))

    def test_neighbouring_elements_are_independent(self):
        # Two of them come out of the same 32 random bits.
        kept = self.kept(0.5, [0, 1], (300, 334))
        agreement = np.mean(kept[:, 0::2] == kept[:, 1::2])
        assert abs(agreement - 0.5) < 5 * 0.5 / np.sqrt(300 * 167)

    def test_kept_elements_are_scaled_so_that_the_mean_stays(self):
        outputs = SeededDropout(0.2)(tf.ones(self.SHAPE), seed=tf.constant([1, 2])).numpy()
        np.testing.assert_allclose(np.unique(outputs), [0.0, 1.25])

    def test_without_a_seed_nothing_is_dropped(self):
        inputs = tf.random.stateless_normal(self.SHAPE, [0, 0])
        np.testing.assert_array_equal(SeededDropout(0.2)(inputs), inputs)

    def test_rate_zero_drops_nothing(self):
        inputs = tf.random.stateless_normal(self.SHAPE, [0, 0])
        np.testing.assert_array_equal(SeededDropout(0.0)(inputs, seed=tf.constant([1, 2])), inputs)

    def test_a_dropped_infinity_becomes_zero_and_no_nan(self):
        outputs = SeededDropout(0.5)(tf.fill([1, 64], np.inf), seed=tf.constant([1, 2])).numpy()
        assert set(np.unique(outputs)) == {0.0, np.inf}

    def test_the_gradient_reaches_kept_elements_only(self):
        inputs = tf.ones([4, 9])
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = SeededDropout(0.5)(inputs, seed=tf.constant([1, 2]))
        np.testing.assert_array_equal(tape.gradient(outputs, inputs), outputs)

    def test_a_compiled_graph_draws_the_same_mask(self):
        mask = tf.function(lambda seed: keep_mask((4, 9), 0.5, seed), autograph=False)
        np.testing.assert_array_equal(mask(tf.constant([5, 6])), self.kept(0.5, [5, 6], (4, 9)))


def test_sites_have_different_seeds():
    # Site -1 would be the seed itself.
    sites = [-2, *range(50)]
    assert len({tuple(seed_for(tf.constant([5, 6]), site).numpy()) for site in sites} | {(5, 6)}) == len(sites) + 1


def test_without_a_seed_a_site_has_none():
    assert seed_for(None, 3) is None


def test_random_numbers_are_in_the_unit_interval():
    numbers = stateless_uniform((1000,), tf.constant([1, 2])).numpy()
    assert 0 <= numbers.min() < 0.01 < 0.99 < numbers.max() < 1


def test_a_block_drops_at_three_places_with_different_masks(monkeypatch):
    """Attention output, activations and feed-forward output each get a different seed."""
    block = TransformerBlock(num_heads=2, mlp_dim=8, dropout=0.5)
    block.build((1, 3, 8))
    seeds = []
    dropout = block.seeded_dropout
    monkeypatch.setattr(dropout, "call", lambda inputs, seed=None: seeds.append(tuple(seed.numpy())) or inputs)
    block(tf.ones([1, 3, 8]), seed=tf.constant([1, 2]))
    assert len(seeds) == len(set(seeds)) == 3
