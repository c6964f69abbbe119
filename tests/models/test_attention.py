"""Attention's two forms, the CPU's and the fused one, against the plain formula, and the choice between them."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.formulas import assert_close, normal, plain_attention, value_and_gradients
from vim_tf.models import attention, cpu, devices
from vim_tf.models.attention import attend, attend_fused
from vim_tf.models.language_model import LanguageModel

CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])


@CAUSAL
class TestForms:
    # From 128 positions on, the CPU's causal form uses blocks.
    @pytest.mark.parametrize("length", [5, 128])
    def test_values_and_gradients_are_those_of_the_plain_formula(self, causal, length):
        projected = normal(2, length, 3 * 2 * 4)
        plain = value_and_gradients(lambda x: plain_attention(x, 2, causal), projected)
        for form in (cpu.attend, attend_fused):
            assert_close(value_and_gradients(lambda x, form=form: form(x, 2, causal), projected), plain)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_half_precision_keeps_its_type_and_comes_as_close_to_float32(self, causal, dtype):
        projected = tf.cast(normal(2, 16, 3 * 8), dtype)
        exact = value_and_gradients(lambda x: plain_attention(x, 2, causal), tf.cast(projected, tf.float32))
        for form in (cpu.attend, attend_fused):
            outputs, gradient = value_and_gradients(lambda x, form=form: form(x, 2, causal), projected)
            assert outputs.dtype == gradient.dtype == dtype
            half = [tf.cast(each, tf.float32) for each in (outputs, gradient)]
            assert_close(half, exact, tolerance=0.04 if dtype == "bfloat16" else 0.005)

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_the_fused_form_compiles_under_xla_with_any_batch(self, causal, dtype):
        @tf.function(jit_compile=True, autograph=False, input_signature=[tf.TensorSpec([None, 16, 24], dtype)])
        def compiled(x):
            return value_and_gradients(lambda y: attend_fused(y, 2, causal), x)

        for batch in (1, 3):
            projected = tf.cast(normal(batch, 16, 24), dtype)
            ours = [tf.cast(each, tf.float32) for each in compiled(projected)]
            eager = value_and_gradients(lambda x: attend_fused(x, 2, causal), projected)
            tolerance = 1e-5 if dtype == "float32" else 0.04
            assert_close(ours, [tf.cast(each, tf.float32) for each in eager], tolerance)


@pytest.fixture
def called(monkeypatch):
    """The names of the forms that were called."""
    names = []
    monkeypatch.setattr(cpu, "attend", lambda *arguments: names.append("cpu"))
    monkeypatch.setattr(attention, "attend_fused", lambda *arguments: names.append("fused"))
    return names


class TestChoice:
    @pytest.mark.parametrize(
        ("seen", "form"),
        [(["CPU"], "cpu"), (["CPU", "CPU"], "cpu"), (["CPU", "GPU"], "fused"), (["CPU", "TPU"], "fused")],
    )
    def test_an_accelerator_that_tensorflow_sees_takes_the_fused_form(self, monkeypatch, called, seen, form):
        found = [tf.config.LogicalDevice(f"/device:{kind}:{i}", kind) for i, kind in enumerate(seen)]
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda: found)
        assert devices.on_cpu() == (form == "cpu")
        attend(normal(1, 2, 12), 2)
        assert called == [form]

    def test_a_language_model_and_its_gradients_are_the_same_in_either_form(self, monkeypatch):
        model = LanguageModel(
            2, 4, 1, codebook_size=5, num_classes=3, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16
        )
        model.build()
        tokens, labels = np.arange(24).reshape(3, 8) % 5, np.array([0, 2, 3])

        def logits_and_gradients():
            with tf.GradientTape() as tape:
                logits = model(tokens, labels)
                loss = tf.reduce_sum(logits * normal(3, 8, 5))
            gradients = tape.gradient(loss, model.trainable_variables)
            return [logits, *(tf.convert_to_tensor(each) for each in gradients)]

        ours = logits_and_gradients()
        monkeypatch.setattr(devices, "on_cpu", lambda: False)
        assert_close(logits_and_gradients(), ours)
