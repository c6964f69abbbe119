"""The graphs of training steps, each once, in the smallest size.

Files in configs/ differ mostly in sizes, and a size is only a number in a graph. `small` takes a config to the least
one with the same graph, and `SHIPPED` says which files share one; what needs seconds for each graph is tested on these.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from tests.test_shipped_configs import FLAGFILES, parsed, relative
from tests.testing import language_model_config, linear_probe_config, replace, tokenizer_config
from vim_tf import config as configs
from vim_tf.losses import perceptual
from vim_tf.losses.squeezenet import squeezenet_shapes
from vim_tf.stages import build

# Files of configs/ by the graph of their training step.
SHIPPED = {
    "vit": (
        *(f"celebahq256/vit_vqgan_{size}" for size in ("ss", "sl", "bb")),
        *(f"ffhq256/vit_vqgan_{size}" for size in ("ss", "sl", "bb")),
        *(f"imagenet256/vit_vqgan_{size}" for size in ("ss", "ss_f16", "sl", "bb")),
        *(f"imagenet256/bb_dim{size}" for size in (4, 8, 16, 64, 128, 256)),
    ),
    "vit_without_normalized_codes": ("imagenet256/bb_no_l2_norm",),
    "vit_patchgan": ("imagenet256/bb_patchgan",),
    "vit_without_perceptual": ("imagenet256/ss_unsupervised",),
    "vit_restarts": ("your_own/tokenizer",),
    "vit_restarts_learned_positions": ("digits/tokenizer",),
    "vit_without_judges": ("photos/ablation",),
    "vit_restarts_without_judges": ("your_own/trial_tokenizer",),
    "cnn": ("imagenet256/cnn_x1", "imagenet256/cnn_x2"),
    "vqgan": ("imagenet256/vqgan_f16_1024", "imagenet256/vqgan_f16_16384"),
    "vqgan_gumbel": ("imagenet256/vqgan_f8_gumbel",),
    "vim": tuple(f"imagenet256/vim_{size}" for size in ("base", "base_16", "large", "large_16")),
    "vim_unconditional": (
        *(f"imagenet256/vim_{size}_unconditional" for size in ("base", "base_16", "large", "large_16")),
        *(f"{data}/vim_{size}" for data in ("celebahq256", "ffhq256") for size in ("base", "large")),
    ),
    "vim_guided": ("digits/language_model", "your_own/language_model", "your_own/trial_language_model"),
    "vim_unlabelled": ("your_own/language_model_unlabelled",),
    "probe": ("digits/linear_probe",),
    "probe_averaged": ("imagenet256/linear_probe",),
}
# Graphs that no file has are shipped graphs with changes; each choice of a config occurs in at least one graph.
OTHERS = {
    "ema": (
        "vit_restarts",
        {
            "model": {"quantizer": {"kind": "ema"}},
            "losses": {
                "perceptual": "vgg16_features",
                "perceptual_weight": 0.1,
                "adversarial_loss": "least_squares",
                "lecam_weight": 0.5,
                "adversarial_warmup_steps": 2,
            },
            "optimizer": {"name": "factored_adam", "clip_norm": 0.5},
            "training": {"gradient_accumulation_steps": 2, "ema_decay": 0.5},
        },
    ),
    "residual": (
        "vit_restarts",
        {
            "model": {"quantizer": {"kind": "residual", "l2_normalize": False, "depth": 2}},
            "losses": {"adversarial_loss": "hinge"},
            "training": {"precision": "mixed_bfloat16"},
        },
    ),
    "fsq": (
        "vit",
        {
            "model": {
                "quantizer": {"kind": "fsq", "fsq_levels": (4, 4, 2), "codebook_dim": 3},
                "vit": {"mlp_activation": "relu", "head": "linear", "qkv_bias": False},
            },
            "losses": {"adaptive_weight": True},
            "training": {"precision": "mixed_float16", "rematerialize": True},
        },
    ),
    "lfq": (
        "vit_without_judges",
        {
            "model": {
                "quantizer": {"kind": "lfq", "codebook_dim": 5},
                "vit": {"mlp_activation": "tanh"},
                "pixel_epsilon": 0.1,
            },
            "training": {"gradient_accumulation_steps": 2},
        },
    ),
    "vit_squeezenet": (
        "vit_without_judges",
        # Its poolings leave nothing of smaller images.
        {"model": {"height": 32, "width": 32}, "losses": {"perceptual": "squeezenet", "perceptual_weight": 0.1}},
    ),
    "vim_bfloat16": (
        "vim_guided",
        {
            "training": {"precision": "mixed_bfloat16", "gradient_accumulation_steps": 2},
            "optimizer": {"clip_norm": 0.5},
        },
    ),
    "vim_float16": ("vim_unlabelled", {"training": {"precision": "mixed_float16", "rematerialize": True}}),
    "vim_of_images": ("vim_guided", {"tokens": "", "tokenizer": "unused", "data": {"source": "digits"}}),
}
GRAPHS = (*SHIPPED, *OTHERS)

# Sizes, and what isn't part of a training step's graph: the same in every small config.
_FIXED = {
    *("workdir", "initialize_from", "tokens", "tokenizer", "language_model", "strategy", "tpu"),
    *("data", "augmentation", "alarms", "validation", "model.encoder", "model.decoder", "model.patch_size"),
    *("model.num_layers", "model.num_heads", "model.hidden_dim", "model.mlp_dim", "model.cnn"),
    *("losses.perceptual_weights_file", "losses.adversarial_start_step", "optimizer.warmup_steps"),
    *("probe.statistics_steps", "training.total_steps", "training.batch_size", "training.seed"),
    *("training.jit_compile", "training.deterministic", "training.keep_freed_memory", "training.keep_best_metric"),
    # A loop around the step.
    "training.steps_per_execution",
    *(f"training.{what}_every_steps" for what in ("log", "validate", "checkpoint")),
}
# VGG16 with few channels, which the tests use instead of the trained one.
_VGG16_CHANNELS = (4, 4, 4, 4, 4)


@functools.cache
def trainings():
    """{name: config} of the files in configs/ that describe a training in steps; pipelines' files refer to these."""
    found = {relative(path).removesuffix(".flags"): parsed(path) for path in FLAGFILES}
    return {name: config for name, config in found.items() if hasattr(config, "training")}


def small(config):
    """The smallest config whose training step has the same graph; equal for configs that share one.

    Values other than numbers stay as they are. Of a number, only whether it is 0 or 1 is kept, which often means off.
    """
    return _reduced(config, _least(config), "")


def _least(config):
    if isinstance(config, configs.LanguageModelTrainConfig):
        return language_model_config("unused", "unused")
    if isinstance(config, configs.LinearProbeTrainConfig):
        return linear_probe_config("unused", "unused", "unused")
    cnn = configs.CNNConfig(channels=8, channel_multipliers=(1, 1, 2), blocks_per_level=1, latent_channels=8)
    # The perceptual distance needs 16 pixels.
    size = {"height": 16, "width": 16, "cnn": cnn}
    discriminator = configs.DiscriminatorConfig(
        channel_multiplier=1 / 512, max_channels=8, patch_channels=8, patch_layers=2
    )
    return replace(tokenizer_config("unused"), model=size | {"discriminator": discriminator})


def _reduced(value, least, name):
    if name in _FIXED:
        return least
    if dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value)]
        return dataclasses.replace(
            least,
            **{
                field: _reduced(getattr(value, field), getattr(least, field), f"{name}.{field}".lstrip("."))
                for field in fields
            },
        )
    if isinstance(value, bool | str | tuple) or value in (0, 1):
        return value
    return least if least not in (0, 1) else type(value)(2 * least or 0.5)


def is_fixed(name):
    """Whether a field, by its dotted name, has one value in all small configs."""
    return any(name == fixed or name.startswith(f"{fixed}.") for fixed in _FIXED)


def config_of(graph):
    """The small config of a graph by its name."""
    if graph in SHIPPED:
        return small(trainings()[SHIPPED[graph][0]])
    base, changes = OTHERS[graph]
    return _changed(config_of(base), changes)


def _changed(section, changes):
    values = {
        name: _changed(getattr(section, name), value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return dataclasses.replace(section, **values)


def build_stage(graph, folders, jit_compile):
    """The stage that has a graph, ready to be trained on one device.

    Args:
        graph: one of GRAPHS.
        folders: dict of trained stages and tokens, by the fields of a train config that name them.
        jit_compile: on or off, whether XLA compiles parts of the step.
    """
    config = config_of(graph)
    names = {field.name for field in dataclasses.fields(config)}
    given = {name: path for name, path in folders.items() if name in names}
    if isinstance(config, configs.LanguageModelTrainConfig):
        given = {"tokens": folders["tokens"]} if config.tokens else {"tokenizer": folders["tokenizer"]}
    config = replace(config, **given, workdir="unused", training={"jit_compile": jit_compile})
    return build.build_stage(config, tf.distribute.get_strategy())


def thin_perceptual(kind, path):
    """`load_perceptual` with random weights, few but for SqueezeNet."""
    draw = np.random.default_rng(0)
    shapes = squeezenet_shapes() if kind == "squeezenet" else perceptual.lpips_shapes(_VGG16_CHANNELS)
    arrays = {name: np.abs(draw.normal(0, 0.3, shape)).astype(np.float32) for name, shape in shapes.items()}
    if kind == "squeezenet":
        return perceptual.SqueezeNetDistance(arrays)
    if kind == "lpips":
        return perceptual.LPIPS(arrays, _VGG16_CHANNELS)
    distance = perceptual.VGG16FeatureDistance(_VGG16_CHANNELS)
    distance.network.assign(arrays)
    return distance
