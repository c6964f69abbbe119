"""Dense layers for a few rows at a time: kernels in the order in which a product reads them."""

import math

from keras import ops

# Columns stored together, and products that a kernel is cut into so that more than one thread has work.
_COLUMNS, _PRODUCTS = 64, 2


class PackedKernels:
    """Copies of Dense layers' kernels for a loop that repeatedly multiplies a few rows by them.

    Such a product takes as long as reading its kernel. XLA's products on CPUs take a few columns at a time, and these
    are short pieces of a row-major kernel, a row apart, which processors don't fetch ahead. Here 64 columns are
    stored together, which measures faster than 32 or 128. The copies are as large as the kernels.

    Args:
        layers: list of built keras.layers.Dense. Those whose units aren't a multiple of 64 stay as they are.
    """

    def __init__(self, layers):
        self._kernels = {id(layer): _packed(layer) for layer in layers if layer.units % _COLUMNS == 0}

    def __call__(self, layer, inputs):
        """The layer's outputs.

        Args:
            layer: keras.layers.Dense; it is called if it isn't packed.
            inputs: float [batch, 1, channels].

        Returns:
            float [batch, 1, units].
        """
        if id(layer) not in self._kernels:
            return layer(inputs)
        rows = ops.cast(ops.reshape(inputs, (1, -1, inputs.shape[-1])), layer.compute_dtype)
        products = [
            ops.matmul(ops.broadcast_to(rows, (kernel.shape[0], *ops.shape(rows)[1:])), kernel)
            for kernel in self._kernels[id(layer)]
        ]
        columns = ops.transpose(ops.concatenate(products, axis=0), (1, 0, 2))  # [batch, units / 64, 64]
        outputs = ops.reshape(columns, (-1, 1, layer.units))
        if layer.use_bias:
            outputs = outputs + ops.cast(layer.bias, outputs.dtype)
        return layer.activation(outputs)


def _packed(layer):
    """The kernel's columns in groups of 64: list of float [part of units / 64, channels, 64]."""
    kernel = ops.cast(layer.kernel, layer.compute_dtype)
    columns = ops.transpose(ops.reshape(kernel, (kernel.shape[0], -1, _COLUMNS)), (1, 0, 2))
    return ops.split(columns, math.gcd(_PRODUCTS, columns.shape[0]), axis=0)
