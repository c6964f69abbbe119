"""Metrics of samples and real images, on fakes with known values."""

import numpy as np
import pytest

from vim_tf.errors import InputError
from vim_tf.evaluation.generation import GenerationEvaluator, RealEvaluator, SampleEvaluator
from vim_tf.evaluation.metrics.names import METRICS


class LevelSampler:
    """Images of one brightness level: the label, moved by a step."""

    batch_size = 4
    description = {"name": "levels"}

    def __init__(self, step=0):
        self.step = step
        self.calls = []

    def sample(self, labels, seeds, **sampling):
        self.calls.append((labels.tolist(), seeds.tolist(), sampling))
        return np.repeat((labels[:, None] + self.step) % 16, 16, axis=1).astype(np.int32)


@pytest.fixture
def flat_source(fakes):
    return fakes.ArraySource(fakes.flat_images(np.arange(16).repeat(2)), np.arange(16).repeat(2))


def generate(fakes, source, sampler, **changes):
    arguments = {"batch_size": 5, "references": fakes.references(), "num_classes": 16} | changes
    return GenerationEvaluator(source, **arguments).run(fakes.LevelTokenizer(), sampler)


def test_samples_equal_to_the_real_images_have_perfect_metrics(fakes, flat_source):
    metrics = generate(fakes, flat_source, LevelSampler(), samples_per_label=2).metrics
    distance = metrics.pop("generation/kernel_distance")
    assert metrics == {
        "generation/frechet_distance": pytest.approx(0.0, abs=1e-9),
        "generation/classifier_score": pytest.approx(16.0, rel=1e-4),
        "generation/label_accuracy": 1.0,
        "generation/precision": 1.0,
        "generation/recall": 1.0,
    }
    # Unbiased: pairs of an image with itself count in neither set, but between the sets.
    assert -0.2 < distance < 0


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


def test_only_labels_that_were_trained_are_drawn_and_measured(fakes):
    """Label 0 has no image; the sampler would draw noise for it, here a wrong level."""
    labels = np.arange(1, 16).repeat(2)
    source = fakes.ArraySource(fakes.flat_images(labels), labels)

    class Sampler(LevelSampler):
        def sample(self, labels, seeds, **sampling):
            return np.where(labels[:, None] == 0, 9, super().sample(labels, seeds, **sampling))

    sampler = Sampler()
    result = generate(fakes, source, sampler, samples_per_label=2, trained_labels=[*labels, -1])
    assert sum((call[0] for call in sampler.calls), []) == labels.tolist()
    assert result.metrics["generation/label_accuracy"] == 1.0
    assert result.metrics["generation/frechet_distance"] == pytest.approx(0.0, abs=1e-9)
    assert result.conditions["generation/frechet_distance"]["measured"]["labels_drawn"] == "15 of 16"
    assert result.pictures["generation/samples"].row_labels == tuple(f"class {label}" for label in range(1, 16))
    everything = generate(fakes, source, Sampler(), samples_per_label=2).metrics
    assert everything["generation/label_accuracy"] == 15 / 16
    assert everything["generation/frechet_distance"] > 1e-6


def test_the_sample_grid_has_one_row_per_label(fakes, flat_source):
    picture = generate(fakes, flat_source, LevelSampler(), samples_per_label=2).pictures["generation/samples"]
    assert picture.row_labels == tuple(f"class {label}" for label in range(16))
    assert picture.image[1::18, 1::18, 0].tolist() == [[17 * label] * 2 for label in range(16)]


def test_an_unconditional_model_draws_label_0_and_has_no_label_accuracy(fakes, flat_source):
    sampler = LevelSampler()
    result = generate(fakes, flat_source, sampler, num_classes=0, samples_per_label=2)
    labels = sum((call[0] for call in sampler.calls), [])
    assert labels == [0] * 20
    assert "generation/frechet_distance" in result.metrics
    assert "generation/label_accuracy" not in result.metrics
    assert result.pictures["generation/samples"].row_labels == ()


def test_without_a_feature_network_samples_are_only_shown(fakes, flat_source):
    result = generate(fakes, flat_source, LevelSampler(), references=None, samples_per_label=1)
    assert result.metrics == {}
    assert list(result.pictures) == ["generation/samples"]


def test_a_language_model_of_other_labels_is_refused(fakes, flat_source):
    with pytest.raises(InputError, match="has 9 labels and patterns has 16"):
        generate(fakes, flat_source, LevelSampler(), num_classes=9)


def test_the_same_real_images_twice_have_distance_zero(fakes, flat_source):
    result = RealEvaluator(flat_source, flat_source, fakes.references()).run()
    # Unbiased: a set's pairs of equal images count between the sets and not within them.
    assert -0.2 < result.metrics.pop("real/kernel_distance") < 0
    assert result.metrics == {
        "real/frechet_distance": pytest.approx(0.0, abs=1e-9),
        "real/classifier_score": pytest.approx(16.0, rel=1e-4),
        "real/label_accuracy": 1.0,
        "real/precision": 1.0,
        "real/recall": 1.0,
    }
    assert set(result.conditions) == {*result.metrics, "real/kernel_distance"} <= set(METRICS)


def test_images_without_a_label_do_not_count_as_wrong(fakes):
    images, labels = fakes.flat_images([3, 4, 5, 6]), [3, -1, 6, -1]
    source = fakes.ArraySource(images, labels)
    result = RealEvaluator(source, source, fakes.references()).run()
    assert result.metrics["real/label_accuracy"] == 0.5


def test_real_images_need_a_feature_network(fakes, flat_source):
    assert RealEvaluator(flat_source, flat_source, None).run().metrics == {}


def test_the_grid_while_training_has_a_row_per_label_and_the_same_seeds_each_time(fakes):
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
def test_at_most_ten_evenly_spaced_labels_are_shown(num_classes, expected):
    names = [str(label) for label in range(num_classes)]
    assert SampleEvaluator(names, samples_per_label=3).labels.tolist() == np.repeat(expected, 3).tolist()
