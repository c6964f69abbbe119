"""Imports checkpoints of enhancing-transformers' ViT-VQGAN, https://github.com/thuanz123/enhancing-transformers.

Its encoder and decoder are ours with different settings: fixed positions, tanh inside the blocks, one layer as the
head, queries, keys and values without a bias, heads of 64 channels, RGB output. Its encoder takes images in [0, 1]
unchanged; ours centres them on 0, which the embedding's weights compensate for.
"""

import numpy as np

from vim_tf import config as configs
from vim_tf.errors import InputError
from vim_tf.interop.conversion import Imported, convert, count, dense, identity, norm, shape_of
from vim_tf.models.vit import sincos_positions

_PROJECT = "enhancing-transformers"
_HEAD_DIM = 64
_POSITIONS = {"encoder": "encoder.en_pos_embedding", "decoder": "decoder.de_pos_embedding"}
_POSITION_TOLERANCE = 1e-5


def import_tokenizer(arrays):
    """The tokenizer that a state dict holds.

    Args:
        arrays: dict from name to numpy float32.

    Returns:
        Imported.

    Raises:
        InputError: it isn't such a tokenizer, or was trained without decoder positions.
    """
    if "encoder.en_pos_embedding" in arrays and "decoder.de_pos_embedding" not in arrays:
        raise InputError(
            "the checkpoint has no decoder.de_pos_embedding: the project's versions from 1e5e8cc (22 December 2022) to "
            "before c3a947e (18 January 2023) left out the decoder's positions, and such a model can't be imported; "
            "use one of another version"
        )
    sizes = {side: _transformer(arrays, side) for side in _POSITIONS}
    patch_size = _patch_size(arrays)
    grid_height, grid_width = _grid(arrays)
    codebook_size, codebook_dim = shape_of(arrays, "quantizer.embedding.weight", 2, _PROJECT)
    weights, left_out = convert(arrays, _table(sizes, patch_size), left_out=["loss."], used=_POSITIONS.values())
    model = configs.TokenizerModelConfig(
        height=grid_height * patch_size,
        width=grid_width * patch_size,
        patch_size=patch_size,
        pixels="rgb",
        encoder=sizes["encoder"],
        decoder=sizes["decoder"],
        vit=configs.ViTConfig(
            positions="sincos",
            mlp_activation="tanh",
            head="linear",
            qkv_bias=False,
            head_dim=_HEAD_DIM,
            layer_norm_epsilon=1e-5,
        ),
        quantizer=configs.QuantizerConfig(
            kind="vq",
            codebook_size=codebook_size,
            codebook_dim=codebook_dim,
            l2_normalize=True,
            straight_through="latents",
        ),
    )
    # As it was trained: squared error, LPIPS and StyleGAN2's loss with the paper's weights, no logit-Laplace.
    losses = configs.TokenizerLossConfig(logit_laplace_weight=0.0)
    return Imported(model, losses, weights, left_out)


def _transformer(arrays, side):
    prefix = f"{side}.transformer.layers."
    hidden_dim = shape_of(arrays, _POSITIONS[side], 3, _PROJECT)[2]
    inner = shape_of(arrays, f"{prefix}0.0.fn.to_qkv.weight", 2, _PROJECT)[0] // 3
    if inner % _HEAD_DIM:
        raise InputError(f"{prefix}0.0.fn.to_qkv.weight has {inner} channels, not a multiple of {_HEAD_DIM}")
    return configs.TransformerConfig(
        num_layers=count(arrays, prefix),
        num_heads=inner // _HEAD_DIM,
        hidden_dim=hidden_dim,
        mlp_dim=shape_of(arrays, f"{prefix}0.1.fn.net.0.weight", 2, _PROJECT)[0],
    )


def _patch_size(arrays):
    names = ("encoder.to_patch_embedding.0.weight", "decoder.to_pixel.1.weight")
    sides = {side for name in names for side in shape_of(arrays, name, 4, _PROJECT)[2:]}
    if len(sides) > 1:
        shapes = ", ".join(f"{name} {arrays[name].shape}" for name in names)
        raise InputError(f"patches must be squares of one size, but the checkpoint has {shapes}")
    return sides.pop()


def _grid(arrays):
    """Height and width of the grid whose positions equal the saved ones."""
    _, num_tokens, hidden_dim = shape_of(arrays, _POSITIONS["encoder"], 3, _PROJECT)
    for height in (divisor for divisor in range(1, num_tokens + 1) if num_tokens % divisor == 0):
        width = num_tokens // height
        if all(_same_positions(arrays[name], height, width) for name in _POSITIONS.values()):
            return height, width
    raise InputError(
        f"{' or '.join(_POSITIONS.values())} is not the fixed sine and cosine of any grid of {num_tokens} positions: "
        "such a model can't be imported"
    )


def _same_positions(saved, height, width):
    ours = sincos_positions(height, width, saved.shape[2])[None]
    return saved.shape == ours.shape and np.allclose(saved, ours, rtol=0, atol=_POSITION_TOLERANCE)


def _table(sizes, patch_size):
    table = {
        "encoder/embedding/kernel": (_embedding_kernel, "encoder.to_patch_embedding.0.weight"),
        "encoder/embedding/bias": (
            _embedding_bias,
            "encoder.to_patch_embedding.0.weight",
            "encoder.to_patch_embedding.0.bias",
        ),
        **dense("encoder/head_output", "pre_quant"),
        "quantizer/codebook": (identity, "quantizer.embedding.weight"),
        **dense("decoder/embedding", "post_quant"),
        "decoder/head_output/kernel": (_pixel_kernel, "decoder.to_pixel.1.weight"),
        "decoder/head_output/bias": (lambda bias: np.tile(bias, patch_size**2), "decoder.to_pixel.1.bias"),
    }
    for side, size in sizes.items():
        table |= norm(f"{side}/final_norm", f"{side}.transformer.norm")
        for index in range(size.num_layers):
            ours, theirs = f"{side}/block_{index}", f"{side}.transformer.layers.{index}"
            table |= norm(f"{ours}/attention_norm", f"{theirs}.0.norm")
            table |= dense(f"{ours}/attention/query_key_value", f"{theirs}.0.fn.to_qkv", bias=False)
            table |= dense(f"{ours}/attention/output_projection", f"{theirs}.0.fn.to_out")
            table |= norm(f"{ours}/mlp_norm", f"{theirs}.1.norm")
            table |= dense(f"{ours}/mlp_in", f"{theirs}.1.fn.net.0")
            table |= dense(f"{ours}/mlp_out", f"{theirs}.1.fn.net.2")
    return table


def _embedding_kernel(weight):
    """[hidden, 3, patch, patch] for images in [0, 1] to [patch * patch * 3, hidden] for images in [-1, 1]."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0]) / 2


def _embedding_bias(weight, bias):
    # W x + b with x = (y + 1) / 2.
    return bias + weight.sum(axis=(1, 2, 3)) / 2


def _pixel_kernel(weight):
    """[hidden, 3, patch, patch] of a transposed convolution to [hidden, patch * patch * 3]."""
    return weight.transpose(0, 2, 3, 1).reshape(weight.shape[0], -1)
