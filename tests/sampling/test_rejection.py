"""Rejection by a classifier: which candidates are kept."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vim_tf.errors import InputError
from vim_tf.sampling.rejection import Classifier, RejectionSampler, best_first


class FakeModel:
    num_tokens = 2


class CountingSampler:
    """A sample's two tokens are its label and its seed."""

    description = {"jit_compile": False}
    language_model = FakeModel()

    def check(self, labels, seeds, **settings):
        self.checked = labels.tolist(), seeds.tolist(), settings

    def sample(self, labels, seeds, **settings):
        return np.stack([labels, seeds], axis=1).astype(np.int32)


class SeedClassifier:
    """Scores from a table by seed, which the "image" contains."""

    path = "table"

    def __init__(self, scores):
        self.scores = np.array(scores)

    def label_probabilities(self, images, labels):
        np.testing.assert_array_equal(images[:, 0], labels)
        return self.scores[images[:, 1]]


def sampler_of(scores, keep, candidates):
    return RejectionSampler(CountingSampler(), lambda tokens: tokens, SeedClassifier(scores), keep, candidates)


def test_of_equal_scores_the_first_comes_first():
    np.testing.assert_array_equal(best_first([[0.5, 0.9, 0.5, 0.9]]), [[1, 3, 0, 2]])


def test_the_best_of_each_group_are_kept():
    """Two of four: seeds 0 and 1 take candidates 0 to 3, seeds 2 and 3 candidates 4 to 7."""
    sampler = sampler_of([0.1, 0.7, 0.3, 0.9, 0.2, 0.2, 0.8, 0.1], keep=2, candidates=4)
    tokens = sampler.sample([5, 5, 5, 5], [0, 1, 2, 3])
    np.testing.assert_array_equal(tokens[:, 1], [3, 1, 6, 4])
    np.testing.assert_array_equal(tokens[:, 0], [5, 5, 5, 5])


def test_a_sample_depends_only_on_label_and_seed():
    sampler = sampler_of(np.random.default_rng(0).uniform(size=60), keep=2, candidates=5)
    labels, seeds = np.array([1, 1, 2, 0, 1, 2]), np.array([4, 5, 5, 9, 11, 20])
    together = sampler.sample(labels, seeds)
    for index in range(6):
        np.testing.assert_array_equal(
            sampler.sample(labels[index : index + 1], seeds[index : index + 1])[0], together[index]
        )


def test_the_description_has_the_settings_of_the_rejection():
    description = sampler_of([0.0], keep=1, candidates=4).description
    assert description == {
        "jit_compile": False,
        "rejection_keep": 1,
        "rejection_candidates": 4,
        "classifier": "table",
    }


def test_a_seed_without_room_for_candidates_is_refused():
    for draw in (sampler_of([0.0], keep=1, candidates=4).sample, sampler_of([0.0], keep=1, candidates=4).check):
        with pytest.raises(
            InputError, match="a group of candidates needs seed 4294967299, which is out.*use a smaller"
        ):
            draw([0], [2**30])


@pytest.mark.parametrize(
    ("labels", "seeds", "message"),
    [
        ([2**32], [0], "label 4294967296 is out of range"),
        ([0], [2**33], "seed 8589934592 is out of range"),
        ([0.5], [0], "label must be whole numbers"),
        ([0, 1], [0], "2 labels and 1 seeds"),
    ],
)
def test_labels_and_seeds_do_not_wrap_around(labels, seeds, message):
    with pytest.raises(InputError, match=message):
        sampler_of([0.0], keep=1, candidates=4).sample(labels, seeds)


def test_a_request_for_no_samples_gives_none():
    assert sampler_of([0.0], keep=1, candidates=4).sample([], []).shape == (0, 2)


def test_known_tokens_are_refused():
    with pytest.raises(InputError, match="rejection by a classifier can't keep known tokens"):
        sampler_of([0.0], keep=1, candidates=4).sample([0], [0], known_tokens=[[0, 0]], known=[[True, True]])


def test_a_check_is_of_all_candidates_and_of_what_the_classifier_knows():
    judged = []

    class FakeClassifier:
        def label_probabilities(self, images, labels):
            judged.append((images.tolist(), labels.tolist()))

    sampler = RejectionSampler(CountingSampler(), lambda tokens: tokens, FakeClassifier(), 1, 2)
    sampler.check([3, 1], [0, 5], top_k=4)
    assert sampler.sampler.checked == ([1, 1, 3, 3], [10, 11, 0, 1], {"top_k": 4})
    assert judged == [([[0, 0]], [3])]


def brightness_model():
    """Logits of two classes: the mean of an image of 2 x 2 pixels, and its negative."""
    model = keras.Sequential(
        [keras.layers.Input([2, 2, 3]), keras.layers.Flatten(), keras.layers.Dense(2, use_bias=False)]
    )
    model.layers[-1].kernel.assign(np.stack([np.full(12, 1 / 12), np.full(12, -1 / 12)], axis=1))
    return model


@pytest.mark.parametrize("form", ["keras", "saved_model"])
def test_a_classifier_of_either_form_gives_the_labels_probability(form, tmp_path):
    model, path = brightness_model(), str(tmp_path / ("model.keras" if form == "keras" else "model"))
    model.save(path) if form == "keras" else model.export(path, verbose=False)
    images = np.stack([np.full([2, 2, 3], value, np.uint8) for value in (0, 255, 255)])
    found = Classifier(path, batch_size=2).label_probabilities(images, np.array([0, 0, 1]))
    sigmoid = 1 / (1 + np.exp(-2))
    np.testing.assert_allclose(found, [0.5, sigmoid, 1 - sigmoid], rtol=1e-5)


def test_probabilities_are_used_unchanged_and_images_resized(tmp_path):
    inputs = keras.layers.Input([2, 2, 3])
    mean = keras.layers.GlobalAveragePooling2D()(inputs)[:, :1]
    model = keras.Model(inputs, keras.layers.Concatenate()([mean, 1 - mean]))
    model.export(str(tmp_path), verbose=False)
    images = np.full([1, 8, 8, 3], 51, np.uint8)
    classifier = Classifier(str(tmp_path), batch_size=4)
    np.testing.assert_allclose(classifier.label_probabilities(images, np.array([0])), [0.2], rtol=1e-5)
    with pytest.raises(InputError, match="has 2 classes and doesn't know label 2"):
        classifier.label_probabilities(images, np.array([2]))


def test_logits_that_add_up_to_one_are_not_taken_for_probabilities(tmp_path):
    inputs = keras.layers.Input([2, 2, 3])
    mean = keras.layers.GlobalAveragePooling2D()(inputs)[:, :1]
    keras.Model(inputs, keras.layers.Concatenate()([1 + mean, -mean])).export(str(tmp_path), verbose=False)
    found = Classifier(str(tmp_path), 1).label_probabilities(np.full([1, 2, 2, 3], 255, np.uint8), np.array([0]))
    np.testing.assert_allclose(found, [1 / (1 + np.exp(-3))], rtol=1e-5)


def test_a_file_that_is_not_a_classifier_is_named(tmp_path):
    with pytest.raises(InputError, match="can't be loaded as a classifier"):
        Classifier(str(tmp_path / "nothing"), 1)
    (tmp_path / "broken.keras").write_bytes(b"no model")
    with pytest.raises(InputError, match="can't be loaded as a classifier"):
        Classifier(str(tmp_path / "broken.keras"), 1)
    module = tf.Module()
    module.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "flat"), signatures=module.f)
    with pytest.raises(InputError, match="not images"):
        Classifier(str(tmp_path / "flat"), 1)
