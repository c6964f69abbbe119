"""Tiny tokenizer trainers, and checks of their updates."""

import dataclasses

import keras
import tensorflow as tf

from tests.testing import replace, tokenizer_config
from vim_tf.devices.precision import precision
from vim_tf.models.discriminators import build_discriminator
from vim_tf.models.tokenizer import build_tokenizer
from vim_tf.training.tokenizer_trainer import TokenizerTrainer

LEARNING_RATE = 0.1


def build_trainer(config, make_optimizer, strategy=None, perceptual=None):
    keras.utils.set_random_seed(0)
    settings = config.training
    with (strategy or tf.distribute.get_strategy()).scope(), precision(settings.precision):
        tokenizer = build_tokenizer(config.model)
        discriminator = build_discriminator(config.model) if config.losses.adversarial_weight else None
        return TokenizerTrainer(
            tokenizer,
            discriminator,
            perceptual,
            config.losses,
            make_optimizer(tokenizer.trainable_variables),
            make_optimizer(discriminator.trainable_variables) if discriminator else None,
            config.model.quantizer,
            window_steps=config.alarms.codebook_window_steps,
            jit_compile=settings.jit_compile == "on",
            seed=0,
            num_microbatches=settings.gradient_accumulation_steps,
            clip_norm=config.optimizer.clip_norm,
            ema_model=build_tokenizer(config.model) if settings.ema_decay else None,
            ema_decay=settings.ema_decay,
        )


def sgd(variables):
    """An optimizer whose update reveals the gradient."""
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
    return replace(config, model={"quantizer": quantizer})


def simple_config():
    """Without restarts and R1, which take long to trace."""
    return replace(without_restart(tokenizer_config("unused")), losses={"r1_gamma": 0.0})
