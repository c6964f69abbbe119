"""Computes the models' values on any Keras backend: the test's process and one with JAX both run this.

    KERAS_BACKEND=jax python -m tests.backends.model_values --folder=F

reads the weights that `write` left in the folder and puts its values next to them.
"""

import argparse
import functools
import os
import zlib

import keras
import numpy as np
from keras import ops

from vim_tf import config as configs
from vim_tf.models import devices
from vim_tf.models.discriminators import build_discriminator
from vim_tf.models.language_model import LanguageModel
from vim_tf.models.layers import keep_mask, stateless_uniform
from vim_tf.models.linear_probe import build_linear_probe
from vim_tf.models.palette import PaletteTokenizer
from vim_tf.models.tokenizer import build_tokenizer

SIDE = 16
QUANTIZERS = {
    "vq": {},
    "vq_euclidean": {"kind": "vq", "l2_normalize": False},
    "ema": {"straight_through": "normalized"},
    "gumbel": {},
    "residual": {"l2_normalize": False, "depth": 2},
    "fsq": {"codebook_size": 15, "codebook_dim": 2, "fsq_levels": (3, 5)},
    # With the default, a latent's rounding is a hundred times as large in the loss.
    "lfq": {"codebook_dim": 5, "entropy_temperature": 1.0},
}
VIT_OPTIONS = configs.ViTConfig(
    positions="learned", mlp_activation="relu", head="linear", qkv_bias=False, head_dim=6, layer_norm_epsilon=1e-5
)


def tokenizer_section(quantizer="vq", **settings):
    """TokenizerModelConfig of 16 tokens, of a ViT unless the settings say otherwise."""
    size = configs.TransformerConfig(num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32)
    codes = {"kind": quantizer, "codebook_size": 32, "codebook_dim": 4} | QUANTIZERS[quantizer]
    shared = {"height": SIDE, "width": SIDE, "patch_size": 4, "encoder": size, "decoder": size}
    return configs.TokenizerModelConfig(quantizer=configs.QuantizerConfig(**codes), **(shared | settings))


def numbers(name, *shape):
    """Standard normal numbers determined by the name: float32 [*shape]."""
    return np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape).astype("float32")


def images():
    """float32 [2, 16, 16, 3] in (0, 1)."""
    return 1 / (1 + np.exp(-numbers("images", 2, SIDE, SIDE, 3)))


def weighted_sum(name, outputs):
    """A number of about 1 whose gradient is different for each element of the outputs."""
    return ops.sum(outputs * numbers(name, *outputs.shape)) / np.sqrt(np.prod(outputs.shape)).item()


def gradients(model, scalar):
    """Gradients of what `scalar()` returns: dict from a weight's path to a tensor."""
    weights = model.trainable_variables
    if keras.backend.backend() == "jax":
        import jax

        def function(values):
            with keras.StatelessScope(state_mapping=list(zip(weights, values, strict=True))):
                return scalar()

        found = jax.grad(function)([weight.value for weight in weights])
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            total = scalar()
        # A row that wasn't looked up has no entry in a sparse gradient.
        found = tape.gradient(total, [weight.value for weight in weights], unconnected_gradients="zero")
    return {weight.path: each for weight, each in zip(weights, found, strict=True)}


def tokenizer_values(tokenizer):
    """Tokens, images, losses and gradients."""

    def loss():
        outputs = tokenizer(images())
        maps = outputs.images if outputs.location is None else outputs.location + outputs.log_scale
        losses = [ops.sum(each) for each in outputs.quantized.losses.values()]
        return sum(losses, weighted_sum("maps", maps))

    outputs = tokenizer(images())
    tokens = tokenizer.encode(images())
    values = {
        "encode": tokens,
        "decode": tokenizer.decode(tokens),
        "images": outputs.images,
        "latents": outputs.latents,
        "quantized": outputs.quantized.quantized,
        "tokens": outputs.quantized.tokens,
        **outputs.quantized.losses,
        **tokenizer.quantizer.statistics(outputs.latents, tokens),
    }
    return values | gradients(tokenizer, loss)


def language_model_values(model):
    """Logits of the whole pass, and step by step from the cache, with plain and with packed kernels; features."""
    tokens = np.arange(2 * 4).reshape(2, 4) * 5 % model.codebook_size
    labels = np.array([1, model.null_label])
    values = {
        "logits": model(tokens, labels),
        "features": model.features(tokens),
        "block_features": model.block_features(tokens),
    }
    for name, settings in {"step": {}, "packed_step": {"project": model.packed_kernels()}}.items():
        cache, steps = model.empty_cache(2), []
        for position in range(4):
            previous = tokens[:, max(position - 1, 0)]
            logits, cache = model.step(previous, labels, cache, position, **settings)
            steps.append(logits)
        values[name] = ops.stack(steps, axis=1)
    return values | gradients(model, lambda: weighted_sum("logits", model(tokens, labels)))


def fused_values(model):
    """The same with attention as on accelerators."""
    on_cpu, devices.on_cpu = devices.on_cpu, lambda: False
    try:
        return language_model_values(model)
    finally:
        devices.on_cpu = on_cpu


def judge_values(discriminator):
    """Logits and gradients."""
    batch = np.concatenate([images(), images()[::-1, ::-1]])
    return {"logits": discriminator(batch)} | gradients(
        discriminator, lambda: weighted_sum("judge", discriminator(batch))
    )


def palette_values(tokenizer):
    """Tokens and the images of them."""
    tokens = tokenizer.encode(images())
    return {"tokens": tokens, "images": tokenizer.decode(tokens)}


def probe_values(probe):
    """Logits of two features."""
    return probe({"pixels": numbers("pixels", 3, 4), "block_00": numbers("block", 3, 5)})


def built(model):
    """The model, after building it."""
    model.build()
    return model


def language_model():
    """A built LanguageModel of four tokens."""
    sizes = {"codebook_size": 24, "num_layers": 2, "num_heads": 2, "hidden_dim": 64, "mlp_dim": 96}
    return built(LanguageModel(grid_height=2, grid_width=2, depth=1, num_classes=3, **sizes, name="language_model"))


def judge_section(**settings):
    """TokenizerModelConfig of a small discriminator."""
    judge = {"channel_multiplier": 1 / 64, "max_channels": 16, "patch_channels": 8, "patch_layers": 2}
    return tokenizer_section(discriminator=configs.DiscriminatorConfig(**(judge | settings)))


CNN = configs.CNNConfig(channels=8, channel_multipliers=(1, 1, 2), blocks_per_level=1, latent_channels=8)
# Name to the functions that build the model and compute its values.
CASES = {
    **{
        f"vit_{kind}": (lambda kind=kind: build_tokenizer(tokenizer_section(kind)), tokenizer_values)
        for kind in QUANTIZERS
    },
    "vit_options": (lambda: build_tokenizer(tokenizer_section(vit=VIT_OPTIONS, pixels="rgb")), tokenizer_values),
    "cnn": (lambda: build_tokenizer(tokenizer_section(architecture="cnn", cnn=CNN)), tokenizer_values),
    "stylegan2": (lambda: build_discriminator(judge_section()), judge_values),
    "patchgan": (lambda: build_discriminator(judge_section(kind="patchgan")), judge_values),
    "language_model": (language_model, language_model_values),
    "language_model_fused": (language_model, fused_values),
    "palette": (lambda: built(PaletteTokenizer(SIDE, SIDE, 4, 4, codebook_size=7, name="palette")), palette_values),
    "linear_probe": (lambda: build_linear_probe({"pixels": 4, "block_00": 5}, 3), probe_values),
}


def draws():
    """Shares that follow from random numbers: of kept elements at rate 1/4, and of numbers below 1/2."""
    seed = np.array([3, 4], "int32")
    kept, below = keep_mask((128, 129), 0.25, seed), stateless_uniform((128, 128), seed) < 0.5
    return {"kept": ops.mean(ops.cast(kept, "float32")), "below_half": ops.mean(ops.cast(below, "float32"))}


def values_of(name, model):
    """Every array of a case: dict from "<case>/<array>"."""
    compute = functools.partial(CASES[name][1], model)
    if keras.backend.backend() == "jax":
        import jax

        compute = jax.jit(compute)
    return {f"{name}/{key}": ops.convert_to_numpy(value) for key, value in compute().items()}


def write(folder):
    """Builds each model with random weights, writes these into the folder, and returns all arrays."""
    keras.utils.set_random_seed(0)
    arrays = {}
    for name, (build, _) in CASES.items():
        model = build()
        for weight in model.weights:
            weight.assign(ops.convert_to_numpy(weight) + 0.2 * numbers(weight.path, *weight.shape))
        model.save_weights(os.path.join(folder, f"{name}.weights.h5"))
        arrays |= values_of(name, model)
    return arrays


def read(folder):
    """Builds each model with the weights of the folder, and returns all arrays."""
    arrays = {f"draws/{key}": ops.convert_to_numpy(value) for key, value in draws().items()}
    for name, (build, _) in CASES.items():
        model = build()
        model.load_weights(os.path.join(folder, f"{name}.weights.h5"))
        arrays |= values_of(name, model)
    return arrays


def main():
    """The process that the test starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", required=True, help="folder of the weights, for the values too")
    folder = parser.parse_args().folder
    np.savez(os.path.join(folder, f"{keras.backend.backend()}.npz"), **read(folder))


if __name__ == "__main__":
    main()
