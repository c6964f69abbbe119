"""The terms of the tokenizer's loss over several steps: their sum, LeCAM's averages, the annealed temperature."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.testing import replace
from tests.training.tokenizer_training import build_trainer, fit, gradients_seen, sgd, simple_config


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(size=(8, 8, 8, 3)).astype("float32")


def with_quantizer(config, **changes):
    return replace(config, model={"quantizer": dataclasses.replace(config.model.quantizer, **changes)})


def distance(images, reconstructions):
    """Replaces the perceptual distance, with values other than the squared error."""
    return 7 * tf.reduce_mean(tf.abs(images - reconstructions), axis=[1, 2, 3])


@pytest.mark.parametrize(
    ("kind", "quantizer_terms", "adaptive"),
    [
        ("vq", {"codebook_loss": 0.9, "commitment_loss": 0.25}, False),
        ("vq", {"codebook_loss": 0.9, "commitment_loss": 0.25}, True),
        ("gumbel", {"prior_loss": 0.2}, False),
        ("lfq", {"commitment_loss": 0.25, "entropy_loss": 0.3}, False),
    ],
    ids=["vq", "vq-adaptive", "gumbel", "lfq"],
)
def test_the_loss_is_the_weighted_sum_of_its_terms(images, kind, quantizer_terms, adaptive):
    others = {"l1_loss": 0.4, "l2_loss": 0.8, "logit_laplace_loss": 0.01, "perceptual_loss": 0.3}
    weights = quantizer_terms | others
    config = with_quantizer(simple_config(), kind=kind, codebook_size=16)
    config = replace(
        config, losses={f"{name.removesuffix('_loss')}_weight": weight for name, weight in weights.items()}
    )
    config = replace(config, losses={"adversarial_weight": 0.6, "adaptive_weight": adaptive})

    metrics = fit(build_trainer(config, sgd, perceptual=distance), images, 1)

    parts = {name: weight * metrics[f"tokenizer/{name}"] for name, weight in weights.items()}
    parts["generator_loss"] = metrics["tokenizer/adversarial_weight"] * metrics["tokenizer/generator_loss"]
    # Each part is much larger than the tolerance.
    assert all(abs(part) > 1e-3 for part in parts.values()), parts
    assert metrics["tokenizer/loss"] == pytest.approx(sum(parts.values()), abs=1e-5)
    assert (metrics["tokenizer/adversarial_weight"] == pytest.approx(0.6)) == (not adaptive)


@pytest.mark.slow
def test_lecam_compares_with_averages_of_the_other_sides_logits_that_are_corrected_for_their_start_at_zero(images):
    decay, weight = 0.5, 3.0
    config = replace(
        simple_config(),
        losses={"adversarial_loss": "least_squares", "lecam_weight": weight, "lecam_decay": decay},
    )
    trainer = build_trainer(config, sgd)
    discriminator = trainer.discriminator
    # Far from 0, so that an uncorrected average is a different number.
    discriminator.trainable_variables[-1].assign([1.0])
    past = []
    for step in range(3):
        generated = trainer.tokenizer(images).images
        with tf.GradientTape() as tape:
            real, fake = discriminator(images), discriminator(generated)
            loss = tf.reduce_mean((real - 1) ** 2) / 2 + tf.reduce_mean(fake**2) / 2
            if step == 1:
                real_mean, fake_mean = past[0]
            elif step == 2:
                # Weights 1/4 and 1/2, which are 3/4 together.
                real_mean, fake_mean = (past[0] + 2 * past[1]) / 3
            if step:
                loss += weight * tf.reduce_mean(tf.nn.relu(real - fake_mean) ** 2)
                loss += weight * tf.reduce_mean(tf.nn.relu(real_mean - fake) ** 2)
        past.append(np.array([np.mean(real), np.mean(fake)]))
        expected = tape.gradient(loss, [each.value for each in discriminator.trainable_variables])
        before = [each.numpy() for each in discriminator.trainable_variables]

        fit(trainer, images, 1)

        seen = gradients_seen(before, [each.numpy() for each in discriminator.trainable_variables])
        for variable, wanted, got in zip(discriminator.trainable_variables, expected, seen, strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-5, err_msg=f"step {step}: {variable.path}")
    assert abs(past[0][0] - past[0][1]) > 0.01


def test_the_temperature_falls_by_half_a_cosine_and_stays(images):
    config = with_quantizer(
        simple_config(), kind="gumbel", gumbel_temperature=2.0, gumbel_final_temperature=0.5, gumbel_anneal_steps=2
    )
    # The squared error only, large enough for gradients far above rounding.
    others = dict.fromkeys(["adversarial_weight", "logit_laplace_weight", "prior_weight"], 0.0)
    config = replace(config, losses={"l2_weight": 1000.0} | others)
    trainer = build_trainer(config, sgd)
    tokenizer = trainer.tokenizer
    weights = tokenizer.encoder.trainable_variables
    # At the start, at half, at the end and after it.
    for step, temperature in enumerate([2.0, 1.25, 0.5, 0.5]):
        with tf.GradientTape() as tape:
            outputs = tokenizer(images, seed=trainer.step_seed(), temperature=temperature)
            loss = 1000 * tf.reduce_mean((images - outputs.images) ** 2)
        expected = tape.gradient(loss, [weight.value for weight in weights])
        before = [weight.numpy() for weight in weights]

        fit(trainer, images, 1)

        seen = gradients_seen(before, [weight.numpy() for weight in weights])
        largest = max(np.abs(gradient).max() for gradient in seen)
        for weight, wanted, got in zip(weights, expected, seen, strict=True):
            np.testing.assert_allclose(
                got, tf.convert_to_tensor(wanted), atol=largest / 100, err_msg=f"step {step}: {weight.path}"
            )
