"""The flagfiles of the paper's runs: parameter counts by hand, and the paper's optimisation.

The formulas below are written from the papers' descriptions, layer by layer, and share nothing with the models' code:
Yu et al., 2022, https://arxiv.org/abs/2110.04627 (ViT-VQGAN); Esser et al., 2021, https://arxiv.org/abs/2012.09841
(VQGAN, PatchGAN); Karras et al., 2020, https://arxiv.org/abs/1912.04958 (discriminator).
"""

import dataclasses
import pathlib

import keras
import pytest

from vim_tf import config as configs
from vim_tf.cli import flags

ROOT = pathlib.Path(__file__).parents[1]
CODES = 8192
# Layers, width, inner width of the feed-forward part; table 2 of the paper.
SMALL, BASE, LARGE = (8, 512, 2048), (12, 768, 3072), (32, 1280, 5120)
VIM_BASE, VIM_LARGE = (24, 1536, 6144), (36, 2048, 8192)
PATCH = 8 * 8
F8, F16 = (1, 1, 2, 4), (1, 1, 2, 2, 4)

# ------------------------------------------------------------------------------------------------- formulas by hand


def dense(inputs, outputs):
    return inputs * outputs + outputs


def conv(side, inputs, outputs, bias=True):
    return side * side * inputs * outputs + bias * outputs


def norm(width):
    return 2 * width


def vit_block(width, inner):
    """Queries, keys, values and output of the attention; two layers; two norms."""
    return 4 * dense(width, width) + dense(width, inner) + dense(inner, width) + 2 * norm(width)


def vit(size, inputs, outputs):
    """Embedding, blocks, last norm, two-layer head; sines and cosines as positions have no parameters."""
    layers, width, inner = size
    head = dense(width, width) + dense(width, outputs)
    return dense(inputs, width) + layers * vit_block(width, inner) + norm(width) + head


def vit_vqgan(encoder, decoder, dim=32, patch=PATCH):
    """Parameters of encoder, decoder (mean and log scale of each colour) and quantizer."""
    return vit(encoder, patch * 3, dim), vit(decoder, dim, patch * 6), CODES * dim


def vim(size, tokens, classes):
    """Tokens, classes with the null label, positions; blocks, last norm, untied softmax."""
    layers, width, inner = size
    embeddings = (CODES + classes + 1 + tokens) * width
    return embeddings + layers * vit_block(width, inner) + norm(width) + dense(width, CODES)


def residual_block(inputs, outputs):
    skip = conv(1, inputs, outputs) if inputs != outputs else 0
    return norm(inputs) + conv(3, inputs, outputs) + norm(outputs) + conv(3, outputs, outputs) + skip


def attention_block(width):
    return norm(width) + 4 * dense(width, width)


def middle(width):
    return residual_block(width, width) + attention_block(width) + residual_block(width, width)


def cnn_encoder(channels, multipliers, latent_channels, dim):
    widths = [channels * multiplier for multiplier in multipliers]
    total, width = conv(3, 3, channels), channels
    for level, level_width in enumerate(widths):
        is_lowest = level == len(widths) - 1
        for _ in range(2):
            total += residual_block(width, level_width) + is_lowest * attention_block(level_width)
            width = level_width
        total += 0 if is_lowest else conv(3, width, width)  # halving
    return total + middle(width) + norm(width) + conv(3, width, latent_channels) + conv(1, latent_channels, dim)


def cnn_decoder(channels, multipliers, latent_channels, dim, outputs):
    widths = [channels * multiplier for multiplier in multipliers]
    width = widths[-1]
    total = conv(1, dim, latent_channels) + conv(3, latent_channels, width) + middle(width)
    for level in reversed(range(len(widths))):
        is_lowest = level == len(widths) - 1
        for _ in range(3):
            total += residual_block(width, widths[level]) + is_lowest * attention_block(widths[level])
            width = widths[level]
        total += conv(3, width, width) if level else 0  # after the doubling
    return total + norm(width) + conv(3, width, outputs)


def vqgan(multipliers, channels=128, latent_channels=256, dim=256, outputs=3, quantizer=0):
    """Parameters of encoder, decoder and quantizer."""
    encoder = cnn_encoder(channels, multipliers, latent_channels, dim)
    return encoder, cnn_decoder(channels, multipliers, latent_channels, dim, outputs), quantizer


def stylegan2_discriminator(channel_multiplier=2):
    """At 256 x 256: seven resolutions, six residual blocks, a deviation channel before the last convolution."""
    widths = [min(512, 16384 * channel_multiplier // 2**power) for power in range(8, 1, -1)]
    total = conv(1, 3, widths[0])
    for width, next_width in zip(widths, widths[1:], strict=False):
        total += conv(3, width, width) + conv(3, width, next_width) + conv(1, width, next_width, bias=False)
    return total + conv(3, widths[-1] + 1, widths[-1]) + dense(4 * 4 * widths[-1], widths[-1]) + dense(widths[-1], 1)


def patchgan(layers=3, channels=64):
    """4 x 4 convolutions: the first one and the logits have a bias, those in between a norm instead."""
    widths = [channels * 2**i for i in range(layers + 1)]
    total = conv(4, 3, channels)
    for width, next_width in zip(widths, widths[1:], strict=False):
        total += conv(4, width, next_width, bias=False) + norm(next_width)
    return total + conv(4, widths[-1], 1)


GUMBEL = dense(256, CODES) + CODES * 256  # logits of a latent, and the codes
STYLEGAN2, PATCHGAN = stylegan2_discriminator(), patchgan()
# Flagfile: (encoder, decoder, quantizer), discriminator.
COUNTS = {
    "imagenet256/vit_vqgan_ss": (vit_vqgan(SMALL, SMALL), STYLEGAN2),
    "imagenet256/vit_vqgan_ss_f16": (vit_vqgan(SMALL, SMALL, patch=16 * 16), STYLEGAN2),
    "imagenet256/vit_vqgan_bb": (vit_vqgan(BASE, BASE), STYLEGAN2),
    "imagenet256/vit_vqgan_sl": (vit_vqgan(SMALL, LARGE), STYLEGAN2),
    "imagenet256/ss_unsupervised": (vit_vqgan(SMALL, SMALL), STYLEGAN2),
    **{f"imagenet256/bb_dim{dim}": (vit_vqgan(BASE, BASE, dim), STYLEGAN2) for dim in (256, 128, 64, 16, 8, 4)},
    "imagenet256/bb_no_l2_norm": (vit_vqgan(BASE, BASE), STYLEGAN2),
    "imagenet256/bb_patchgan": (vit_vqgan(BASE, BASE), PATCHGAN),
    "imagenet256/cnn_x1": (vqgan(F8, dim=32, outputs=6, quantizer=CODES * 32), STYLEGAN2),
    "imagenet256/cnn_x2": (vqgan(F8, channels=256, dim=32, outputs=6, quantizer=CODES * 32), STYLEGAN2),
    "imagenet256/vqgan_f16_1024": (vqgan(F16, quantizer=1024 * 256), PATCHGAN),
    "imagenet256/vqgan_f16_16384": (vqgan(F16, quantizer=16384 * 256), patchgan(layers=2)),
    "imagenet256/vqgan_f8_gumbel": (vqgan(F8, quantizer=GUMBEL), PATCHGAN),
    **{
        f"{faces}/vit_vqgan_{name}": (vit_vqgan(*sizes), STYLEGAN2)
        for faces in ("celebahq256", "ffhq256")
        for name, sizes in {"ss": (SMALL, SMALL), "bb": (BASE, BASE), "sl": (SMALL, LARGE)}.items()
    },
}
# A probe's heads have the size of what is probed.
PROBES = {"imagenet256/linear_probe"}
# Flagfile of a language model: side of the grid, number of classes, parameters.
LANGUAGE_MODELS = {
    f"imagenet256/vim_{name}{suffix}{labels}": (side, 1000, vim(size, side * side, classes))
    for name, size in {"base": VIM_BASE, "large": VIM_LARGE}.items()
    for suffix, side in {"": 32, "_16": 16}.items()
    for labels, classes in {"": 1000, "_unconditional": 0}.items()
} | {
    f"{faces}/vim_{name}": (32, 0, vim(size, 1024, 0))
    for faces in ("celebahq256", "ffhq256")
    for name, size in {"base": VIM_BASE, "large": VIM_LARGE}.items()
}

# -------------------------------------------------------------------------------------------------------- the tests


@pytest.fixture
def parse(monkeypatch):
    """Function of a flagfile's name and further flags to its config."""
    monkeypatch.chdir(ROOT)

    def parse(name, *arguments):
        config_class = configs.TokenizerTrainConfig
        if name in LANGUAGE_MODELS:
            config_class, arguments = configs.LanguageModelTrainConfig, ("--tokens=t", *arguments)
        return flags.parse(config_class, [f"--flagfile=configs/{name}.flags", "--workdir=w", *arguments])

    return parse


def test_every_flagfile_of_the_paper_is_counted():
    folders = ("imagenet256", "celebahq256", "ffhq256")
    assert {
        f"{path.parent.name}/{path.stem}" for folder in folders for path in (ROOT / "configs" / folder).iterdir()
    } == set(COUNTS) | set(LANGUAGE_MODELS) | PROBES | {f"{folder}/pipeline" for folder in folders}


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_the_models_have_the_parameters_of_the_hand_formula(name, parse):
    from vim_tf.models.discriminators import build_discriminator
    from vim_tf.models.tokenizer import build_tokenizer

    model = parse(name).model
    with keras.StatelessScope(initialize_variables=False):
        tokenizer, discriminator = build_tokenizer(model), build_discriminator(model)
        found = [part.count_params() for part in (tokenizer.encoder, tokenizer.decoder, tokenizer.quantizer)]
        judge = discriminator.count_params()
        assert tokenizer.count_params() == sum(found)
    # Otherwise the next scope of this kind would fill the weights.
    keras.utils.clear_session()
    expected, expected_judge = COUNTS[name]
    assert (tuple(found), judge) == (expected, expected_judge)


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_language_model_has_the_parameters_of_the_hand_formula(name, parse):
    from vim_tf.models.language_model import build_language_model

    side, num_classes, expected = LANGUAGE_MODELS[name]
    facts = configs.TokenFacts(grid_height=side, grid_width=side, codebook_size=CODES, num_classes=num_classes)
    with keras.StatelessScope(initialize_variables=False):
        found = build_language_model(dataclasses.replace(parse(name).model, tokens=facts)).count_params()
    keras.utils.clear_session()
    assert found == expected


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_the_optimisation_of_stage_2_is_the_papers(name, parse):
    """Section 5.2; of dropout and heads, table 2."""
    config = parse(name)
    assert (config.training.batch_size, config.training.total_steps) == (1024, 450_000)
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.beta1, optimizer.beta2) == ("factored_adam", 0.9, 0.96)
    assert (optimizer.schedule, optimizer.warmup_steps, optimizer.decay_start_step) == ("exponential", 5000, 80_000)
    assert (optimizer.learning_rate, optimizer.final_learning_rate) == (4.5e-4, 1e-5)
    assert (config.model.dropout, config.model.label_dropout) == (0.1, 0.0)
    assert config.model.num_heads == (32 if "large" in name else 16)


@pytest.mark.parametrize(
    ("size", "millions"), [(SMALL, 32), (BASE, 91), (LARGE, 599), (VIM_BASE, 650), (VIM_LARGE, 1697)]
)
def test_the_papers_own_parameter_counts_are_those_of_a_language_model_with_three_matrices(size, millions):
    """Table 2; docs/paper_choices.md explains it."""
    layers, width, inner = size
    blocks = layers * (3 * width**2 + 2 * width * inner)
    embeddings = 2 * CODES * width + 1024 * width
    assert round((blocks + embeddings) / 1e6) == millions
    assert round((blocks + layers * width**2 + embeddings) / 1e6) != millions


@pytest.mark.parametrize(
    ("size", "encoder", "decoder"), [(SMALL, 25.6, 25.7), (BASE, 85.8, 86.0), (LARGE, 631.6, 631.9)]
)
def test_the_docs_say_our_own_parameter_counts(size, encoder, decoder):
    counts = vit(size, PATCH * 3, 32), vit(size, 32, PATCH * 6)
    assert [round(count / 1e6, 1) for count in counts] == [encoder, decoder]
    assert f"{encoder} M / {decoder} M" in (ROOT / "docs" / "paper_choices.md").read_text()


def test_published_sizes_of_vqgans_confirm_the_formulas():
    """72 M and 70 M for VQ-16 and VQ-8, with 16384 codes of 8 dimensions: https://github.com/FoundationVision/LlamaGen."""
    assert round(sum(vqgan(F16, dim=8, quantizer=16384 * 8)) / 1e6) == 72
    assert round(sum(vqgan((1, 2, 2, 4), dim=8, quantizer=16384 * 8)) / 1e6) == 70


@pytest.mark.parametrize("name", [name for name in COUNTS if "/vqgan_" not in name])
def test_the_optimisation_is_the_papers(name, parse):
    """Section 3.3 (loss weights) and section 5.1 (the rest)."""
    config = parse(name)
    assert (config.training.batch_size, config.training.total_steps) == (256, 500_000)
    optimizer = config.optimizer
    assert (optimizer.schedule, optimizer.warmup_steps, optimizer.decay_start_step) == ("cosine", 50_000, 0)
    assert (optimizer.learning_rate, optimizer.final_learning_rate) == (1e-4, 5e-5)
    assert (optimizer.beta1, optimizer.beta2, optimizer.weight_decay) == (0.9, 0.99, 1e-4)
    losses = config.losses
    assert (losses.codebook_weight, losses.commitment_weight) == (1.0, 0.25)
    assert (losses.adversarial_weight, losses.logit_laplace_weight, losses.l2_weight) == (0.1, 0.1, 1.0)
    assert losses.perceptual_weight == (0.0 if name.endswith("unsupervised") else 0.1)
    quantizer = config.model.quantizer
    assert (quantizer.kind, quantizer.codebook_size, quantizer.restart_unused_steps) == ("vq", CODES, 0)
    assert quantizer.l2_normalize == (not name.endswith("no_l2_norm"))


@pytest.mark.parametrize("name", [name for name in COUNTS if "/vqgan_" in name])
def test_the_optimisation_of_the_vanilla_vqgan_is_its_own(name, parse):
    """CompVis/taming-transformers, `configs/imagenet_vqgan.yaml` and `taming/models/vqgan.py`."""
    config = parse(name)
    optimizer = config.optimizer
    assert (optimizer.beta1, optimizer.beta2, optimizer.weight_decay) == (0.5, 0.9, 0.0)
    assert (optimizer.schedule, optimizer.warmup_steps) == ("constant", 0)
    assert optimizer.learning_rate == pytest.approx(4.5e-6 * config.training.batch_size)
    losses = config.losses
    assert (losses.l1_weight, losses.perceptual_weight, losses.l2_weight, losses.logit_laplace_weight) == (2, 1, 0, 0)
    assert (losses.adversarial_loss, losses.adaptive_weight, losses.r1_gamma) == ("hinge", True, 0.0)
    assert (config.model.pixels, config.model.quantizer.l2_normalize) == ("rgb", False)


def test_faces_train_as_imagenet_does(parse):
    for size in ("ss", "bb", "sl"):
        model = parse(f"imagenet256/vit_vqgan_{size}").model
        for faces in ("celebahq256", "ffhq256"):
            config = parse(f"{faces}/vit_vqgan_{size}")
            assert config.model == model
            assert config.data.source == f"folder:data/{faces}"


def test_a_row_of_table_4_changes_one_thing(parse):
    base = parse("imagenet256/vit_vqgan_bb")
    changed = {
        "bb_patchgan": "model.discriminator.kind",
        "bb_no_l2_norm": "model.quantizer.l2_normalize",
        **{f"bb_dim{dim}": "model.quantizer.codebook_dim" for dim in (256, 128, 64, 16, 8, 4)},
    }
    for name, field in changed.items():
        row = parse(f"imagenet256/{name}")
        names = [leaf for leaf, _ in configs.leaves(configs.TokenizerTrainConfig)]
        assert [leaf for leaf in names if configs.get(row, leaf) != configs.get(base, leaf)] == [field], name
