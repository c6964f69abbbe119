"""Metrics of a tokenizer, on fakes with known values."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.data.images.fit import RESIZE_RULE
from vim_tf.devices.strategies import build_strategy
from vim_tf.errors import InputError
from vim_tf.evaluation.metrics.names import METRICS
from vim_tf.evaluation.reconstruction import ReconstructionEvaluator
from vim_tf.models.tokenizer import TokenizerOutputs


@pytest.fixture
def source(fakes):
    images = fakes.patch_images(11)
    return fakes.ArraySource(images, np.arange(11))


def reconstruct(fakes, source, references=None, batch_size=4, tokenizer=None):
    return ReconstructionEvaluator(source, batch_size, references).run(tokenizer or fakes.LevelTokenizer())


def test_a_lossless_tokenizer_has_perfect_metrics(fakes, source):
    references = fakes.references()
    metrics = reconstruct(fakes, source, references).metrics
    # Unbiased: an image's pair with itself counts between the sets and not within them.
    assert -0.2 < metrics.pop("reconstruction/kernel_distance") < 0
    tokens = source.images[:, ::4, ::4, 0] // 17
    frequencies = np.unique(tokens, return_counts=True)[1] / tokens.size
    assert metrics == {
        "reconstruction/psnr": 100.0,
        "reconstruction/ssim": pytest.approx(1.0),
        "reconstruction/l1": 0.0,
        "reconstruction/l2": 0.0,
        "reconstruction/frechet_distance": pytest.approx(0.0, abs=1e-9),
        "reconstruction/classifier_score": pytest.approx(references.of(source).statistics.classifier_score),
        "codebook/usage": len(frequencies) / 16,
        "codebook/perplexity": pytest.approx(np.exp(-np.sum(frequencies * np.log(frequencies)))),
    }


def test_a_darker_reconstruction_has_known_metrics(fakes):
    class Darker(fakes.LevelTokenizer):
        def decode(self, tokens):
            return super().decode(tokens - 3)

    source = fakes.ArraySource(fakes.flat_images([4, 8, 12]), [4, 8, 12])
    metrics = reconstruct(fakes, source, fakes.references(), tokenizer=Darker()).metrics
    assert metrics["reconstruction/l1"] == pytest.approx(0.2, rel=1e-6)
    assert metrics["reconstruction/psnr"] == pytest.approx(-20 * np.log10(0.2), rel=1e-6)
    # The mean of each of the four features moves by 0.2.
    assert metrics["reconstruction/frechet_distance"] == pytest.approx(4 * 0.2**2, rel=1e-5)


def test_metrics_do_not_depend_on_the_batch_size(fakes, source):
    references = fakes.references()
    whole = reconstruct(fakes, source, references, batch_size=11).metrics
    assert reconstruct(fakes, source, references, batch_size=3).metrics == pytest.approx(whole)


def test_without_a_feature_network_distribution_metrics_are_left_out(fakes, source):
    names = reconstruct(fakes, source).metrics
    assert set(names) == {
        *("reconstruction/psnr", "reconstruction/ssim", "reconstruction/l1", "reconstruction/l2"),
        *("codebook/usage", "codebook/perplexity"),
    }


def test_every_metric_carries_its_conditions(fakes, source):
    result = reconstruct(fakes, source, fakes.references())
    assert set(result.conditions) == set(result.metrics) <= set(METRICS)
    measured = {
        "source": "patterns",
        "split": "validation",
        "num_images": 11,
        "height": 16,
        "width": 16,
        "resize_rule": RESIZE_RULE,
    }
    assert result.conditions["reconstruction/psnr"]["measured"] == measured
    assert result.conditions["codebook/usage"]["num_tokens"] == 11 * 16
    conditions = result.conditions["reconstruction/frechet_distance"]
    assert conditions["reference"] == measured
    assert conditions["feature_network"] == {"checksum": "0123", "kind": "brightness"}
    assert {"tensorflow", "keras", "tensorflow-gan"} <= set(conditions["library_versions"])


@pytest.mark.slow
def test_the_grid_shows_images_above_their_reconstructions(fakes, source):
    picture = reconstruct(fakes, source).pictures["reconstruction/examples"]
    assert picture.image.shape == (3 * 18, 11 * 18, 3)
    np.testing.assert_array_equal(picture.image[1:17, 1:17], source.images[0])
    np.testing.assert_array_equal(picture.image[19:35, 1:17], source.images[0])


def test_an_empty_split_is_refused(fakes):
    with pytest.raises(InputError, match="no images"):
        reconstruct(fakes, fakes.ArraySource(np.zeros([0, 16, 16, 3], np.uint8), []))


def test_two_replicas_measure_what_one_does(fakes, source):
    single = ReconstructionEvaluator(source, 4, fakes.references()).run(fakes.LevelTokenizer())
    with build_strategy("mirrored").scope():
        references = fakes.references()
        tokenizer = fakes.LevelTokenizer()
    evaluator = ReconstructionEvaluator(source, 4, references, strategy=build_strategy("mirrored"))
    assert evaluator.run(tokenizer).metrics == pytest.approx(single.metrics)


def test_lpips_is_the_mean_of_the_images_distances(fakes, source):
    class Perceptual:
        checksum = "abc"

        def __call__(self, images, reconstructions):
            return tf.reduce_mean(tf.abs(images - reconstructions), axis=[1, 2, 3]) + 0.25

    result = ReconstructionEvaluator(source, 4, perceptual=Perceptual()).run(fakes.LevelTokenizer())
    assert result.metrics["reconstruction/lpips"] == pytest.approx(0.25)
    assert result.conditions["reconstruction/lpips"]["weights"] == "abc"


def test_the_likelihood_of_pixels_is_that_of_the_decoder_s_distribution(fakes):
    class Sure(fakes.LevelTokenizer):
        """Predicts a logit of 0 with a scale of 1 for every pixel."""

        def __call__(self, images):
            return TokenizerOutputs(None, tf.zeros_like(images), tf.zeros_like(images), None, None)

    source = fakes.ArraySource(fakes.flat_images([5]), [5])
    laplace = {"min_log_scale": -2.0, "margin": 1e-3, "epsilon": 0.0}
    result = ReconstructionEvaluator(source, 4, laplace=laplace).run(Sure())
    pixel = 5 * 17 / 255
    expected = abs(np.log(pixel / (1 - pixel))) + np.log(2 * pixel * (1 - pixel))
    assert result.metrics["reconstruction/logit_laplace"] == pytest.approx(expected, rel=1e-5)


def test_the_histogram_counts_every_token(fakes, source):
    counts = reconstruct(fakes, source).histograms["codebook/counts"]
    tokens = (source.images[:, ::4, ::4, 0] // 17).ravel()
    assert counts.tolist() == np.bincount(tokens, minlength=16).tolist()
