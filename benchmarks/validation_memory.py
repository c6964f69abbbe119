"""Measures peak memory of a tokenizer's training step, and of the validation that follows it.

    python -m benchmarks.validation_memory

A batch that fits into memory only in microbatches must also be validated in microbatches, so the peak doesn't grow.
"""

import dataclasses
import resource

from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.config.fields import check_positive, setting


@dataclasses.dataclass(frozen=True)
class ValidationMemoryConfig:
    """`benchmarks.validation_memory`: the batch, its parts and the model."""

    batch_size: int = setting(512, "images of a training step")
    microbatches: int = setting(128, "parts that it is divided into")
    image_size: int = setting(128, "height and width of an image in pixels")
    hidden_dim: int = setting(256, "width of encoder and decoder, of two layers each")

    def __post_init__(self):
        check_positive(self, "batch_size", "microbatches", "image_size", "hidden_dim")


def run(config):
    """Trains one step on the digits, validates, and prints the process's peak after each.

    Returns:
        (float, float), MiB.
    """
    import tensorflow as tf

    from vim_tf.stages.build import build_stage

    stage = build_stage(_train_config(config), tf.distribute.get_strategy())
    stage.trainer.fit(stage.batches(0), steps_per_epoch=1, shuffle=False, verbose=0)
    trained = _peak()
    stage.validate()
    validated = _peak()
    print(f"peak of the training: {trained:,.0f} MiB; with its validation: {validated:,.0f} MiB")
    return trained, validated


def _train_config(config):
    transformer = configs.TransformerConfig(
        num_layers=2, num_heads=4, hidden_dim=config.hidden_dim, mlp_dim=4 * config.hidden_dim
    )
    return configs.TokenizerTrainConfig(
        workdir="unused",
        model=configs.TokenizerModelConfig(
            height=config.image_size, width=config.image_size, encoder=transformer, decoder=transformer
        ),
        losses=configs.TokenizerLossConfig(perceptual_weight=0.0, adversarial_weight=0.0),
        training=configs.TrainingConfig(batch_size=config.batch_size, gradient_accumulation_steps=config.microbatches),
    )


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    """Runs the command."""
    flags.main(run, lambda argv: ValidationMemoryConfig, "Measures the peak memory of a validation.")


if __name__ == "__main__":
    main()
