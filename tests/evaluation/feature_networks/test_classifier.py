"""The feature network: what it learns, that it repeats, and that its files are checked."""

import numpy as np
import pytest

from vim_tf.data.sources import open_source
from vim_tf.errors import InputError
from vim_tf.evaluation.feature_networks.classifier import NUM_FEATURES, ClassifierNetwork


def read(split):
    examples = list(open_source("digits", split, 16, 16).ordered().as_numpy_iterator())
    return np.stack([example["image"] for example in examples]), np.array([example["label"] for example in examples])


@pytest.fixture(scope="module")
def digits():
    return read("train")


@pytest.fixture(scope="module")
def network(digits):
    return ClassifierNetwork.train(*digits, num_classes=10, steps=600, seed=0, trained_on="digits")


def short(height=16, width=16, seed=0, steps=2):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, [70, height, width, 3]).astype(np.uint8)
    return ClassifierNetwork.train(images, random.integers(0, 3, 70), 3, steps, seed, batch_size=16)


@pytest.fixture(scope="module")
def other():
    return short(seed=3)


@pytest.mark.slow
def test_it_recognises_unseen_digits(network):
    images, labels = read("validation")
    assert np.mean(network.logits(images).argmax(axis=1) == labels) >= 0.98


def test_features_of_training_images_have_unit_variance(network, digits):
    features = network.features(digits[0])
    assert features.shape == (len(digits[0]), NUM_FEATURES)
    assert features.dtype == np.float32
    assert features.var(axis=0).mean() == pytest.approx(1.0, rel=0.05)


def test_outputs_do_not_depend_on_the_batch_size(network, digits):
    images = digits[0][:50]
    np.testing.assert_allclose(network.features(images, 7), network.features(images, 50), rtol=1e-4, atol=1e-5)


def test_probabilities_sum_to_one(network, digits):
    np.testing.assert_allclose(network.probabilities(digits[0][:9]).sum(axis=1), np.ones(9), rtol=1e-5)


def test_no_images_give_no_features(network, digits):
    assert network.features(digits[0][:0]).shape == (0, NUM_FEATURES)


@pytest.mark.slow
def test_two_trainings_are_equal():
    assert short(seed=3, steps=20).checksum == short(seed=3, steps=20).checksum


def test_another_seed_gives_another_network(other):
    assert other.checksum != short(seed=4).checksum


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 20), (33, 9), (90, 72)])
def test_any_size_of_8_pixels_and_more_works(height, width):
    network = short(height, width)
    assert network.features(np.zeros([2, height, width, 3], np.uint8)).shape == (2, NUM_FEATURES)
    assert np.isfinite(network.logits(np.zeros([2, height, width, 3], np.uint8))).all()


def test_large_images_are_downsized_and_the_description_says_so():
    assert short(90, 72).description["input"] == "images downsized to 64 x 51 px, bilinear, antialiased"


def test_a_saved_network_comes_back_equal(network, digits, tmp_path):
    network.save(str(tmp_path))
    loaded = ClassifierNetwork.load(str(tmp_path))
    assert (loaded.checksum, loaded.description) == (network.checksum, network.description)
    np.testing.assert_array_equal(loaded.features(digits[0][:20]), network.features(digits[0][:20]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["feature_network.json", "weights.npz"]


def test_weights_of_another_network_are_refused(network, other, tmp_path):
    other.save(str(tmp_path / "a"))
    network.save(str(tmp_path / "b"))
    (tmp_path / "b" / "weights.npz").replace(tmp_path / "a" / "weights.npz")
    with pytest.raises(InputError, match="delete the folder"):
        ClassifierNetwork.load(str(tmp_path / "a"))


def test_changed_weights_are_refused(other, tmp_path):
    other.save(str(tmp_path))
    with np.load(tmp_path / "weights.npz") as arrays:
        changed = [arrays[name] + 1e-3 for name in arrays.files]
    np.savez(tmp_path / "weights.npz", *changed)
    with pytest.raises(InputError, match="don't belong together"):
        ClassifierNetwork.load(str(tmp_path))


def test_damaged_weights_are_refused(other, tmp_path):
    other.save(str(tmp_path))
    content = (tmp_path / "weights.npz").read_bytes()
    (tmp_path / "weights.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="delete the folder"):
        ClassifierNetwork.load(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_description_is_refused(content, other, tmp_path):
    other.save(str(tmp_path))
    (tmp_path / "feature_network.json").write_text(content)
    with pytest.raises(InputError, match="damaged or from another version"):
        ClassifierNetwork.load(str(tmp_path))


def test_missing_weights_are_refused(other, tmp_path):
    other.save(str(tmp_path))
    (tmp_path / "weights.npz").unlink()
    with pytest.raises(InputError, match="weights.npz can't be read as an .npz file: .*; delete the folder"):
        ClassifierNetwork.load(str(tmp_path))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no feature network"):
        ClassifierNetwork.load(str(tmp_path))


def test_images_of_another_size_are_refused(network):
    with pytest.raises(InputError, match="16 x 16"):
        network.features(np.zeros([2, 8, 8, 3], np.uint8))


def test_float_images_are_refused(network):
    with pytest.raises(InputError, match="uint8"):
        network.features(np.zeros([2, 16, 16, 3], np.float32))


def test_training_needs_images():
    with pytest.raises(InputError, match="there are none"):
        ClassifierNetwork.train(np.zeros([0, 16, 16, 3], np.uint8), [], 3, 1, 0)


def test_training_needs_labels_in_range():
    with pytest.raises(InputError, match="some are outside"):
        ClassifierNetwork.train(np.zeros([2, 16, 16, 3], np.uint8), [0, 3], 3, 1, 0)


def test_images_under_8_pixels_are_refused():
    with pytest.raises(InputError, match="at least 8 x 8 px"):
        short(7, 16)
