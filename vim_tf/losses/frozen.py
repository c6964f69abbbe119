"""Parts of the frozen networks that judge images: files of weights, inputs as Caffe took them, pooling."""

import functools
import itertools

import numpy as np
import tensorflow as tf
from keras import ops
from tensorflow.python.ops import control_flow_util

from vim_tf.errors import InputError, one_line
from vim_tf.storage import npz
from vim_tf.storage.digests import digest_of_parts

# Name under which a file of weights keeps their checksum.
_CHECKSUM = "sha256"
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # of blue, green and red in 0..255


def checksum(arrays):
    """sha256 of names, shapes and float32 values of arrays, in hexadecimal digits."""
    return digest_of_parts(_parts(arrays))


def _parts(arrays):
    for name in sorted(arrays):
        yield f"{name} {tuple(arrays[name].shape)}\n".encode()
        yield np.ascontiguousarray(arrays[name], "<f4").tobytes()


def write_weights(path, arrays):
    """Writes arrays and their checksum as an .npz file, whole or not at all.

    Args:
        path: str, as `vim_tf.import_weights --output` gives it.
        arrays: dict from name to numpy float32.

    Raises:
        InputError: the file can't be written.
    """
    try:
        npz.write(path, arrays | {_CHECKSUM: checksum(arrays)})
    except (tf.errors.OpError, OSError) as error:
        raise InputError(f"--output={path} can't be written: {one_line(error, lines=1)}") from error


def read_weights(path, shapes, name, command):
    """The arrays of a file that `write_weights` wrote.

    Args:
        path: str.
        shapes: dict from name to tuple of int, all arrays that the file must hold.
        name: str, what messages call the file: its flag with the value.
        command: str, the command that makes such a file, for messages.

    Returns:
        dict from name to numpy float32.

    Raises:
        InputError: the file is missing or damaged, or holds other weights.
    """
    arrays = npz.read(path, name, f"make it with {command}")
    stored = str(arrays.pop(_CHECKSUM, ""))
    npz.check_shapes(arrays, shapes, f"{name}, to be made with {command},")
    if stored != checksum(arrays):
        raise InputError(f"{name} is damaged (its checksum doesn't match): make it again with {command}")
    return arrays


def caffe_pixels(images):
    """Images as networks that were trained in Caffe take them.

    Args:
        images: float32 [batch, height, width, 3], red, green and blue in [0, 255].

    Returns:
        float32, same shape: blue, green and red, each less its mean over ImageNet.
    """
    return ops.flip(images, axis=-1) - np.asarray(_CAFFE_MEAN, "float32")


def max_pool(features, size):
    """The largest of each `size` x `size` pixels, every second one; only windows that lie within the image count.

    Args:
        features: float32 [batch, height, width, channels], static height and width.
        size: int, 2 or 3.

    Returns:
        float32 [batch, (height - size) // 2 + 1, (width - size) // 2 + 1, channels]. The gradient goes to the first of
        equal ones.
    """
    if not control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
        return ops.max_pool(features, size, strides=2)
    # XLA refuses the gradient of max_pool where results must be deterministic. Without XLA, max_pool is faster.
    rows, columns = ((side - size) // 2 * 2 + 1 for side in features.shape[1:3])
    windows = [
        features[:, row : row + rows : 2, column : column + columns : 2]
        for row, column in itertools.product(range(size), repeat=2)
    ]
    return functools.reduce(ops.maximum, windows)
