"""Dense layers from packed kernels: the layer's own values."""

import keras
import numpy as np
import pytest

from vim_tf.models.cpu.packed_kernels import PackedKernels


def layer_of(units, channels=5, **settings):
    layer = keras.layers.Dense(units, **settings)
    layer.build((None, channels))
    random = np.random.default_rng(units)
    for weight in layer.weights:
        # Small integers: every sum is exact, in any order.
        weight.assign(random.integers(-3, 4, weight.shape))
    return layer


def inputs_of(batch, channels=5):
    return np.random.default_rng(batch).integers(-3, 4, (batch, 1, channels)).astype("float32")


class TestValues:
    # 64 columns are one product, 192 can't be halved, 256 are two products of two blocks each.
    @pytest.mark.parametrize("units", [64, 128, 192, 256])
    @pytest.mark.parametrize("batch", [1, 3])
    def test_they_are_the_products(self, units, batch):
        layer, inputs = layer_of(units), inputs_of(batch)
        outputs = PackedKernels([layer])(layer, inputs)
        np.testing.assert_array_equal(outputs, inputs @ layer.kernel.numpy() + layer.bias.numpy())

    def test_the_activation_comes_last(self):
        layer, inputs = layer_of(64, activation="relu"), inputs_of(2)
        expected = np.maximum(inputs @ layer.kernel.numpy() + layer.bias.numpy(), 0)
        np.testing.assert_array_equal(PackedKernels([layer])(layer, inputs), expected)

    def test_a_bias_may_be_missing(self):
        layer, inputs = layer_of(64, use_bias=False), inputs_of(2)
        np.testing.assert_array_equal(PackedKernels([layer])(layer, inputs), inputs @ layer.kernel.numpy())

    @pytest.mark.parametrize("dtype", ["mixed_bfloat16", "float32"])
    def test_the_types_are_the_layers(self, dtype):
        layer, inputs = layer_of(64, dtype=dtype), keras.ops.cast(inputs_of(2), "bfloat16")
        outputs, expected = PackedKernels([layer])(layer, inputs), layer(inputs)
        assert outputs.dtype == expected.dtype
        np.testing.assert_array_equal(outputs, expected)


class TestLayersThatAreNotPacked:
    def test_a_width_that_is_no_multiple_of_64_is_called(self):
        layer, inputs = layer_of(96), inputs_of(2)
        np.testing.assert_array_equal(PackedKernels([layer])(layer, inputs), layer(inputs))

    def test_another_layer_is_called(self):
        layer, other, inputs = layer_of(64), layer_of(64, activation="relu"), inputs_of(2)
        np.testing.assert_array_equal(PackedKernels([layer])(other, inputs), other(inputs))


def test_the_kernels_are_copies():
    layer, inputs = layer_of(64), inputs_of(2)
    packed, expected = PackedKernels([layer]), layer(inputs)
    layer.kernel.assign(layer.kernel + 1)
    np.testing.assert_array_equal(packed(layer, inputs), expected)
