"""Evaluators on fakes whose right values are known."""

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.data import preprocessing
from vim_tf.errors import InputError
from vim_tf.evaluation.evaluators import (
    GenerationEvaluator,
    RealEvaluator,
    ReconstructionEvaluator,
    SampleEvaluator,
    TokenEvaluator,
)
from vim_tf.evaluation.results import METRICS


class LevelSampler:
    description = {"name": "levels"}

    """Images of one brightness level: the label, moved by a step."""

    def __init__(self, step=0):
        self.step = step
        self.calls = []

    def sample(self, labels, seeds, **sampling):
        self.calls.append((labels.tolist(), seeds.tolist(), sampling))
        return np.repeat((labels[:, None] + self.step) % 16, 16, axis=1).astype(np.int32)


@pytest.fixture
def source(fakes):
    images = fakes.patch_images(11)
    return fakes.ArraySource(images, np.arange(11))


@pytest.fixture
def flat_source(fakes):
    return fakes.ArraySource(fakes.flat_images(np.arange(16).repeat(2)), np.arange(16).repeat(2))


def reconstruct(fakes, source, network=None, batch_size=4, tokenizer=None):
    return ReconstructionEvaluator(source, batch_size, network).run(tokenizer or fakes.LevelTokenizer())


def test_a_lossless_tokenizer_has_perfect_metrics(fakes, source):
    metrics = reconstruct(fakes, source, fakes.BrightnessNetwork()).metrics
    tokens = source.images[:, ::4, ::4, 0] // 17
    frequencies = np.unique(tokens, return_counts=True)[1] / tokens.size
    assert metrics == {
        "reconstruction/psnr": 100.0,
        "reconstruction/ssim": pytest.approx(1.0),
        "reconstruction/l1": 0.0,
        "reconstruction/l2": 0.0,
        "reconstruction/frechet_distance": pytest.approx(0.0, abs=1e-9),
        "codebook/usage": len(frequencies) / 16,
        "codebook/perplexity": pytest.approx(np.exp(-np.sum(frequencies * np.log(frequencies)))),
    }


def test_a_darker_reconstruction_has_known_metrics(fakes):
    class Darker(fakes.LevelTokenizer):
        def decode(self, tokens):
            return super().decode(tokens - 3)

    source = fakes.ArraySource(fakes.flat_images([4, 8, 12]), [4, 8, 12])
    metrics = reconstruct(fakes, source, fakes.BrightnessNetwork(), tokenizer=Darker()).metrics
    assert metrics["reconstruction/l1"] == pytest.approx(0.2, rel=1e-6)
    assert metrics["reconstruction/psnr"] == pytest.approx(-20 * np.log10(0.2), rel=1e-6)
    # The mean of each of the four features moves by 0.2.
    assert metrics["reconstruction/frechet_distance"] == pytest.approx(4 * 0.2**2, rel=1e-5)


def test_metrics_do_not_depend_on_the_batch_size(fakes, source):
    network = fakes.BrightnessNetwork()
    whole = reconstruct(fakes, source, network, batch_size=11).metrics
    assert reconstruct(fakes, source, network, batch_size=3).metrics == pytest.approx(whole)


def test_without_a_feature_network_distribution_metrics_are_left_out(fakes, source):
    names = reconstruct(fakes, source).metrics
    assert set(names) == {
        *("reconstruction/psnr", "reconstruction/ssim", "reconstruction/l1", "reconstruction/l2"),
        *("codebook/usage", "codebook/perplexity"),
    }


def test_every_metric_carries_its_conditions(fakes, source):
    result = reconstruct(fakes, source, fakes.BrightnessNetwork())
    assert set(result.conditions) == set(result.metrics) <= set(METRICS)
    measured = {"source": "patterns", "split": "validation", "num_images": 11, "resize_rule": preprocessing.RESIZE_RULE}
    assert result.conditions["reconstruction/psnr"]["measured"] == measured
    assert result.conditions["codebook/usage"]["num_tokens"] == 11 * 16
    conditions = result.conditions["reconstruction/frechet_distance"]
    assert conditions["reference"] == measured
    assert conditions["feature_network"] == {"checksum": "0123", "kind": "brightness"}
    assert {"tensorflow", "keras", "tensorflow-gan"} <= set(conditions["library_versions"])


def test_the_reconstruction_picture_shows_images_above_their_reconstructions(fakes, source):
    picture = reconstruct(fakes, source).pictures["reconstruction/examples"]
    assert picture.image.shape == (3 * 18, 11 * 18, 3)
    np.testing.assert_array_equal(picture.image[1:17, 1:17], source.images[0])
    np.testing.assert_array_equal(picture.image[19:35, 1:17], source.images[0])


def test_an_empty_split_is_refused(fakes):
    with pytest.raises(InputError, match="no images"):
        reconstruct(fakes, fakes.ArraySource(np.zeros([0, 16, 16, 3], np.uint8), []))


def generate(fakes, source, sampler, **changes):
    arguments = {"batch_size": 5, "feature_network": fakes.BrightnessNetwork(), "num_classes": 16} | changes
    return GenerationEvaluator(source, **arguments).run(fakes.LevelTokenizer(), sampler)


def test_samples_equal_to_the_real_images_have_perfect_metrics(fakes, flat_source):
    metrics = generate(fakes, flat_source, LevelSampler(), samples_per_label=2).metrics
    assert metrics == {
        "generation/frechet_distance": pytest.approx(0.0, abs=1e-9),
        "generation/classifier_score": pytest.approx(16.0, rel=1e-4),
        "generation/label_accuracy": 1.0,
    }


def test_samples_of_other_labels_are_not_recognised(fakes, flat_source):
    result = generate(fakes, flat_source, LevelSampler(step=1), samples_per_label=2)
    assert result.metrics["generation/label_accuracy"] == 0.0
    assert result.metrics["generation/classifier_score"] == pytest.approx(16.0, rel=1e-4)


def test_each_label_is_drawn_equally_often_with_consecutive_seeds(fakes, flat_source):
    sampler = LevelSampler()
    generate(fakes, flat_source, sampler, samples_per_label=3, seed=100, sampling={"temperature": 0.5})
    labels, seeds, sampling = zip(*sampler.calls, strict=True)
    assert sum(labels, []) == np.arange(16).repeat(3).tolist()
    assert sum(seeds, []) == list(range(100, 148))
    assert max(map(len, labels)) == 5
    assert set(map(str, sampling)) == {"{'temperature': 0.5}"}


def test_generation_carries_its_conditions(fakes, flat_source):
    result = generate(fakes, flat_source, LevelSampler(), samples_per_label=2, seed=7, sampling={"top_k": 3})
    assert set(result.conditions) == set(result.metrics) <= set(METRICS)
    conditions = result.conditions["generation/frechet_distance"]
    assert conditions["measured"] == {"what": "samples", "num_images": 32, "seed": 7, "samples_per_label": 2}
    assert conditions["sampling"] == {"top_k": 3, "name": "levels"}
    assert (conditions["reference"]["split"], conditions["reference"]["num_images"]) == ("validation", 32)
    assert "reference" not in result.conditions["generation/classifier_score"]


def test_the_sample_picture_has_one_row_per_label(fakes, flat_source):
    picture = generate(fakes, flat_source, LevelSampler(), samples_per_label=2).pictures["generation/samples"]
    assert picture.row_labels == tuple(f"class {label}" for label in range(16))
    assert picture.image[1::18, 1::18, 0].tolist() == [[17 * label] * 2 for label in range(16)]


def test_an_unconditional_model_draws_label_0_and_has_no_label_accuracy(fakes, flat_source):
    sampler = LevelSampler()
    result = generate(fakes, flat_source, sampler, num_classes=0, samples_per_label=2)
    labels = sum((call[0] for call in sampler.calls), [])
    assert labels == [0] * 20
    assert set(result.metrics) == {"generation/frechet_distance", "generation/classifier_score"}
    assert result.pictures["generation/samples"].row_labels == ()


def test_without_a_feature_network_samples_are_only_pictured(fakes, flat_source):
    result = generate(fakes, flat_source, LevelSampler(), feature_network=None, samples_per_label=1)
    assert result.metrics == {}
    assert list(result.pictures) == ["generation/samples"]


def test_a_language_model_of_other_labels_is_refused(fakes, flat_source):
    with pytest.raises(InputError, match="has 9 labels and patterns has 16"):
        generate(fakes, flat_source, LevelSampler(), num_classes=9)


def test_the_same_real_images_twice_have_distance_zero(fakes, flat_source):
    result = RealEvaluator(flat_source, flat_source, 5, fakes.BrightnessNetwork()).run()
    assert result.metrics == {
        "real/frechet_distance": pytest.approx(0.0, abs=1e-9),
        "real/classifier_score": pytest.approx(16.0, rel=1e-4),
        "real/label_accuracy": 1.0,
    }
    assert set(result.conditions) == set(result.metrics) <= set(METRICS)


def test_images_without_a_label_do_not_count_as_wrong(fakes):
    images, labels = fakes.flat_images([3, 4, 5, 6]), [3, -1, 6, -1]
    source = fakes.ArraySource(images, labels)
    result = RealEvaluator(source, source, 5, fakes.BrightnessNetwork()).run()
    assert result.metrics["real/label_accuracy"] == 0.5


def test_real_images_need_a_feature_network(fakes, flat_source):
    assert RealEvaluator(flat_source, flat_source, 5, None).run().metrics == {}


class UniformLanguageModel:
    """Gives token 0 the logit of its label, all others 0."""

    def known_labels(self, labels):
        return tf.maximum(labels, 0)

    def __call__(self, tokens, labels):
        first = tf.cast(labels, tf.float32)[:, None, None] * tf.one_hot([0], 16)[None]
        return tf.tile(first, [1, tf.shape(tokens)[1], 1])


def test_a_uniform_language_model_needs_the_codebook_s_bits():
    tokens = np.random.default_rng(0).integers(0, 16, [5, 2, 4]).astype(np.int32)
    result = TokenEvaluator(tokens, np.full(5, -1, np.int32), batch_size=2).run(UniformLanguageModel())
    assert result.metrics == {"language_model/validation_bits_per_token": pytest.approx(4.0)}


def test_bits_are_means_over_examples_of_the_first_view():
    # Label 2 gives token 0 a logit of 2: the first example alone has it.
    tokens = np.zeros([3, 2, 4], np.int32)
    tokens[:, 1] = 9
    labels = np.array([2, 0, 0], np.int32)
    expected = (np.log2(np.exp(2) + 15) - 2 / np.log(2) + 2 * 4) / 3
    result = TokenEvaluator(tokens, labels, batch_size=2).run(UniformLanguageModel())
    assert result.metrics["language_model/validation_bits_per_token"] == pytest.approx(expected, rel=1e-6)


def test_no_tokens_are_refused():
    with pytest.raises(InputError, match="no tokens"):
        TokenEvaluator(np.zeros([0, 1, 4], np.int32), np.zeros([0], np.int32), 2).run(UniformLanguageModel())


def test_the_picture_of_samples_has_a_row_per_label_and_the_same_seeds_each_time(fakes):
    sampler = LevelSampler()
    evaluator = SampleEvaluator(["zero", "one", "two"], samples_per_label=2)
    first, second = (evaluator.run(fakes.LevelTokenizer(), sampler) for _ in range(2))
    assert sampler.calls == [([0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5], {})] * 2
    assert first.metrics == {}
    picture = first.pictures["generation/samples"]
    assert picture.row_labels == ("zero", "one", "two") and picture.num_columns == 2
    # Cells of 16 x 16 pixels with a gap of 2; a label's image has its level.
    assert [[picture.image[18 * row + 9, 18 * column + 9, 0] for column in range(2)] for row in range(3)] == [
        [17 * label] * 2 for label in range(3)
    ]
    np.testing.assert_array_equal(second.pictures["generation/samples"].image, picture.image)


@pytest.mark.parametrize(
    ("num_classes", "expected"),
    [(10, list(range(10))), (1000, [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]), (0, [0] * 10)],
)
def test_at_most_ten_evenly_spread_labels_are_pictured(num_classes, expected):
    names = [str(label) for label in range(num_classes)]
    assert SampleEvaluator(names, samples_per_label=3).labels.tolist() == np.repeat(expected, 3).tolist()
