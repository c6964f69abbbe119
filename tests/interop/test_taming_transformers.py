"""A tiny checkpoint with taming-transformers' names becomes a tokenizer with PyTorch's tokens and pixels."""

import pathlib

import numpy as np
import pytest

from vim_tf.errors import InputError
from vim_tf.interop import conversion, taming_transformers
from vim_tf.models.tokenizer import build_tokenizer

REFERENCE = pathlib.Path(__file__).parents[1] / "references" / "cnn.npz"
LOSSES = {"loss.discriminator.main.0.weight": np.zeros((64, 3, 4, 4), "float32")}
HEIGHT, WIDTH = 8, 12


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def tensors(reference):
    return {name.removeprefix("weight:"): value for name, value in reference.items() if name.startswith("weight:")}


@pytest.fixture(scope="module")
def imported(tensors):
    return taming_transformers.import_tokenizer(tensors | LOSSES, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def tokenizer(imported):
    tokenizer = build_tokenizer(imported.model)
    conversion.assign(tokenizer, imported.weights)
    return tokenizer


def without(tensors, *names):
    return {name: value for name, value in tensors.items() if name not in names}


def test_sizes_are_read_from_shapes(imported):
    model, cnn = imported.model, imported.model.cnn
    assert (model.architecture, model.height, model.width, model.patch_size) == ("cnn", 8, 12, 2)
    assert (cnn.channels, cnn.channel_multipliers, cnn.blocks_per_level, cnn.latent_channels) == (6, (1, 2), 1, 5)
    assert (model.quantizer.codebook_size, model.quantizer.codebook_dim) == (24, 4)


def test_the_weights_of_the_losses_are_left_out(imported):
    assert imported.left_out == list(LOSSES)


def test_tokens_are_those_of_pytorch(reference, tokenizer):
    assert len(np.unique(reference["tokens"])) > 4
    np.testing.assert_array_equal(tokenizer.encode(reference["images"]), reference["tokens"])


def test_reconstructions_are_those_of_pytorch_mapped_to_0_to_1(reference, tokenizer):
    outputs = tokenizer(reference["images"])
    np.testing.assert_allclose(outputs.images, (reference["pixels"] + 1) / 2, rtol=1e-4, atol=1e-4)


def test_the_image_size_must_suit_the_halvings(tensors):
    with pytest.raises(InputError, match="height 9 isn't a multiple"):
        taming_transformers.import_tokenizer(tensors, 9, WIDTH)


def test_a_network_without_attention_at_the_lowest_resolution_is_refused(tensors):
    plain = {name: value for name, value in tensors.items() if ".attn." not in name}
    with pytest.raises(InputError, match=r"30 missing tensors \(decoder.up.1.attn.0.k.bias.* and 20 more"):
        taming_transformers.import_tokenizer(plain, HEIGHT, WIDTH)


def test_a_gumbel_codebook_is_refused(tensors):
    gumbel = without(tensors, "quantize.embedding.weight") | {"quantize.embed.weight": np.zeros((24, 4), "float32")}
    with pytest.raises(InputError, match="no quantize.embedding.weight"):
        taming_transformers.import_tokenizer(gumbel, HEIGHT, WIDTH)


def test_a_skip_convolution_that_is_missing_is_named(tensors):
    names = [f"encoder.down.1.block.0.nin_shortcut.{name}" for name in ("weight", "bias")]
    imported = taming_transformers.import_tokenizer(without(tensors, *names), HEIGHT, WIDTH)
    with pytest.raises(InputError, match="encoder/level_1_block_0/skip/bias is missing"):
        conversion.assign(build_tokenizer(imported.model), imported.weights)


def test_channels_that_are_not_multiples_are_refused(tensors):
    name = "encoder.down.1.block.0.conv1.weight"
    with pytest.raises(InputError, match=r"\[6, 11\] aren't multiples"):
        taming_transformers.import_tokenizer(tensors | {name: tensors[name][:11]}, HEIGHT, WIDTH)
