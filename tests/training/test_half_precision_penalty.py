"""The R1 penalty where the discriminator computes in half precision."""

import numpy as np
import pytest
import tensorflow as tf

from tests.testing import replace, tokenizer_config
from tests.training.tokenizer_training import build_trainer
from vim_tf import config as configs
from vim_tf.training.optimizers import build_optimizer


def penalty_gradients(precision, size, logit_factor):
    """The penalty's gradients with respect to the weights, without the loss scale: list of float32 arrays."""
    discriminator = configs.DiscriminatorConfig(channel_multiplier=0.25, max_channels=64)
    config = replace(
        tokenizer_config("unused"),
        model={"height": size, "width": size, "patch_size": 16, "discriminator": discriminator},
        losses={"r1_gamma": 10.0, "r1_interval_steps": 16},
        training={"precision": precision},
    )

    def adamw(variables):
        return build_optimizer(config.optimizer, 100, variables, scale_loss=precision == "mixed_float16")

    trainer = build_trainer(config, adamw)
    discriminator = trainer.discriminator
    discriminator.logit.kernel.assign(discriminator.logit.kernel * logit_factor)
    weights = discriminator.trainable_variables
    images = tf.constant(np.random.default_rng(0).uniform(size=(8, size, size, 3)).astype(np.float32))
    zeros = [tf.zeros(weight.shape) for weight in weights]
    gradients = tf.function(lambda: trainer._add_r1(zeros, weights, images))()
    scale = trainer.discriminator_optimizer.dynamic_scale if precision == "mixed_float16" else 1.0
    return [np.asarray(gradient) / np.asarray(scale) for gradient in gradients]


def length(gradients):
    return np.sqrt(sum(np.sum(np.square(gradient, dtype=np.float64)) for gradient in gradients))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "logit_factor"), [(64, 1.0), (64, 0.01), (128, 0.01)])
def test_its_gradient_in_half_precision_is_that_in_float32_however_small_the_logits_are(size, logit_factor):
    expected = penalty_gradients("float32", size, logit_factor)
    found = penalty_gradients("mixed_float16", size, logit_factor)
    differences = [one - other for one, other in zip(found, expected, strict=True)]
    assert length(differences) < 0.03 * length(expected)
    assert length(found) == pytest.approx(length(expected), rel=0.01)
