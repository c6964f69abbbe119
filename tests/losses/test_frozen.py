"""Pooling in and out of XLA, inputs as Caffe took them, and files of weights."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.errors import InputError
from vim_tf.losses import frozen


@pytest.mark.parametrize("pool", [2, 3])
@pytest.mark.parametrize("size", [(4, 6), (5, 7), (8, 5)])
def test_pooling_in_xla_is_max_pooling_with_its_gradient_even_where_values_are_equal(size, pool):
    random = np.random.default_rng(0)
    features = tf.constant(random.integers(0, 3, (2, *size, 3)).astype(np.float32))
    rows, columns = ((side - pool) // 2 + 1 for side in size)
    # Whole numbers, whose sums are exact where windows overlap.
    probe = tf.constant(random.integers(-9, 9, (2, rows, columns, 3)).astype(np.float32))

    def pooled_and_gradient():
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = frozen.max_pool(features, pool)
            total = tf.reduce_sum(probe * pooled)
        return pooled, tape.gradient(total, features)

    plain = tf.function(pooled_and_gradient).get_concrete_function()
    compiled = tf.function(pooled_and_gradient, jit_compile=True)
    assert "MaxPoolGrad" in {operation.type for operation in plain.graph.get_operations()}
    for found, expected in zip(compiled(), plain(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_caffe_takes_blue_first_less_its_mean():
    red = tf.constant([[[[200.0, 0.0, 0.0]]]])
    np.testing.assert_allclose(frozen.caffe_pixels(red)[0, 0, 0], [-103.939, -116.779, 200 - 123.68], rtol=1e-6)


class TestFileOfWeights:
    arrays = {"a/kernel": np.array([1.0, 2.0], "float32"), "b": np.array([[3.0]], "float32")}
    shapes = {"a/kernel": (2,), "b": (1, 1)}

    def read(self, path, shapes=None):
        return frozen.read_weights(str(path), shapes or self.shapes, f"--file={path}", "make-it")

    def test_what_was_written_is_read(self, tmp_path):
        frozen.write_weights(str(tmp_path / "weights.npz"), self.arrays)
        found = self.read(tmp_path / "weights.npz")
        assert found.keys() == self.arrays.keys()
        for name, values in self.arrays.items():
            np.testing.assert_array_equal(found[name], values)

    def test_weights_of_another_network_are_refused(self, tmp_path):
        frozen.write_weights(str(tmp_path / "weights.npz"), self.arrays)
        with pytest.raises(InputError, match=r"--file=.*, to be made with make-it, .*c is missing; b is unknown"):
            self.read(tmp_path / "weights.npz", {"a/kernel": (2,), "c": (1,)})

    def test_a_changed_value_is_noticed(self, tmp_path):
        changed = self.arrays | {"sha256": frozen.checksum(self.arrays), "b": np.array([[4.0]], "float32")}
        np.savez(tmp_path / "weights.npz", **changed)
        with pytest.raises(InputError, match=r"is damaged \(its checksum doesn't match\): make it again with make-it"):
            self.read(tmp_path / "weights.npz")
