"""SqueezeNet and the distance of its features, with random weights, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import squeezenet_by_numpy as by_numpy
from vim_tf.errors import InputError
from vim_tf.losses import frozen
from vim_tf.losses.perceptual import SqueezeNetDistance, load_perceptual
from vim_tf.losses.squeezenet import SqueezeNet, squeezenet_shapes

# Neither square nor a power of two: poolings meet even and odd sides.
SIZE = (48, 61)


@pytest.fixture(scope="module")
def arrays():
    return by_numpy.random_arrays()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).uniform(0, 1, (2, 2, *SIZE, 3)).astype("float32")


@pytest.fixture(scope="module")
def distance(arrays):
    return SqueezeNetDistance(arrays)


@pytest.fixture
def file(arrays, tmp_path):
    frozen.write_weights(str(tmp_path / "squeezenet.npz"), arrays)
    return str(tmp_path / "squeezenet.npz")


def distance_by_numpy(arrays, first, second):
    """Squared differences of pixels' unit features: their sum over channels, and means over pixels and layers."""
    layers = []
    maps = [by_numpy.activations(arrays, by_numpy.caffe(255.0 * images)) for images in (first, second)]
    for name in ("conv1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9"):
        units = [each[name] / np.linalg.norm(each[name], axis=-1, keepdims=True) for each in maps]
        layers.append(np.square(units[0] - units[1]).sum(axis=-1).mean(axis=(1, 2)))
    return np.mean(layers, axis=0)


class TestNetwork:
    def test_it_has_its_known_number_of_parameters(self):
        assert sum(np.prod(shape) for shape in squeezenet_shapes().values()) == 1_235_496

    def test_every_layer_gives_what_numpy_computes(self, arrays, images):
        network = SqueezeNet()
        network.build()
        network.assign(arrays)
        pixels = by_numpy.caffe(255.0 * images[0]).astype("float32")
        maps = network(pixels)
        expected = by_numpy.activations(arrays, pixels)
        assert [*maps, "logits"] == [*expected]
        for name, found in (maps | {"logits": network.logits(maps["fire9"])}).items():
            np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)

    def test_227_pixels_give_13_in_the_last_module(self, arrays):
        network = SqueezeNet()
        network.build()
        maps = network(tf.zeros([1, 227, 227, 3]))
        assert [maps[name].shape[1] for name in ("conv1", "fire2", "fire4", "fire6", "fire9")] == [113, 56, 27, 13, 13]


class TestDistance:
    def test_it_is_what_numpy_computes(self, distance, arrays, images):
        expected = distance_by_numpy(arrays, *images)
        assert expected.min() > 0.01
        np.testing.assert_allclose(distance(*images), expected, rtol=1e-4)

    def test_the_gradient_points_to_smaller_distances(self, distance, images):
        real, fake = images[0], tf.Variable(images[1])
        with tf.GradientTape() as tape:
            before = tf.reduce_sum(distance(real, fake))
        gradient = tape.gradient(before, fake)
        step = 1e-3 / tf.norm(gradient)
        after = tf.reduce_sum(distance(real, fake - step * gradient))
        np.testing.assert_allclose(before - after, 1e-3 * tf.norm(gradient), rtol=0.05)

    def test_images_get_no_gradient(self, distance, images):
        real = tf.Variable(images[0])
        with tf.GradientTape() as tape:
            distances = distance(real, images[1])
        assert tape.gradient(distances, real) is None

    def test_equal_images_are_0_apart(self, distance, images):
        np.testing.assert_array_equal(distance(images[0], images[0]), [0, 0])

    @pytest.mark.slow
    def test_xla_gives_the_same_distances_and_gradients(self, distance, images):
        fake = tf.constant(images[1])

        def with_gradient():
            with tf.GradientTape() as tape:
                tape.watch(fake)
                distances = distance(images[0], fake)
            return distances, tape.gradient(distances, fake)

        compiled = tf.function(with_gradient, jit_compile=True)()
        for found, expected in zip(compiled, tf.function(with_gradient)(), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())

    def test_a_global_policy_changes_nothing(self, distance, arrays, images):
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            mixed = SqueezeNetDistance(arrays)(*images)
        finally:
            keras.config.set_dtype_policy("float32")
        np.testing.assert_array_equal(mixed, distance(*images))

    def test_31_pixels_are_enough_and_30_refused(self, distance):
        assert distance(tf.zeros([1, 31, 31, 3]), tf.ones([1, 31, 31, 3]))[0] > 0
        with pytest.raises(InputError, match="SqueezeNet needs 31 x 31 px, not 40 x 30"):
            distance(tf.zeros([1, 40, 30, 3]), tf.ones([1, 40, 30, 3]))

    def test_a_model_that_holds_it_has_none_of_its_weights(self, distance):
        class Holder(keras.Model):
            def __init__(self):
                super().__init__()
                self.perceptual = distance

        assert Holder().weights == []
        assert distance.network.trainable_variables == []


class TestFile:
    def test_its_weights_give_the_distance(self, file, distance, images):
        loaded = load_perceptual("squeezenet", file)
        assert loaded.checksum == distance.checksum
        np.testing.assert_array_equal(loaded(*images), distance(*images))

    def test_no_path_says_how_to_make_it(self):
        with pytest.raises(InputError, match=r"--format=squeezenet and give the file as --losses\.perceptual_weights"):
            load_perceptual("squeezenet", "")

    def test_the_file_of_another_network_is_refused(self, tmp_path):
        frozen.write_weights(str(tmp_path / "lpips.npz"), {"conv1_1/kernel": np.zeros([3, 3, 3, 64], "float32")})
        with pytest.raises(
            InputError, match=r"perceptual_weights_file=.*--format=squeezenet, doesn't hold the expected"
        ):
            load_perceptual("squeezenet", str(tmp_path / "lpips.npz"))
