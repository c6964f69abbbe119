"""Properties of every kind of quantizer, and the search for the nearest code."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vim_tf.models.quantizers import make_quantizer, normalize
from vim_tf.models.quantizers.base import BLOCK, first_argmax, nearest_codes, pass_straight_through

SETTINGS = {
    "vq": {"codebook_size": 16, "codebook_dim": 4, "straight_through": "normalized"},
    "ema": {"codebook_size": 16, "codebook_dim": 4, "ema_decay": 0.9, "l2_normalize": False},
    "gumbel": {"codebook_size": 16, "codebook_dim": 4},
    "residual": {"codebook_size": 16, "codebook_dim": 4, "depth": 3},
    "fsq": {"codebook_size": 24, "codebook_dim": 3, "fsq_levels": (2, 4, 3)},
    "lfq": {"codebook_size": 16, "codebook_dim": 4, "entropy_temperature": 0.5},
}


@keras.saving.register_keras_serializable(package="tests")
class Shell(keras.Model):
    """A model around a quantizer, of any precision."""

    def __init__(self, quantizer, **kwargs):
        super().__init__(**kwargs)
        self.quantizer = quantizer

    def build(self, input_shape=None):
        if not self.quantizer.built:
            self.quantizer.build()
        self.built = True

    def call(self, latents):
        return self.quantizer(latents)

    def get_config(self):
        return {**super().get_config(), "quantizer": keras.saving.serialize_keras_object(self.quantizer)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "quantizer": keras.saving.deserialize_keras_object(config["quantizer"])})


def latents_for(kind, batch=2, length=6):
    shape = (batch, length, SETTINGS[kind]["codebook_dim"])
    return tf.constant(np.random.default_rng(3).normal(size=shape), tf.float32)


@pytest.fixture(params=SETTINGS)
def quantizer(request):
    quantizer = make_quantizer(request.param, **SETTINGS[request.param])
    quantizer.build()
    return request.param, quantizer


def test_the_outputs_are_those_that_the_interface_promises(quantizer):
    kind, quantizer = quantizer
    outputs = quantizer(latents_for(kind))
    assert outputs.quantized.shape == (2, 6, quantizer.codebook_dim)
    assert outputs.quantized.dtype == tf.float32
    assert outputs.tokens.shape == (2, 6 * quantizer.depth)
    assert outputs.tokens.dtype == quantizer.tokens(latents_for(kind)).dtype == tf.int32
    assert tuple(outputs.losses) == quantizer.loss_names
    assert all(loss.shape == () and loss.dtype == tf.float32 for loss in outputs.losses.values())


def test_the_length_of_a_batch_may_be_unknown_when_it_is_traced(quantizer):
    kind, quantizer = quantizer
    latents = latents_for(kind)
    traced = tf.function(quantizer, input_signature=[tf.TensorSpec([None, *latents.shape[1:]])])(latents)
    np.testing.assert_array_equal(traced.tokens, quantizer.tokens(latents))
    lookup = tf.function(quantizer.lookup, input_signature=[tf.TensorSpec([None, traced.tokens.shape[1]], tf.int32)])
    np.testing.assert_allclose(lookup(traced.tokens), traced.quantized, atol=1e-6)


def test_latents_that_are_nan_give_tokens_within_the_codebook(quantizer):
    # The step must survive until the check of the losses can report the one that failed.
    kind, quantizer = quantizer
    tokens = quantizer.tokens(latents_for(kind) * np.nan).numpy()
    assert kind in ("fsq", "lfq") or (tokens.min() >= 0 and tokens.max() < quantizer.codebook_size)


def test_the_config_comes_back_from_a_file_with_weights_and_outputs(quantizer, tmp_path):
    kind, quantizer = quantizer
    model = Shell(quantizer)
    model(latents_for(kind))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.quantizer.get_config() == quantizer.get_config()
    assert {**SETTINGS[kind], **quantizer.get_config()} == quantizer.get_config()
    for one, other in zip(*(keras.tree.flatten(each(latents_for(kind))) for each in (model, loaded)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_in_half_precision_gets_what_float32_gives(quantizer, policy):
    kind, quantizer = quantizer
    latents = tf.cast(latents_for(kind), tf.bfloat16 if policy == "mixed_bfloat16" else tf.float16)
    expected = quantizer(tf.cast(latents, tf.float32))
    twin = make_quantizer(kind, **SETTINGS[kind], dtype=policy)
    model = Shell(twin, dtype=policy)
    model.build()
    twin.set_weights(quantizer.get_weights())
    outputs = model(latents)
    assert outputs.quantized.dtype == tf.float32
    np.testing.assert_array_equal(outputs.tokens, expected.tokens)
    np.testing.assert_array_equal(outputs.quantized, expected.quantized)
    for name, loss in outputs.losses.items():
        np.testing.assert_array_equal(loss, expected.losses[name], err_msg=name)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("kind", ["vq", "ema", "residual"])
def test_codes_that_half_precision_cannot_distinguish_are_distinguished(kind, policy):
    # In bfloat16, 257 is 256: both codes would seem equally near.
    settings = {**SETTINGS[kind], "codebook_size": 2, "codebook_dim": 2}
    settings |= {"depth": 1} if kind == "residual" else {"l2_normalize": False}
    quantizer = make_quantizer(kind, **settings, dtype=policy)
    model = Shell(quantizer, dtype=policy)
    model.build()
    quantizer.codebook.assign([[256.0, 0.0], [257.0, 1.0]])
    outputs = model(tf.constant([[[256.0, 1.0], [258.0, 1.0]]], tf.bfloat16))
    np.testing.assert_array_equal(outputs.tokens, [[0, 1]])
    np.testing.assert_array_equal(outputs.quantized, [[[256, 0], [257, 1]]])
    # And 256.6 is 256, nearer to the first code.
    assert quantizer(tf.constant([[[256.6, 0.9]]])).tokens.numpy() == [[1]]


@pytest.mark.parametrize("kind", ["gumbel", "fsq", "lfq"])
def test_kinds_whose_codes_are_not_latents_refuse_a_restart(kind):
    quantizer = make_quantizer(kind, **SETTINGS[kind])
    assert not quantizer.restartable
    with pytest.raises(NotImplementedError, match="no codes that can be set to latents"):
        quantizer.restart(None, None)
    with pytest.raises(NotImplementedError, match="no codes that can be set to latents"):
        quantizer.restart_candidates(latents_for(kind))


def test_kinds_whose_codes_are_latents_say_so():
    kinds = {kind for kind, settings in SETTINGS.items() if make_quantizer(kind, **settings).restartable}
    assert kinds == {"vq", "ema", "residual"}


@pytest.mark.parametrize("kind", ["vq", "gumbel", "residual", "fsq", "lfq"])
def test_only_moving_averages_have_statistics(kind):
    quantizer = make_quantizer(kind, **SETTINGS[kind])
    quantizer.build()
    latents = latents_for(kind)
    before = [weight.numpy() for weight in quantizer.weights]
    assert quantizer.statistics(latents, quantizer.tokens(latents)) == {}
    quantizer.update({})
    for weight, old in zip(quantizer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="one of vq, ema, gumbel, residual, fsq, lfq, not 'pq'"):
        make_quantizer("pq", codebook_size=2, codebook_dim=1)


def test_an_argument_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="depth"):
        make_quantizer("vq", codebook_size=2, codebook_dim=1, depth=2)


@pytest.mark.parametrize("unit_length", [False, True])
def test_the_nearest_code_is_found_across_blocks(unit_length):
    random = np.random.default_rng(5)
    codes, vectors = random.normal(size=(2 * BLOCK + 100, 3)), random.normal(size=(4, 50, 3))
    if unit_length:
        codes /= np.linalg.norm(codes, axis=-1, keepdims=True)
    distances = ((vectors[:, :, None] - codes) ** 2).sum(-1)
    expected = distances.argmin(-1)
    assert (expected < BLOCK).any() and (expected >= 2 * BLOCK).any()
    found = nearest_codes(*(tf.constant(array, tf.float32) for array in (vectors, codes)), unit_length)
    np.testing.assert_array_equal(found, expected)


def test_of_equally_near_codes_in_two_blocks_the_lowest_wins():
    codes = np.full((2 * BLOCK, 1), 5.0, "float32")
    codes[[7, 9, BLOCK + 3]] = 1.0
    assert nearest_codes(tf.constant([[0.0]]), tf.constant(codes), False).numpy() == [7]


def test_first_argmax_is_the_lowest_index_of_the_largest_value():
    values = tf.constant([[1.0, 3.0, 3.0], [-1.0, -2.0, -1.0], [-np.inf, -np.inf, -np.inf]])
    np.testing.assert_array_equal(first_argmax(values), [1, 0, 0])


def test_a_straight_through_code_keeps_its_exact_value():
    # 1e8 + (1 - 1e8) would lose the 1.
    carrier = tf.constant([1e8])
    with tf.GradientTape() as tape:
        tape.watch(carrier)
        code = pass_straight_through(tf.constant([1.25]), carrier)
    assert code.numpy() == [1.25]
    assert tape.gradient(code, carrier).numpy() == [1.0]


def test_a_zero_vector_stays_zero():
    np.testing.assert_array_equal(normalize(tf.zeros([1, 3])), np.zeros([1, 3]))
