"""Perceptual distances with a thin VGG16: PyTorch's values, hand-worked cases, and unusable weight files."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from vim_tf.errors import InputError
from vim_tf.losses import frozen, perceptual
from vim_tf.losses.perceptual import LPIPS, VGG16, VGG16FeatureDistance, load_perceptual, unit_features

REFERENCE = pathlib.Path(__file__).parents[1] / "references" / "perceptual.npz"
CHANNELS = (4, 6, 8, 8, 10)
TORCHVISION_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
CONVS = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3"]


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def arrays(reference):
    arrays = {}
    for index, name in zip(TORCHVISION_INDICES, CONVS, strict=True):
        arrays[f"conv{name}/kernel"] = reference[f"vgg16:features.{index}.weight"].transpose(2, 3, 1, 0)
        arrays[f"conv{name}/bias"] = reference[f"vgg16:features.{index}.bias"]
    heads = {f"head{stage + 1}/kernel": reference[f"heads:lin{stage}.model.1.weight"][0, :, :, 0] for stage in range(5)}
    return arrays | heads


@pytest.fixture(scope="module", params=["lpips", "vgg16_features"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def distance(kind, arrays):
    return make(kind, arrays)


def make(kind, arrays):
    if kind == "lpips":
        return LPIPS(arrays, CHANNELS)
    distance = VGG16FeatureDistance(CHANNELS)
    distance.network.assign(arrays)
    return distance


class TestAgainstPyTorch:
    def test_distances_agree(self, distance, kind, reference):
        distances = distance(reference["images"], reference["reconstructions"])
        assert distances.dtype == tf.float32
        np.testing.assert_allclose(distances, reference[kind], rtol=1e-4)

    def test_gradients_of_the_reconstructions_agree(self, distance, kind, reference):
        reconstructions = tf.constant(reference["reconstructions"])
        with tf.GradientTape() as tape:
            tape.watch(reconstructions)
            total = tf.reduce_sum(distance(reference["images"], reconstructions) * reference["probe"])
        expected = reference[f"{kind}_gradient"]
        gradient = tape.gradient(total, reconstructions)
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_equal_images_are_0_apart_and_have_no_gradient(distance, reference):
    images = tf.constant(reference["images"])
    with tf.GradientTape() as tape:
        tape.watch(images)
        distances = distance(reference["images"], images)
    np.testing.assert_array_equal(distances, [0, 0])
    np.testing.assert_array_equal(tape.gradient(distances, images), np.zeros(images.shape))


def test_each_image_has_its_own_distance(distance, reference):
    pair = reference["images"], reference["reconstructions"]
    whole, last = distance(*pair), distance(*(images[1:] for images in pair))
    np.testing.assert_allclose(whole[1:], last, rtol=1e-5)


def test_a_global_policy_changes_nothing(kind, arrays, distance, reference):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        mixed = make(kind, arrays)
        distances = mixed(reference["images"], reference["reconstructions"])
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(distances, distance(reference["images"], reference["reconstructions"]))


def test_small_images_are_refused(distance):
    with pytest.raises(InputError, match="needs 16 x 16 px, not 32 x 15"):
        distance(tf.zeros([1, 32, 15, 3]), tf.zeros([1, 32, 15, 3]))


def test_16_pixels_are_enough(distance):
    assert distance(tf.zeros([1, 16, 16, 3]), tf.ones([1, 16, 16, 3]))[0] > 0


def test_a_model_that_holds_a_distance_neither_trains_nor_saves_its_weights(distance, tmp_path):
    class Holder(keras.Model):
        def __init__(self):
            super().__init__()
            self.perceptual = distance

    holder = Holder()
    assert holder.perceptual is distance
    assert holder.weights == holder.layers == []
    path = tf.train.Checkpoint(holder=holder).write(str(tmp_path / "checkpoint"))
    assert [name for name, _ in tf.train.list_variables(path)] == ["_CHECKPOINTABLE_OBJECT_GRAPH"]
    assert distance.network.trainable_variables == []


def test_images_get_no_gradient(distance, reference):
    images = tf.constant(reference["images"])
    with tf.GradientTape() as tape:
        tape.watch(images)
        distances = distance(images, reference["reconstructions"])
    assert tape.gradient(distances, images) is None


class TestVGG16:
    def test_the_full_one_has_its_known_number_of_parameters(self):
        assert sum(np.prod(shape) for shape in perceptual.vgg16_shapes().values()) == 14_714_688

    def test_weights_have_the_shapes_that_files_are_checked_for(self):
        network = VGG16(CHANNELS)
        network.build()
        assert [tuple(weight.shape) for weight in network.weights] == [*perceptual.vgg16_shapes(CHANNELS).values()]


class TestUnitFeatures:
    def test_a_pixel_has_length_1(self):
        np.testing.assert_allclose(unit_features(tf.constant([[[[3.0, 4.0]]]]))[0, 0, 0], [0.6, 0.8], rtol=1e-6)

    def test_no_features_give_0_and_a_finite_gradient(self):
        features = tf.zeros([1, 1, 1, 3])
        with tf.GradientTape() as tape:
            tape.watch(features)
            units = unit_features(features)
        np.testing.assert_array_equal(units, np.zeros([1, 1, 1, 3]))
        assert np.all(np.isfinite(tape.gradient(units, features)))


def test_a_network_without_any_features_gives_a_finite_gradient(reference):
    distance = VGG16FeatureDistance(CHANNELS)
    images = tf.constant(reference["images"])
    with tf.GradientTape() as tape:
        tape.watch(images)
        distances = distance(reference["reconstructions"], images)
    np.testing.assert_array_equal(tape.gradient(distances, images), np.zeros(images.shape))


def test_orthogonal_features_of_every_stage_are_2_apart():
    """Blue on and red off, against the reverse: of two channels, a different one is on."""
    distance = VGG16FeatureDistance((2, 2, 2, 2, 2))
    for index, conv in enumerate(distance.network.convs):
        kernel = np.zeros(conv.kernel.shape)
        # The kernel's centre passes blue and red on, each in its own channel.
        kernel[1, 1, [0, 2] if index == 0 else [0, 1], [0, 1]] = 1
        conv.kernel.assign(kernel)
    blue, red = np.zeros([2, 1, 16, 16, 3], "float32")
    blue[..., 2] = red[..., 0] = 1
    np.testing.assert_allclose(distance(blue, red), [2], rtol=1e-6)


class TestLPIPSFile:
    def write(self, path, arrays, **changes):
        np.savez(path, **({"sha256": frozen.checksum(arrays)} | arrays | changes))
        return str(path)

    def load(self, path):
        return load_perceptual("lpips", path, CHANNELS)

    def test_no_path_says_how_to_make_the_file(self):
        with pytest.raises(InputError, match=r"import_weights --format=lpips.*--losses\.perceptual_weights_file"):
            self.load("")

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(InputError, match=r"weights_file=.*none\.npz can't be read.*import_weights"):
            self.load(str(tmp_path / "none.npz"))

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 damaged", b"text"])
    def test_another_kind_of_file_is_refused(self, tmp_path, content):
        (tmp_path / "weights.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"weights\.npz can't be read as an \.npz file: .*; make it with"):
            self.load(str(tmp_path / "weights.npz"))

    def test_a_file_that_says_it_is_encrypted_is_refused(self, tmp_path):
        np.savez(tmp_path / "weights.npz", head=np.zeros(3))
        content = bytearray((tmp_path / "weights.npz").read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= 1
        content[6] |= 1
        (tmp_path / "weights.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"weights\.npz can't be read as an \.npz file: .*; make it with"):
            self.load(str(tmp_path / "weights.npz"))

    def test_a_single_array_is_refused(self, tmp_path):
        np.save(tmp_path / "weights.npy", np.zeros(3))
        with pytest.raises(InputError, match=r"weights\.npy can't be read as an \.npz file: .*; make it with"):
            self.load(str(tmp_path / "weights.npy"))

    def test_pickled_arrays_are_not_unpickled(self, tmp_path):
        np.savez(tmp_path / "weights.npz", head=np.array([{}], dtype=object))
        with pytest.raises(InputError, match=r"weights\.npz can't be read as an \.npz file: .*; make it with"):
            self.load(str(tmp_path / "weights.npz"))

    def test_missing_and_unknown_arrays_are_listed(self, tmp_path, arrays):
        others = {name: value for name, value in arrays.items() if name != "head2/kernel"}
        path = self.write(tmp_path / "weights.npz", others | {"other": np.zeros(1)})
        with pytest.raises(InputError, match="head2/kernel is missing; other is unknown"):
            self.load(path)

    def test_a_changed_value_is_noticed(self, tmp_path, arrays):
        path = self.write(tmp_path / "weights.npz", arrays, **{"head1/kernel": arrays["head1/kernel"] + 1e-6})
        with pytest.raises(InputError, match="damaged"):
            self.load(path)

    def test_messages_are_one_line(self, tmp_path):
        with pytest.raises(InputError) as caught:
            self.load(str(tmp_path))
        assert "\n" not in str(caught.value)


class TestKerasFile:
    def network(self, channels, fill):
        """A chain with the layers of Keras Applications' file: each pooling, which has no weights, and convolution."""
        layers, shapes = [keras.Input([None, None, 3])], perceptual.vgg16_shapes(channels)
        for stage, count in enumerate(perceptual.CONVS_PER_STAGE, start=1):
            for number in range(1, count + 1):
                filters = shapes[f"conv{stage}_{number}/bias"][0]
                layers.append(keras.layers.Conv2D(filters, 3, name=f"block{stage}_conv{number}"))
            layers.append(keras.layers.MaxPooling2D(name=f"block{stage}_pool"))
        network = keras.Sequential(layers)
        network.set_weights([np.full(weight.shape, fill + index) for index, weight in enumerate(network.weights)])
        return network

    def test_its_weights_are_taken_in_order(self, tmp_path):
        network = self.network(CHANNELS, 5)
        network.save(tmp_path / "vgg16_notop.h5")
        distance = load_perceptual("vgg16_features", str(tmp_path / "vgg16_notop.h5"), CHANNELS)
        assert [float(np.ravel(weight)[0]) for weight in distance.network.weights] == [5.0 + i for i in range(26)]

    def test_other_shapes_are_refused(self, tmp_path):
        self.network((4, 6, 8, 8, 11), 5).save(tmp_path / "vgg16.h5")
        with pytest.raises(InputError, match=r"vgg16\.h5 can't be read as Keras Applications' VGG16"):
            load_perceptual("vgg16_features", str(tmp_path / "vgg16.h5"), CHANNELS)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(InputError, match=r"perceptual_weights_file=.*none\.h5 can't be read"):
            load_perceptual("vgg16_features", str(tmp_path / "none.h5"), CHANNELS)

    def test_another_kind_of_file_is_refused(self, tmp_path):
        (tmp_path / "vgg16.h5").write_bytes(b"text")
        with pytest.raises(InputError, match=r"vgg16\.h5 can't be read"):
            load_perceptual("vgg16_features", str(tmp_path / "vgg16.h5"), CHANNELS)

    def test_without_a_path_keras_own_file_is_taken(self, monkeypatch):
        asked = []
        monkeypatch.setattr(
            keras.applications, "VGG16", lambda **arguments: asked.append(arguments) or self.network(CHANNELS, 7)
        )
        distance = load_perceptual("vgg16_features", "", CHANNELS)
        assert asked == [{"include_top": False}]
        assert float(distance.network.convs[12].bias[0]) == 7 + 25

    def test_a_failed_download_names_the_flag(self, monkeypatch):
        def fail(include_top):
            raise Exception("URL fetch failure\nmore")

        monkeypatch.setattr(keras.applications, "VGG16", fail)
        with pytest.raises(InputError, match=r"failure\).*--losses\.perceptual_weights_file"):
            load_perceptual("vgg16_features", "", CHANNELS)
