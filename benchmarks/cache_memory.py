"""Computes the bytes of the key/value cache, and checks them with a real step: `python -m benchmarks.cache_memory`.

The default is VIM-Base on 32 x 32 tokens in float32; its weights take about 2.8 GB here.
"""

import dataclasses
import math
import time

from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.config.fields import check_positive, setting

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class CacheMemoryConfig:
    """`benchmarks.cache_memory`: the model, and the memory to be filled."""

    model: configs.LanguageModelConfig = setting(configs.LanguageModelConfig(), "language model")
    grid_height: int = setting(32, "tokens from top to bottom")
    grid_width: int = setting(32, "tokens from left to right")
    codebook_size: int = setting(8192, "number of codes")
    num_classes: int = setting(1000, "labels")
    memory_gib: float = setting(24.0, "memory of the device in GiB")

    def __post_init__(self):
        check_positive(self, "grid_height", "grid_width", "codebook_size", "num_classes", "memory_gib")


def cache_bytes(num_layers, num_tokens, hidden_dim, item_bytes=4):
    """Bytes of a sample's keys and values: both for each block and token, as wide as the model."""
    return 2 * num_layers * num_tokens * hidden_dim * item_bytes


def run(config):
    """Computes, takes one cached step at the last position with a batch of 2, and prints.

    Args:
        config: CacheMemoryConfig.

    Returns:
        dict of `cache_bytes` and `measured_bytes` per sample, `weight_bytes`, and the `batch_size` that fits.
    """
    import numpy as np
    import tensorflow as tf

    from vim_tf.models.language_model import build_language_model

    facts = configs.TokenFacts(
        grid_height=config.grid_height,
        grid_width=config.grid_width,
        codebook_size=config.codebook_size,
        num_classes=config.num_classes,
    )
    model = build_language_model(dataclasses.replace(config.model, tokens=facts))
    computed = cache_bytes(model.num_layers, model.num_tokens, model.hidden_dim)
    weights = sum(4 * math.prod(weight.shape) for weight in model.weights)
    batch_size = 2
    cache = model.empty_cache(batch_size)
    zeros = tf.zeros([batch_size], tf.int32)
    begin = time.perf_counter()
    logits, cache = model.step(zeros, zeros, cache, tf.constant(model.num_tokens - 1))
    seconds = time.perf_counter() - begin
    if not np.isfinite(logits.numpy()).all():
        raise FloatingPointError("the step's logits are not finite")
    measured = sum(int(tf.size(part)) * part.dtype.size for part in tf.nest.flatten(cache)) // batch_size
    fits = int((config.memory_gib * GIB - weights) // computed)
    print(f"weights {weights / GIB:.2f} GiB; cache {computed:,} bytes per sample, in a real step {measured:,}")
    print(f"{config.memory_gib:g} GiB hold the weights and the caches of {fits} samples; one step took {seconds:.2f} s")
    return {"cache_bytes": computed, "measured_bytes": measured, "weight_bytes": weights, "batch_size": fits}


def main():
    """Runs the command."""
    flags.main(run, lambda argv: CacheMemoryConfig, "Computes and checks the bytes of the key/value cache.")


if __name__ == "__main__":
    main()
