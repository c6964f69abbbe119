"""Converts LPIPS' weights from two PyTorch files to one file of arrays that needs no PyTorch.

torchvision's VGG16 (a state dict with `features.<index>.weight` and `.bias`) gives the convolutions, and the file of
LPIPS' authors for VGG16, version 0.1 (`lin<stage>.model.1.weight`), the heads.
"""

from vim_tf.errors import InputError
from vim_tf.interop import conversion, torch_files
from vim_tf.losses import frozen
from vim_tf.losses.perceptual import VGG16_CHANNELS, lpips_shapes
from vim_tf.storage import npz

# Indices of the convolutions in torchvision's chain, between activations and poolings.
TORCHVISION_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def convert(checkpoint, heads, output):
    """Writes the file that `vim_tf.losses.perceptual.load_perceptual` reads, whole or not at all.

    Args:
        checkpoint: str, PyTorch file of torchvision's VGG16.
        heads: str, PyTorch file of LPIPS' linear heads for VGG16.
        output: str, the .npz file.

    Raises:
        InputError: a file can't be read safely or is of another model, or the output can't be written.
    """
    arrays = convert_tensors(torch_files.read_state_dict(checkpoint), torch_files.read_state_dict(heads))
    frozen.write_weights(output, arrays)


def convert_tensors(vgg16, heads, channels=VGG16_CHANNELS):
    """Converts PyTorch's tensors to our arrays.

    Args:
        vgg16: dict from torchvision's names to numpy float32; `classifier.*` is left out.
        heads: dict from LPIPS' names to numpy float32 [1, channels, 1, 1].
        channels: one int for each stage of VGG16.

    Returns:
        dict from the names of `lpips_shapes` to numpy float32.

    Raises:
        InputError: tensors are missing, left over, of other shapes, or a head is below 0; the message lists them.
    """
    shapes = lpips_shapes(channels)
    convs = [name.removesuffix("/kernel") for name in shapes if name.startswith("conv") and name.endswith("/kernel")]
    table = {}
    for index, conv in zip(TORCHVISION_INDICES, convs, strict=True):
        table |= conversion.conv(conv, f"features.{index}")
    for stage in range(len(channels)):
        table |= conversion.dense(f"head{stage + 1}", f"lin{stage}.model.1", bias=False)
    twice = sorted(set(vgg16) & set(heads))
    if twice:
        raise InputError(f"--checkpoint and --heads both hold {twice[0]}: give VGG16 and the heads, one file each")
    arrays, _ = conversion.convert(vgg16 | heads, table, left_out=["classifier."])
    npz.check_shapes(arrays, shapes, "VGG16 with LPIPS' heads")
    negative = [name for name in arrays if name.startswith("head") and arrays[name].min() < 0]
    if negative:
        raise InputError(f"--heads holds values below 0, which LPIPS' heads never have: {', '.join(negative)}")
    return arrays
