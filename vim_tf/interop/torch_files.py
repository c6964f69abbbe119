"""Reads PyTorch's files without running code in them."""

import tensorflow as tf

from vim_tf.errors import InputError


class _Name:
    """An empty replacement for a class of another library that a file refers to."""


# PyTorch Lightning before 1.5 keeps the state of a callback under its class, next to the weights.
_HARMLESS_NAMES = ("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",)


def read_state_dict(path):
    """Weights by name.

    Such a file is a pickle, which can run arbitrary code. PyTorch's weights-only loader builds tensors and plain
    containers and refuses everything else; no other unpickler is ever used.

    Args:
        path: str, a state dict, or a checkpoint that holds one as `state_dict`.

    Returns:
        dict from str to numpy float32.

    Raises:
        InputError: PyTorch is missing; the file is missing, damaged, holds more than weights, or no state dict.
    """
    values = _load(path)
    if isinstance(values, dict) and isinstance(values.get("state_dict"), dict):
        values = values["state_dict"]
    if not isinstance(values, dict) or not values:
        raise InputError(f"{path} holds no state dict: give a checkpoint with state_dict, or a saved state dict itself")
    strangers = [name for name, value in values.items() if not isinstance(name, str) or not hasattr(value, "detach")]
    if strangers:
        raise InputError(f"{path} holds no state dict: {strangers[0]!r} isn't a tensor; give only its state_dict")
    return {name: value.detach().float().numpy() for name, value in values.items()}


def _load(path):
    try:
        import torch
    except ImportError as error:
        raise InputError(
            "reading PyTorch's files needs PyTorch, which vim_tf doesn't install: pip install 'torch>=2.6'"
        ) from error
    names = [(_Name, name) for name in _HARMLESS_NAMES]
    try:
        with tf.io.gfile.GFile(path, "rb") as file, torch.serialization.safe_globals(names):
            return torch.load(file, map_location="cpu", weights_only=True)
    except (tf.errors.OpError, OSError) as error:
        raise InputError(f"{path} can't be opened: {_reason(error)}") from error
    except Exception as error:  # damaged or hostile bytes can make the loader raise anything
        raise InputError(
            f"{path} is damaged, or holds more than weights, and PyTorch's weights-only loader refuses it "
            f"({_reason(error)}); get a file with only the state_dict"
        ) from error


def _reason(error):
    """The sentence of an error that says what happened; PyTorch's first ones only say how to disable the protection."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "unsupported" in line.lower()]
    return [*telling, *lines, type(error).__name__][0].split(". ")[0].rstrip(".")
