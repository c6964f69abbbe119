"""The tokenizer's training step: the value of each update, and that replicas don't change it."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.testing import assert_equal_weights, replace, tokenizer_config
from tests.training.tokenizer_training import (
    LEARNING_RATE,
    build_trainer,
    fit,
    gradients_seen,
    sgd,
    simple_config,
    without_restart,
)
from vim_tf.devices.strategies import build_strategy
from vim_tf.losses.adversarial import discriminator_loss, generator_loss, r1_penalty
from vim_tf.losses.reconstruction import l2_loss, logit_laplace_loss
from vim_tf.training.optimizers import build_optimizer


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(size=(8, 8, 8, 3)).astype("float32")


def test_generator_moves_down_the_weighted_sum_of_its_terms(images):
    config = simple_config()
    trainer = build_trainer(config, sgd)
    tokenizer, discriminator, losses = trainer.tokenizer, trainer.discriminator, config.losses
    with tf.GradientTape() as tape:
        outputs = tokenizer(images)
        total = (
            losses.l2_weight * l2_loss(images, outputs.images)
            + losses.logit_laplace_weight
            * logit_laplace_loss(images, outputs.location, outputs.log_scale, -2.0, losses.logit_laplace_margin)
            + losses.codebook_weight * outputs.quantized.losses["codebook_loss"]
            + losses.commitment_weight * outputs.quantized.losses["commitment_loss"]
            + losses.adversarial_weight * generator_loss(discriminator(outputs.images), "non_saturating")
        )
    expected = tape.gradient(total, [weight.value for weight in tokenizer.trainable_variables])
    before = [weight.numpy() for weight in tokenizer.trainable_variables]

    fit(trainer, images, 1)

    seen = gradients_seen(before, [weight.numpy() for weight in tokenizer.trainable_variables])
    for weight, wanted, got in zip(tokenizer.trainable_variables, expected, seen, strict=True):
        np.testing.assert_allclose(got, tf.convert_to_tensor(wanted), atol=2e-6, err_msg=weight.path)


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_discriminator_moves_down_its_loss_and_every_second_step_the_lazy_r1_penalty(images, gamma):
    config = without_restart(tokenizer_config("unused"))
    config = replace(config, losses={"r1_gamma": gamma, "r1_interval_steps": 2})
    trainer = build_trainer(config, sgd)
    discriminator = trainer.discriminator
    for step in range(3):
        generated = trainer.tokenizer(images).images
        with tf.GradientTape() as tape:
            loss = discriminator_loss(discriminator(images), discriminator(generated), "non_saturating")
            if step in (0, 2):
                # Every other step has no penalty, so each penalty counts double.
                loss += gamma / 2 * 2 * r1_penalty(discriminator, tf.constant(images))
        expected = tape.gradient(loss, [weight.value for weight in discriminator.trainable_variables])
        before = [weight.numpy() for weight in discriminator.trainable_variables]

        fit(trainer, images, 1)

        seen = gradients_seen(before, [weight.numpy() for weight in discriminator.trainable_variables])
        for weight, wanted, got in zip(discriminator.trainable_variables, expected, seen, strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-5, err_msg=f"step {step}: {weight.path}")


@pytest.mark.slow
def test_adversarial_term_is_zero_before_its_start_step(images):
    config = simple_config()
    late = replace(config, losses={"adversarial_start_step": 1})
    never = replace(config, losses={"adversarial_weight": 0.0})
    late_trainer, never_trainer = build_trainer(late, sgd), build_trainer(never, sgd)
    # The discriminator's initial weights must not change the tokenizer's.
    never_trainer.tokenizer.set_weights(late_trainer.tokenizer.get_weights())

    fit(late_trainer, images, 1)
    fit(never_trainer, images, 1)
    assert_equal_weights(late_trainer.tokenizer, never_trainer.tokenizer, tolerance=1e-7)

    fit(late_trainer, images, 1)
    fit(never_trainer, images, 1)
    with pytest.raises(AssertionError):
        assert_equal_weights(late_trainer.tokenizer, never_trainer.tokenizer, tolerance=1e-7)


@pytest.mark.slow
def test_codes_unused_for_the_limit_become_latents_of_the_batch(images):
    config = tokenizer_config("unused")
    trainer = build_trainer(config, sgd)
    limit = config.model.quantizer.restart_unused_steps
    fit(trainer, images, limit - 1)
    untouched = trainer.tokenizer.quantizer.codebook.numpy()
    unused = trainer.codebook_monitor.unused_steps.numpy() == limit - 1
    assert unused.any()
    tokenizer = trainer.tokenizer
    latents = tokenizer.quantizer.normalized(tokenizer.encoder(images)).numpy().reshape(-1, 4)
    fit(trainer, images, 1)

    restarted = unused & (trainer.codebook_monitor.unused_steps.numpy() == limit)
    codebook = tokenizer.quantizer.codebook.numpy()
    chosen = {tuple(np.round(code, 4)) for code in codebook[restarted]}
    assert restarted.any()
    assert not np.array_equal(codebook[restarted], untouched[restarted])
    assert chosen <= {tuple(np.round(latent, 4)) for latent in latents}


@pytest.mark.slow
@pytest.mark.parametrize("precision_name", ["float32", "mixed_float16"])
def test_a_step_without_a_discriminator_equals_one_with_a_discriminator_of_weight_zero(images, precision_name):
    config = replace(without_restart(tokenizer_config("unused")), losses={"adversarial_weight": 0.0})
    config = replace(config, training={"precision": precision_name}, optimizer={"clip_norm": 0.5})

    def train(perceptual, jit_compile):
        def make_optimizer(variables):
            return build_optimizer(config.optimizer, 10, variables, scale_loss=precision_name == "mixed_float16")

        settings = replace(config, training={"jit_compile": jit_compile})
        trainer = build_trainer(settings, make_optimizer, perceptual=perceptual)
        return trainer, fit(trainer, images, 3)

    judged, judged_metrics = train(lambda images, reconstructions: 0 * reconstructions[:, 0, 0, 0], False)
    assert judged_metrics.pop("tokenizer/perceptual_loss") == 0
    for jit_compile in (False, True):
        trainer, metrics = train(None, jit_compile)
        # Half precision rounds differently where XLA fuses.
        tolerance = 1e-5 if precision_name == "float32" else 5e-3
        assert_equal_weights(judged.tokenizer, trainer.tokenizer, tolerance=tolerance)
        assert metrics.keys() == judged_metrics.keys()
        np.testing.assert_allclose(metrics["tokenizer/loss"], judged_metrics["tokenizer/loss"], rtol=tolerance * 10)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_two_replicas_train_like_one_with_the_whole_batch(images, jit_compile):
    config = tokenizer_config("unused", jit_compile=jit_compile)

    def adamw(variables):
        return build_optimizer(config.optimizer, 100, variables)

    one = build_trainer(config, adamw)
    mirrored = build_strategy("mirrored")
    two = build_trainer(config, adamw, mirrored)
    assert mirrored.num_replicas_in_sync == 2

    one_metrics, two_metrics = fit(one, images, 6), fit(two, images, 6)

    assert_equal_weights(one.tokenizer, two.tokenizer, tolerance=1e-5)
    assert_equal_weights(one.discriminator, two.discriminator, tolerance=1e-5)
    np.testing.assert_array_equal(one.codebook_monitor.unused_steps, two.codebook_monitor.unused_steps)
    assert one_metrics.keys() == two_metrics.keys()
    for name, value in one_metrics.items():
        assert value == pytest.approx(two_metrics[name], abs=1e-5), name
    for weight in two.tokenizer.trainable_variables:
        copies = [copy.numpy() for copy in weight.value.values]
        np.testing.assert_array_equal(*copies, err_msg=weight.path)


def mixed_everything(config):
    """A config in which everything averaged over the batch matters: clipping, adaptive weight, LeCAM, EMA codes."""
    quantizer = dataclasses.replace(config.model.quantizer, kind="ema", ema_decay=0.8)
    config = replace(
        config,
        model={"quantizer": quantizer},
        losses={"adaptive_weight": True, "lecam_weight": 0.5, "lecam_decay": 0.5, "adversarial_loss": "hinge"},
        optimizer={"clip_norm": 0.05},
        training={"ema_decay": 0.9},
    )
    return config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replicas", "microbatches", "change"),
    [(2, 2, lambda config: config), (1, 2, mixed_everything), (2, 2, mixed_everything)],
    ids=["2-2-plain", "1-2-everything", "2-2-everything"],
)
def test_replicas_and_microbatches_train_like_the_large_batch(images, replicas, microbatches, change):
    """Groups of the minibatch deviation hold two neighbours, so that each microbatch of two replicas has one."""
    config = change(tokenizer_config("unused"))
    discriminator = dataclasses.replace(config.model.discriminator, minibatch_stddev_group=2)
    config = replace(config, model={"discriminator": discriminator})

    def adamw(variables):
        return build_optimizer(config.optimizer, 100, variables)

    whole = build_trainer(config, adamw)
    parts = build_trainer(
        replace(config, training={"gradient_accumulation_steps": microbatches}),
        adamw,
        build_strategy("mirrored") if replicas == 2 else None,
    )
    whole_metrics, parts_metrics = fit(whole, images, 5), fit(parts, images, 5)

    assert_equal_weights(whole.tokenizer, parts.tokenizer, tolerance=1e-5)
    assert_equal_weights(whole.discriminator, parts.discriminator, tolerance=1e-5)
    np.testing.assert_array_equal(whole.codebook_monitor.unused_steps, parts.codebook_monitor.unused_steps)
    if config.training.ema_decay:
        assert_equal_weights(whole.ema_model, parts.ema_model, tolerance=1e-5)
    for name, value in whole_metrics.items():
        assert value == pytest.approx(parts_metrics[name], rel=1e-4, abs=1e-5), name


@pytest.mark.slow
def test_clipping_shortens_the_whole_gradient_to_the_norm(images):
    config = simple_config()
    free = build_trainer(config, sgd)
    clipped = build_trainer(replace(config, optimizer={"clip_norm": 0.01}), sgd)
    before = [weight.numpy() for weight in free.tokenizer.trainable_variables]
    metrics = fit(free, images, 1)
    fit(clipped, images, 1)

    whole = gradients_seen(before, [weight.numpy() for weight in free.tokenizer.trainable_variables])
    short = gradients_seen(before, [weight.numpy() for weight in clipped.tokenizer.trainable_variables])
    norm = np.sqrt(sum(np.sum(gradient**2) for gradient in whole))
    assert metrics["tokenizer/gradient_norm"] == pytest.approx(norm, rel=1e-4)
    assert norm > 0.02
    for one, other in zip(whole, short, strict=True):
        np.testing.assert_allclose(other, one * (0.01 / norm), atol=1e-5)


@pytest.mark.slow
def test_adaptive_weight_makes_the_adversarial_gradient_of_the_last_layer_as_long_as_the_others(images):
    config = replace(simple_config(), losses={"adaptive_weight": True})
    trainer = build_trainer(config, sgd)
    tokenizer, discriminator, losses = trainer.tokenizer, trainer.discriminator, config.losses
    kernel = tokenizer.decoder.last_kernel
    with tf.GradientTape(persistent=True) as tape:
        outputs = tokenizer(images)
        others = losses.l2_weight * l2_loss(images, outputs.images)
        others += losses.logit_laplace_weight * logit_laplace_loss(
            images, outputs.location, outputs.log_scale, -2.0, losses.logit_laplace_margin
        )
        adversarial = generator_loss(discriminator(outputs.images), "non_saturating")
    lengths = [np.linalg.norm(tape.gradient(loss, kernel.value)) for loss in (others, adversarial)]
    expected = losses.adversarial_weight * lengths[0] / (lengths[1] + 1e-4)

    metrics = fit(trainer, images, 1)

    assert metrics["tokenizer/adversarial_weight"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_adaptive_weight_is_that_of_the_gradients_without_their_loss_scale_and_skips_an_overflow(images):
    config = replace(simple_config(), losses={"adaptive_weight": True}, training={"precision": "mixed_float16"})

    def weight(scale):
        def scaled_sgd(variables):
            optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(LEARNING_RATE), initial_scale=scale)
            optimizer.build(variables)
            return optimizer

        metrics = fit(build_trainer(config, scaled_sgd), images, 1)
        assert np.isfinite(metrics["tokenizer/loss"])
        return metrics["tokenizer/adversarial_weight"]

    assert weight(2.0**10) == pytest.approx(weight(1.0), rel=0.02)
    assert weight(1e30) == 0


@pytest.mark.slow
def test_average_of_the_weights_follows_them_at_the_rate_of_the_decay(images):
    config = replace(simple_config(), training={"ema_decay": 0.5})
    trainer = build_trainer(config, sgd)
    for average, weight in zip(trainer.ema_model.weights, trainer.tokenizer.weights, strict=True):
        np.testing.assert_array_equal(average, weight)
    expected = [weight.numpy() for weight in trainer.tokenizer.weights]
    for step in range(3):
        fit(trainer, images, 1)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = [
            decay * average + (1 - decay) * weight.numpy()
            for average, weight in zip(expected, trainer.tokenizer.weights, strict=True)
        ]
    for average, value in zip(trainer.ema_model.weights, expected, strict=True):
        np.testing.assert_allclose(average, value, atol=1e-6, err_msg=average.path)
    assert trainer.inference_model is trainer.ema_model


@pytest.mark.slow
def test_adversarial_weight_rises_over_its_warmup(images):
    config = simple_config()
    config = replace(config, losses={"adversarial_start_step": 1, "adversarial_warmup_steps": 2})
    trainer = build_trainer(config, sgd)
    weights = []
    for _ in range(4):
        trainer.reset_metrics()
        weights.append(fit(trainer, images, 1)["tokenizer/adversarial_weight"])
    assert weights == pytest.approx([0.0, 0.0, 0.05, 0.1], abs=1e-6)


@pytest.mark.slow
def test_perceptual_distance_joins_the_loss_with_its_weight(images):
    config = replace(simple_config(), losses={"perceptual_weight": 0.3})

    def distance(images, reconstructions):
        return 7 * tf.reduce_mean((images - reconstructions) ** 2, axis=[1, 2, 3])

    with_it = fit(build_trainer(config, sgd, perceptual=distance), images, 1)
    without = fit(build_trainer(config, sgd), images, 1)
    assert with_it["tokenizer/perceptual_loss"] == pytest.approx(7 * without["tokenizer/l2_loss"], rel=1e-5)
    difference = with_it["tokenizer/loss"] - without["tokenizer/loss"]
    assert difference == pytest.approx(0.3 * with_it["tokenizer/perceptual_loss"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_trains_close_to_float32_and_keeps_losses_in_float32(images, name):
    config = simple_config()

    def adamw(variables):
        return build_optimizer(config.optimizer, 100, variables, scale_loss=name == "mixed_float16")

    whole = build_trainer(config, adamw)
    half = build_trainer(replace(config, training={"precision": name}), adamw)
    assert half.tokenizer.encoder.compute_dtype == name.removeprefix("mixed_")
    outputs = half.tokenizer(images)
    for value in (outputs.images, outputs.latents, outputs.quantized.quantized):
        assert value.dtype == tf.float32
    whole_metrics, half_metrics = fit(whole, images, 8), fit(half, images, 8)
    assert half_metrics["tokenizer/loss"] == pytest.approx(whole_metrics["tokenizer/loss"], rel=0.05)


@pytest.mark.slow
def test_a_step_whose_half_precision_gradients_overflow_changes_nothing_and_halves_the_scale(images):
    config = replace(simple_config(), training={"precision": "mixed_float16"})

    def scaled_sgd(variables):
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(LEARNING_RATE), initial_scale=1e30)
        optimizer.build(variables)
        return optimizer

    trainer = build_trainer(config, scaled_sgd)
    before = [weight.numpy() for weight in trainer.tokenizer.trainable_variables]
    metrics = fit(trainer, images, 1)
    for weight, value in zip(trainer.tokenizer.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(weight, value, err_msg=weight.path)
    assert float(trainer.optimizer.dynamic_scale) == pytest.approx(5e29)
    assert int(trainer.step) == 1
    assert metrics["tokenizer/gradient_norm"] == 0
    assert np.isfinite(metrics["tokenizer/loss"])
