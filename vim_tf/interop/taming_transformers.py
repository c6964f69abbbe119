"""Imports checkpoints of taming-transformers' VQGAN, https://github.com/CompVis/taming-transformers.

Its networks are those of `vim_tf.models.cnn`. Its images are in [-1, 1]: our encoder centres images itself, and the
decoder's last layer is scaled to [0, 1].
"""

import numpy as np

from vim_tf import config as configs
from vim_tf.errors import InputError
from vim_tf.interop.conversion import (
    Imported,
    conv,
    conv_kernel,
    convert,
    count,
    dense,
    identity,
    linear_kernel,
    norm,
    shape_of,
)

_PROJECT = "taming-transformers"


def import_tokenizer(arrays, height, width):
    """The tokenizer that a state dict holds.

    Args:
        arrays: dict from name to numpy float32.
        height, width: int, image size in pixels, which isn't in the file.

    Returns:
        Imported.

    Raises:
        InputError: it isn't a VQGAN with attention at the lowest resolution and a plain codebook.
    """
    network = _network(arrays)
    codebook_size, codebook_dim = shape_of(arrays, "quantize.embedding.weight", 2, _PROJECT)
    weights, left_out = convert(arrays, _table(arrays, network), left_out=["loss."])
    model = configs.TokenizerModelConfig(
        architecture="cnn",
        height=height,
        width=width,
        patch_size=2 ** (len(network.channel_multipliers) - 1),
        pixels="rgb",
        cnn=network,
        quantizer=configs.QuantizerConfig(
            kind="vq", codebook_size=codebook_size, codebook_dim=codebook_dim, l2_normalize=False
        ),
        discriminator=configs.DiscriminatorConfig(kind="patchgan"),
    )
    # As it was trained, https://arxiv.org/abs/2012.09841, eq. 5 to 7; an error in [-1, 1] is twice the one in [0, 1].
    # In that project, beta weights the codebook's term; in the paper, the commitment's.
    losses = configs.TokenizerLossConfig(
        codebook_weight=0.25,
        commitment_weight=1.0,
        l1_weight=2.0,
        l2_weight=0.0,
        logit_laplace_weight=0.0,
        perceptual_weight=1.0,
        adversarial_loss="hinge",
        adversarial_weight=0.8,
        adaptive_weight=True,
        r1_gamma=0.0,
    )
    return Imported(model, losses, weights, left_out)


def _network(arrays):
    channels = shape_of(arrays, "encoder.conv_in.weight", 4, _PROJECT)[0]
    num_levels = count(arrays, "encoder.down.")
    widths = [
        shape_of(arrays, f"encoder.down.{level}.block.0.conv1.weight", 4, _PROJECT)[0] for level in range(num_levels)
    ]
    if any(width % channels for width in widths):
        raise InputError(f"the levels' channels {widths} aren't multiples of the first convolution's {channels}")
    return configs.CNNConfig(
        channels=channels,
        channel_multipliers=tuple(width // channels for width in widths),
        blocks_per_level=count(arrays, "encoder.down.0.block."),
        latent_channels=shape_of(arrays, "encoder.conv_out.weight", 4, _PROJECT)[0],
    )


def _table(arrays, network):
    table = {
        **conv("encoder/conv_in", "encoder.conv_in"),
        **norm("encoder/norm_out", "encoder.norm_out"),
        **conv("encoder/conv_out", "encoder.conv_out"),
        **conv("encoder/code_projection", "quant_conv"),
        "quantizer/codebook": (identity, "quantize.embedding.weight"),
        **conv("decoder/code_projection", "post_quant_conv"),
        **conv("decoder/conv_in", "decoder.conv_in"),
        **norm("decoder/norm_out", "decoder.norm_out"),
        "decoder/conv_out/kernel": (lambda weight: conv_kernel(weight) / 2, "decoder.conv_out.weight"),
        "decoder/conv_out/bias": (lambda bias: (bias + 1) / 2, "decoder.conv_out.bias"),
    }
    last = len(network.channel_multipliers) - 1
    sides = (("encoder", "down", network.blocks_per_level), ("decoder", "up", network.blocks_per_level + 1))
    for side, levels, num_blocks in sides:
        for index in range(2):
            table |= _block(arrays, f"{side}/middle_block_{index}", f"{side}.mid.block_{index + 1}")
        table |= _attention(f"{side}/middle_attention", f"{side}.mid.attn_1")
        for level in range(last + 1):
            ours, theirs = f"{side}/level_{level}", f"{side}.{levels}.{level}"
            for index in range(num_blocks):
                table |= _block(arrays, f"{ours}_block_{index}", f"{theirs}.block.{index}")
                if level == last:
                    table |= _attention(f"{ours}_attention_{index}", f"{theirs}.attn.{index}")
            if side == "encoder" and level < last:
                table |= conv(f"{ours}_halving", f"{theirs}.downsample.conv")
            if side == "decoder" and level > 0:
                table |= conv(f"{ours}_doubling/conv", f"{theirs}.upsample.conv")
    return table


def _block(arrays, ours, theirs):
    rows = {
        **norm(f"{ours}/norm_in", f"{theirs}.norm1"),
        **conv(f"{ours}/conv_in", f"{theirs}.conv1"),
        **norm(f"{ours}/norm_out", f"{theirs}.norm2"),
        **conv(f"{ours}/conv_out", f"{theirs}.conv2"),
    }
    # Only where the channels change; comparing with the model's weights shows if the right blocks have it.
    return rows | (conv(f"{ours}/skip", f"{theirs}.nin_shortcut") if f"{theirs}.nin_shortcut.weight" in arrays else {})


def _attention(ours, theirs):
    names = [f"{theirs}.{part}" for part in "qkv"]
    return {
        **norm(f"{ours}/norm", f"{theirs}.norm"),
        f"{ours}/attention/query_key_value/kernel": (_joined_kernels, *(f"{name}.weight" for name in names)),
        f"{ours}/attention/query_key_value/bias": (_joined_biases, *(f"{name}.bias" for name in names)),
        **dense(f"{ours}/attention/output_projection", f"{theirs}.proj_out"),
    }


def _joined_kernels(*weights):
    return np.concatenate([linear_kernel(weight) for weight in weights], axis=1)


def _joined_biases(*biases):
    return np.concatenate(biases)
