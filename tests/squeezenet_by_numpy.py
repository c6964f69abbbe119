"""SqueezeNet 1.1 in NumPy, with random weights under our names: what tests compare the network with."""

import numpy as np

from vim_tf.losses.squeezenet import squeezenet_shapes


def random_arrays(seed=0):
    """Weights that keep the size of activations about the same from layer to layer, by the names of ours."""
    random = np.random.default_rng(seed)
    arrays = {}
    for name, shape in squeezenet_shapes().items():
        scale = np.sqrt(2 / np.prod(shape[:3])) if name.endswith("/kernel") else 0.1
        arrays[name] = (scale * random.standard_normal(shape)).astype("float32")
    # Pixels of 0 to 255 become activations of about 1.
    arrays["conv1/kernel"] /= 64
    return arrays


def activations(arrays, pixels):
    """The activations of every layer.

    Args:
        arrays: dict from the names of `squeezenet_shapes` to array.
        pixels: [batch, height, width, 3], blue, green and red less their means.

    Returns:
        dict from conv1, fire2 to fire9 and logits to float64 arrays.
    """
    hidden = _conv(arrays, "conv1", pixels.astype("float64"), stride=2)
    found = {"conv1": hidden}
    for number in range(2, 10):
        if number in (2, 4, 6):
            hidden = _windows(hidden, 3)[:, ::2, ::2].max(axis=(-1, -2))
        squeezed = _conv(arrays, f"fire{number}_squeeze", hidden)
        padded = np.pad(squeezed, ((0, 0), (1, 1), (1, 1), (0, 0)))
        halves = _conv(arrays, f"fire{number}_expand1", squeezed), _conv(arrays, f"fire{number}_expand3", padded)
        found[f"fire{number}"] = hidden = np.concatenate(halves, axis=-1)
    return found | {"logits": _conv(arrays, "conv10", hidden).mean(axis=(1, 2))}


def caffe(images):
    """Blue, green and red less their means over ImageNet, of red, green and blue in 0..255."""
    return np.stack([images[..., 2] - 103.939, images[..., 1] - 116.779, images[..., 0] - 123.68], axis=-1)


def _windows(features, size):
    """[batch, rows, columns, channels, size, size]."""
    return np.lib.stride_tricks.sliding_window_view(features, (size, size), axis=(1, 2))


def _conv(arrays, name, features, stride=1):
    kernel = arrays[f"{name}/kernel"].astype("float64")
    windows = _windows(features, len(kernel))[:, ::stride, ::stride]
    summed = np.tensordot(windows, kernel.transpose(2, 0, 1, 3), axes=3)
    return np.maximum(summed + arrays[f"{name}/bias"], 0)
