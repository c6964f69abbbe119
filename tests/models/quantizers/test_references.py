"""Every kind of quantizer against PyTorch: tokens, values and gradients."""

import pathlib
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.models.quantizers import gumbel, make_quantizer

REFERENCES = pathlib.Path(__file__).parents[2] / "references"


class Case(NamedTuple):
    """One set of results in a reference file, and the quantizer that should give it."""

    file: str
    form: str
    kind: str
    settings: dict
    weights: tuple = ("codebook",)


def vector_case(form, kind="vq", **settings):
    return Case("quantizer", form, kind, {"codebook_size": 7, "codebook_dim": 4, **settings})


GUMBEL_WEIGHTS = ("codebook", "logits_kernel", "logits_bias")
LFQ = {"entropy_temperature": 0.8}
CASES = {
    "vq": vector_case("plain_latents", l2_normalize=False),
    "vq, gradient to the compared": vector_case("plain", l2_normalize=False, straight_through="normalized"),
    "vq normalized": vector_case("normalized_latents"),
    "vq normalized, gradient to the compared": vector_case("normalized", straight_through="normalized"),
    "ema": vector_case("plain_latents", "ema", l2_normalize=False, ema_decay=0.9),
    "ema normalized": vector_case("normalized_latents", "ema", ema_decay=0.9),
    "gumbel drawn": Case(
        "quantizer_gumbel", "drawn", "gumbel", {"codebook_size": 7, "codebook_dim": 4}, GUMBEL_WEIGHTS
    ),
    "gumbel likeliest": Case(
        "quantizer_gumbel", "likeliest", "gumbel", {"codebook_size": 7, "codebook_dim": 4}, GUMBEL_WEIGHTS
    ),
    "residual": Case("quantizer_residual", "", "residual", {"codebook_size": 6, "codebook_dim": 4, "depth": 3}),
    "fsq": Case(
        "quantizer_fsq", "", "fsq", {"codebook_size": 960, "codebook_dim": 5, "fsq_levels": (8, 5, 4, 3, 2)}, ()
    ),
    "lfq of one bit": Case("quantizer_lfq", "1", "lfq", {"codebook_size": 2, "codebook_dim": 1, **LFQ}, ()),
    "lfq of five bits": Case("quantizer_lfq", "5", "lfq", {"codebook_size": 32, "codebook_dim": 5, **LFQ}, ()),
}


def quantizer_of(case, arrays):
    quantizer = make_quantizer(case.kind, **case.settings)
    quantizer.build()
    for name in case.weights:
        getattr(quantizer, name).assign(arrays[name])
    return quantizer


@pytest.fixture(scope="module", params=CASES)
def trial(request):
    """The quantizer of a case, the case's arrays by their bare names, and the call arguments."""
    case = CASES[request.param]
    with np.load(REFERENCES / f"{case.file}.npz") as arrays:
        arrays = {key.removeprefix(f"{case.form}/"): value for key, value in arrays.items()}
    drawn = case.form == "drawn"
    arguments = {"seed": tf.constant([1, 2]), "temperature": float(arrays["temperature"])} if drawn else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gumbel, "stateless_uniform", lambda shape, seed: tf.constant(arrays["uniform"]))
        yield quantizer_of(case, arrays), arrays, arguments


def test_tokens_agree(trial):
    quantizer, arrays, arguments = trial
    tokens = quantizer(tf.constant(arrays["latents"]), **arguments).tokens
    assert tokens.dtype == tf.int32
    np.testing.assert_array_equal(tokens, arrays["tokens"])


def test_tokens_are_those_of_the_call(trial):
    quantizer, arrays, _ = trial
    np.testing.assert_array_equal(quantizer.tokens(arrays["latents"]), quantizer(arrays["latents"]).tokens)


def test_values_agree(trial):
    quantizer, arrays, arguments = trial
    outputs = quantizer(tf.constant(arrays["latents"]), **arguments)
    np.testing.assert_allclose(outputs.quantized, arrays["quantized"], rtol=1e-5, atol=1e-6)
    for name, loss in outputs.losses.items():
        np.testing.assert_allclose(loss, arrays[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_tokens_look_up_what_the_decoder_was_fed(trial):
    quantizer, arrays, arguments = trial
    outputs = quantizer(tf.constant(arrays["latents"]), **arguments)
    np.testing.assert_allclose(quantizer.lookup(outputs.tokens), outputs.quantized, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["plain", "XLA"])
def test_gradients_agree(trial, jit_compile):
    quantizer, arrays, arguments = trial
    latents, probe = tf.constant(arrays["latents"]), tf.constant(arrays["probe"])
    sources = {weight.name: weight.value for weight in quantizer.trainable_weights}

    @tf.function(jit_compile=jit_compile)
    def gradients(latents):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(latents)
            outputs = quantizer(latents, **arguments)
            scalars = {"quantized": tf.reduce_sum(outputs.quantized * probe), **outputs.losses}
        zero = tf.UnconnectedGradients.ZERO
        return {
            f"{name}/{of}": tf.convert_to_tensor(tape.gradient(scalar, source, unconnected_gradients=zero))
            for name, scalar in scalars.items()
            for of, source in {"latents": latents, **sources}.items()
        }

    for name, gradient in gradients(latents).items():
        np.testing.assert_allclose(gradient, arrays[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("form", ["plain", "normalized"])
def test_moving_averages_follow_the_reference(form):
    with np.load(REFERENCES / "quantizer_ema.npz") as arrays:
        arrays = dict(arrays)
    settings = {"codebook_size": 9, "codebook_dim": 4, "ema_decay": float(arrays["decay"])}
    quantizer = make_quantizer("ema", **settings, l2_normalize=form == "normalized")
    quantizer.build()
    quantizer.codebook.assign(arrays["codebook"])
    for step, batch in enumerate(arrays["batches"]):
        tokens = quantizer.tokens(batch)
        np.testing.assert_array_equal(tokens, arrays[f"{form}/tokens"][step])
        quantizer.update(quantizer.statistics(batch, tokens))
        codebook = arrays[f"{form}/codebooks"][step]
        np.testing.assert_allclose(quantizer.codebook, codebook, rtol=1e-5, atol=1e-6, err_msg=f"step {step}")
    np.testing.assert_allclose(quantizer.counts, arrays[f"{form}/counts"], rtol=1e-5)
    np.testing.assert_allclose(quantizer.sums, arrays[f"{form}/sums"], rtol=1e-5, atol=1e-6)
