"""EfficientNet-Lite0 in NumPy, with random tensors under the names of EfficientNet-PyTorch."""

import numpy as np

from vim_tf.models.efficientnet import blocks


def random_tensors(seed=0):
    """Convolutions, normalisations and classifier, by the names of EfficientNet-PyTorch."""
    random = np.random.default_rng(seed)
    tensors = {}

    def add(conv, norm, outputs, inputs, side):
        shape = (outputs, inputs, side, side)
        tensors[f"{conv}.weight"] = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        for name, low, high in (("weight", 0.5, 1.5), ("bias", 0, 1), ("running_mean", -1, 1), ("running_var", 0.5, 2)):
            tensors[f"{norm}.{name}"] = random.uniform(low, high, outputs)
        tensors[f"{norm}.num_batches_tracked"] = np.array(1.0)

    add("_conv_stem", "_bn0", 32, 3, 3)
    for number, block in enumerate(blocks()):
        prefix = f"_blocks.{number}."
        if number:
            add(f"{prefix}_expand_conv", f"{prefix}_bn0", block.hidden, block.inputs, 1)
        add(f"{prefix}_depthwise_conv", f"{prefix}_bn1", block.hidden, 1, block.kernel)
        add(f"{prefix}_project_conv", f"{prefix}_bn2", block.outputs, block.hidden, 1)
    add("_conv_head", "_bn1", 1280, 320, 1)
    tensors |= {"_fc.weight": random.standard_normal((1000, 1280)) / 36, "_fc.bias": random.standard_normal(1000)}
    return {name: values.astype("float32") for name, values in tensors.items()}


def outputs(tensors, pixels):
    """(features [batch, 1280], logits [batch, 1000]) in float64, of pixels [batch, height, width, 3]."""
    hidden = _activated(tensors, "_conv_stem", "_bn0", pixels.astype("float64"), 2)
    # Strides and channels as the paper's table has them for the baseline network, whose stem and head the Lite variant
    # keeps: 16 blocks, of which numbers 1, 3, 5 and 11 halve the image.
    for number in range(16):
        prefix, before = f"_blocks.{number}.", hidden
        if number:
            hidden = _activated(tensors, f"{prefix}_expand_conv", f"{prefix}_bn0", hidden)
        stride = 2 if number in (1, 3, 5, 11) else 1
        hidden = _activated(tensors, f"{prefix}_depthwise_conv", f"{prefix}_bn1", hidden, stride)
        hidden = _normalised(tensors, f"{prefix}_project_conv", f"{prefix}_bn2", hidden)
        if stride == 1 and hidden.shape == before.shape:
            hidden = hidden + before
    features = _activated(tensors, "_conv_head", "_bn1", hidden).mean(axis=(1, 2))
    return features, features @ tensors["_fc.weight"].T.astype("float64") + tensors["_fc.bias"]


def _activated(*arguments):
    return np.clip(_normalised(*arguments), 0, 6)


def _normalised(tensors, conv, norm, features, stride=1):
    weight = tensors[f"{conv}.weight"].astype("float64")
    side = weight.shape[-1]
    padding = [(0, 0), *(_padding(size, side, stride) for size in features.shape[1:3]), (0, 0)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(features, padding), (side, side), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    if "depthwise" in conv:
        summed = np.einsum("bhwcij,cij->bhwc", windows, weight[:, 0])
    else:
        summed = np.tensordot(windows, weight.transpose(1, 2, 3, 0), axes=3)
    mean, variance, scale, shift = (
        tensors[f"{norm}.{name}"].astype("float64") for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (summed - mean) / np.sqrt(variance + 1e-3) * scale + shift


def _padding(size, side, stride):
    """As TensorFlow pads "same": the odd pixel goes behind."""
    missing = max((-(-size // stride) - 1) * stride + side - size, 0)
    return missing // 2, missing - missing // 2
