"""The tokenizer's training step: what each update is, and that replicas don't change it."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.testing import assert_equal_weights, tokenizer_config
from vim_tf.losses.adversarial import discriminator_loss, generator_loss, r1_penalty
from vim_tf.losses.reconstruction import l2_loss, logit_laplace_loss
from vim_tf.models.discriminators import build_discriminator
from vim_tf.models.tokenizer import build_tokenizer
from vim_tf.training.optimizers import build_optimizer
from vim_tf.training.strategies import build_strategy
from vim_tf.training.tokenizer_trainer import TokenizerTrainer

LEARNING_RATE = 0.1


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(size=(8, 8, 8, 3)).astype("float32")


def build_trainer(config, make_optimizer, strategy=None):
    keras.utils.set_random_seed(0)
    with (strategy or tf.distribute.get_strategy()).scope():
        tokenizer = build_tokenizer(config.model)
        discriminator = build_discriminator(config.model) if config.losses.adversarial_weight else None
        return TokenizerTrainer(
            tokenizer,
            discriminator,
            config.losses,
            make_optimizer(tokenizer.trainable_variables),
            make_optimizer(discriminator.trainable_variables) if discriminator else None,
            config.model.quantizer.restart_unused_steps,
            jit_compile=config.training.jit_compile,
            seed=0,
        )


def sgd(variables):
    """An optimizer whose update shows the gradient."""
    optimizer = keras.optimizers.SGD(LEARNING_RATE)
    optimizer.build(variables)
    return optimizer


def fit(trainer, images, steps):
    batches = tf.data.Dataset.from_tensors({"image": images}).repeat()
    history = trainer.fit(
        trainer.distribute_strategy.experimental_distribute_dataset(batches),
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
    )
    return {name: values[-1] for name, values in history.history.items()}


def gradients_seen(before, after):
    return [(old - new) / LEARNING_RATE for old, new in zip(before, after, strict=True)]


def without_restart(config):
    quantizer = dataclasses.replace(config.model.quantizer, restart_unused_steps=0)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, quantizer=quantizer))


def test_generator_moves_down_the_weighted_sum_of_its_terms(images):
    config = without_restart(tokenizer_config("unused"))
    trainer = build_trainer(config, sgd)
    tokenizer, judge, losses = trainer.tokenizer, trainer.discriminator, config.losses
    with tf.GradientTape() as tape:
        outputs = tokenizer(images)
        total = (
            losses.l2_weight * l2_loss(images, outputs.images)
            + losses.logit_laplace_weight
            * logit_laplace_loss(images, outputs.location, outputs.log_scale, -2.0, losses.logit_laplace_margin)
            + losses.codebook_weight * outputs.quantized.codebook_loss
            + losses.commitment_weight * outputs.quantized.commitment_loss
            + losses.adversarial_weight * generator_loss(judge(outputs.images))
        )
    expected = tape.gradient(total, [weight.value for weight in tokenizer.trainable_variables])
    before = [weight.numpy() for weight in tokenizer.trainable_variables]

    fit(trainer, images, 1)

    seen = gradients_seen(before, [weight.numpy() for weight in tokenizer.trainable_variables])
    for weight, wanted, got in zip(tokenizer.trainable_variables, expected, seen, strict=True):
        np.testing.assert_allclose(got, tf.convert_to_tensor(wanted), atol=2e-6, err_msg=weight.path)


@pytest.mark.parametrize(("gamma", "interval"), [(0.0, 2), (1.0, 2)])
def test_discriminator_moves_down_its_loss_and_the_lazy_r1_penalty(images, gamma, interval):
    config = without_restart(tokenizer_config("unused"))
    config = dataclasses.replace(
        config, losses=dataclasses.replace(config.losses, r1_gamma=gamma, r1_interval_steps=interval)
    )
    trainer = build_trainer(config, sgd)
    judge = trainer.discriminator
    generated = trainer.tokenizer(images).images
    with tf.GradientTape() as tape:
        loss = discriminator_loss(judge(images), judge(generated))
        loss += gamma / 2 * interval * r1_penalty(judge, tf.constant(images))
    expected = tape.gradient(loss, [weight.value for weight in judge.trainable_variables])
    before = [weight.numpy() for weight in judge.trainable_variables]

    fit(trainer, images, 1)

    seen = gradients_seen(before, [weight.numpy() for weight in judge.trainable_variables])
    for weight, wanted, got in zip(judge.trainable_variables, expected, seen, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5, err_msg=weight.path)


def test_adversarial_term_is_zero_before_its_start_step(images):
    config = without_restart(tokenizer_config("unused"))
    late = dataclasses.replace(config, losses=dataclasses.replace(config.losses, adversarial_start_step=1))
    never = dataclasses.replace(config, losses=dataclasses.replace(config.losses, adversarial_weight=0.0))
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


def test_codes_unused_for_the_limit_become_latents_of_the_batch(images):
    config = tokenizer_config("unused")
    trainer = build_trainer(config, sgd)
    limit = config.model.quantizer.restart_unused_steps
    fit(trainer, images, limit - 1)
    untouched = trainer.tokenizer.quantizer.codebook.numpy()
    unused = trainer.unused_steps.numpy() == limit - 1
    assert unused.any()
    tokenizer = trainer.tokenizer
    latents = tokenizer.quantizer.normalized(tokenizer.encoder(images)).numpy().reshape(-1, 4)
    fit(trainer, images, 1)

    restarted = unused & (trainer.unused_steps.numpy() == 0)
    codebook = tokenizer.quantizer.codebook.numpy()
    chosen = {tuple(np.round(code, 4)) for code in codebook[restarted]}
    assert restarted.any()
    assert not np.array_equal(codebook[restarted], untouched[restarted])
    assert chosen <= {tuple(np.round(latent, 4)) for latent in latents}


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
    np.testing.assert_array_equal(one.unused_steps.numpy(), two.unused_steps.numpy())
    assert one_metrics.keys() == two_metrics.keys()
    for name, value in one_metrics.items():
        assert value == pytest.approx(two_metrics[name], abs=1e-5), name
    for weight in two.tokenizer.trainable_variables:
        copies = [copy.numpy() for copy in weight.value.values]
        np.testing.assert_array_equal(*copies, err_msg=weight.path)
