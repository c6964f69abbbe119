"""Flags of trainings that take seconds, and commands called in this process."""

import os

from vim_tf.cli import flags

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TINY_TRAINING = [
    "--training.total_steps=6",
    "--training.batch_size=16",
    "--training.log_every_steps=3",
    "--training.validate_every_steps=0",
    "--training.checkpoint_every_steps=3",
    "--training.jit_compile=false",
]
TINY_TOKENIZER = [
    f"--flagfile={ROOT}/configs/digits/tokenizer.flags",
    "--model.encoder.num_layers=1",
    "--model.decoder.num_layers=1",
    "--model.quantizer.codebook_size=64",
    "--model.discriminator.max_channels=4",
    *TINY_TRAINING,
]
TINY_LANGUAGE_MODEL = [
    f"--flagfile={ROOT}/configs/digits/language_model.flags",
    "--model.num_layers=1",
    "--model.hidden_dim=16",
    "--model.mlp_dim=16",
    "--training.keep_best_metric=",
    *TINY_TRAINING,
]


def call(module, config_class, *argv):
    return module.run(flags.parse(config_class, list(argv)))
