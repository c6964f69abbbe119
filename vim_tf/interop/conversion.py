"""Converts another project's tensors to our weights, according to a table.

A table maps the path of a weight below its model, such as `encoder/embedding/kernel`, to `(function, *names)`: the
weight is the function of the tensors of these names. The functions below create the rows of one layer.
"""

from typing import Any, NamedTuple

import numpy as np

from vim_tf.errors import InputError

_SHOWN = 10


class Imported(NamedTuple):
    """A checkpoint of another project, in our terms.

    Attributes:
        model: TokenizerModelConfig.
        losses: TokenizerLossConfig of that project's training, as far as ours can express it.
        weights: dict from the path of a weight below the tokenizer to numpy float32.
        left_out: names of the tensors that are known but not needed.
    """

    model: Any
    losses: Any
    weights: dict
    left_out: list


def identity(tensor):
    return tensor


def dense(ours, theirs, bias=True):
    """Rows of a Dense layer for a `Linear`, or for a 1 x 1 convolution."""
    rows = {f"{ours}/kernel": (linear_kernel, f"{theirs}.weight")}
    return rows | ({f"{ours}/bias": (identity, f"{theirs}.bias")} if bias else {})


def conv(ours, theirs):
    """Rows of a Conv2D layer for a `Conv2d`."""
    return {f"{ours}/kernel": (conv_kernel, f"{theirs}.weight"), f"{ours}/bias": (identity, f"{theirs}.bias")}


def norm(ours, theirs):
    """Rows of a LayerNormalization or GroupNormalization layer."""
    return {f"{ours}/gamma": (identity, f"{theirs}.weight"), f"{ours}/beta": (identity, f"{theirs}.bias")}


def linear_kernel(weight):
    """[outputs, inputs, 1...] to [inputs, outputs]."""
    return weight.reshape(weight.shape[:2]).T


def conv_kernel(weight):
    """[outputs, inputs, height, width] to [height, width, inputs, outputs]."""
    return weight.transpose(2, 3, 1, 0)


def shape_of(arrays, name, rank, project):
    """Shape of a tensor from which a size is read.

    Raises:
        InputError: the tensor is missing or has another number of axes.
    """
    if name not in arrays:
        raise InputError(f"this isn't a checkpoint of {project}: it has no {name}")
    shape = arrays[name].shape
    if len(shape) != rank:
        raise InputError(f"this isn't a checkpoint of {project}: {name} has shape {shape}, not {rank} axes")
    return shape


def count(arrays, prefix):
    """How many of `<prefix>0.`, `<prefix>1.`, ... are prefixes of names."""
    indices = {name[len(prefix) :].split(".")[0] for name in arrays if name.startswith(prefix)}
    return len(indices)


def convert(arrays, table, left_out=(), used=()):
    """Converts tensors to our weights.

    Args:
        arrays: dict from name to numpy float32.
        table: dict, as above.
        left_out: prefixes of names that are not needed.
        used: names that were needed for something else.

    Returns:
        (dict from path to numpy float32, list of the names that were left out).

    Raises:
        InputError: tensors are missing or left over, or shapes don't fit; the message lists them.
    """
    needed = {name for _, *names in table.values() for name in names} | set(used)
    known = sorted(name for name in arrays if name.startswith(tuple(left_out)))
    missing = sorted(needed - set(arrays))
    left_over = sorted(set(arrays) - needed - set(known))
    if missing or left_over:
        parts = [_listed("missing", missing), _listed("unknown", left_over)]
        raise InputError(f"the model can't be imported: the checkpoint has {' and '.join(filter(None, parts))}")
    weights = {}
    for path, (function, *names) in table.items():
        try:
            weights[path] = np.ascontiguousarray(function(*(arrays[name] for name in names)), "float32")
        except ValueError as error:
            shapes = ", ".join(f"{name} {arrays[name].shape}" for name in names)
            raise InputError(f"the checkpoint's shapes don't fit {path}: {shapes}") from error
    return weights, known


def _listed(what, names):
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {what} tensors ({', '.join(names[:_SHOWN])}{more})" if names else ""


def assign(model, weights):
    """Sets a model's weights to converted ones.

    Args:
        model: the built model.
        weights: dict from the path of a weight below the model to numpy float32; has every trained weight.

    Raises:
        InputError: a weight is missing, unknown or of another shape; the message lists them.
    """
    ours = {weight.path.removeprefix(f"{model.name}/"): weight for weight in model.weights}
    trained = {path for path, weight in ours.items() if weight.trainable}
    wrong = [f"{path} is missing" for path in sorted(trained - set(weights))]
    wrong += [f"{path} is unknown" for path in sorted(set(weights) - set(ours))]
    wrong += [
        f"{path} is {tuple(values.shape)} and not {tuple(ours[path].shape)}"
        for path, values in weights.items()
        if path in ours and tuple(values.shape) != tuple(ours[path].shape)
    ]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise InputError(f"the checkpoint doesn't fit its own sizes: {'; '.join(wrong[:_SHOWN])}{more}")
    for path, values in weights.items():
        ours[path].assign(values)
