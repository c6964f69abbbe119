"""The language model of `benchmarks.language_model_speed` as this project trains and samples it, in its own process."""

import argparse
import json
import math
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks.support import measure
from benchmarks.workers.tensorflow_tokenizer import device_name, large_product
from vim_tf import config as configs
from vim_tf.devices.memory import keep_freed_memory
from vim_tf.models.language_model import build_language_model
from vim_tf.sampling import generate
from vim_tf.training.language_model_trainer import LanguageModelTrainer
from vim_tf.training.optimizers import build_optimizer

NUM_CLASSES = 10


def build_model(shape, length):
    """The built LanguageModel of a square grid of `length` tokens, without dropout."""
    side = math.isqrt(length)
    facts = configs.TokenFacts(
        grid_height=side, grid_width=side, codebook_size=shape["codebook_size"], num_classes=NUM_CLASSES
    )
    sizes = {name: shape[name] for name in ("num_layers", "num_heads", "hidden_dim", "mlp_dim")}
    # Label dropout is what makes guidance possible.
    section = configs.LanguageModelConfig(**sizes, dropout=0.0, label_dropout=0.1, tokens=facts)
    return build_language_model(section)


def train_operation(model, batch_size):
    """A training step."""
    optimizer = build_optimizer(
        configs.OptimizerConfig(
            learning_rate=1e-4, warmup_steps=0, schedule="constant", final_learning_rate=1e-4, beta2=0.96
        ),
        1000,
        model.trainable_variables,
    )
    trainer = LanguageModelTrainer(model, optimizer, jit_compile=True, seed=0)
    random = np.random.default_rng(0)
    tokens = random.integers(0, model.codebook_size, [batch_size, model.num_tokens]).astype(np.int32)
    labels = np.zeros([batch_size], np.int32)
    batches = iter(tf.data.Dataset.from_tensors({"tokens": tokens, "label": labels}).repeat())
    step = trainer.make_train_function()
    return lambda: float(step(batches)["language_model/loss"])


def sample_operations(model, batch_size, facts):
    """Dict from name to function: sampling plainly, with guidance, and with attention over the whole cache."""
    labels, seeds = np.zeros([batch_size], np.int32), np.arange(batch_size)

    def compiled(name):
        sampler = generate.Sampler(model, batch_size, jit_compile=True)
        start = time.perf_counter()
        sampler.sample(labels, seeds)
        first = time.perf_counter() - start
        sampler.sample(labels, seeds)
        facts[f"compile_seconds_{name}"] = first - (time.perf_counter() - start - first)
        return sampler

    ours = compiled(f"ours_{model.num_tokens}")
    cache_lengths, generate.cache_lengths = generate.cache_lengths, lambda num_tokens: [num_tokens]
    whole = compiled(f"whole_{model.num_tokens}")
    generate.cache_lengths = cache_lengths
    return {
        "sample": lambda: ours.sample(labels, seeds),
        "sample_guided": lambda: ours.sample(labels, seeds, guidance_scale=2.0),
        "sample_whole_cache": lambda: whole.sample(labels, seeds),
    }


def main():
    """The process that `benchmarks.language_model_speed` starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON from benchmarks.language_model_speed")
    settings = parser.parse_args().settings
    tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(settings["threads"])
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(settings["precision"])
    keep_freed_memory()
    facts, operations = {"version": tf.__version__, "device": device_name()}, {}
    for length in settings["lengths"]:
        model = build_model(settings["shape"], length)
        made = sample_operations(model, settings["batch_size"], facts)
        if length == settings["train_length"]:
            made["train"] = train_operation(model, settings["batch_size"])
        operations |= {f"{name}_{length}": operation for name, operation in made.items()}
    operations["large_product"], facts["product_flops"] = large_product(settings["product_size"])
    measure.serve(operations, facts)


if __name__ == "__main__":
    main()
