"""Arrays of the reference scripts beside this file: from numpy to PyTorch, and to disk."""

import pathlib

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).parent


def tensor(array, gradient=False):
    return torch.tensor(array, dtype=torch.float32, requires_grad=gradient)


def save(name, **arrays):
    stored = {}
    for key, value in arrays.items():
        value = value.detach().numpy() if torch.is_tensor(value) else np.asarray(value)
        stored[key] = value.astype("float32") if value.dtype == np.float64 else value
    np.savez_compressed(FOLDER / f"{name}.npz", **stored)
