"""The linear probe's training step."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from tests.testing import OPTIMIZER, assert_equal_weights, replace
from vim_tf.devices.strategies import build_strategy
from vim_tf.models.linear_probe import build_linear_probe
from vim_tf.training.linear_probe_trainer import LinearProbeTrainer
from vim_tf.training.optimizers import build_optimizer

NUM_CLASSES = 3


class StandIn:
    """Features that are parts of the pixels, instead of ImageFeatures."""

    def __init__(self, sizes):
        self.sizes = sizes

    def encode(self, images):
        return tf.zeros([tf.shape(images)[0], 1], tf.int32)

    def of(self, images, tokens):
        values = tf.reshape(images, [-1, 12])
        return {name: values[:, 12 - size :] for name, size in self.sizes.items()}


def examples(count, seed=0):
    """A cloud of points around a centre for each class, as 2 x 2 images; they overlap, so that weights stay finite."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, NUM_CLASSES, count)
    centers = np.random.default_rng(1).normal(0, 1, [NUM_CLASSES, 12])
    points = centers[labels] + random.normal(0, 2.5, [count, 12])
    return {"image": points.reshape(-1, 2, 2, 3).astype(np.float32), "label": labels}


def build_trainer(sizes, strategy=None, optimizer=OPTIMIZER, steps=100, **settings):
    with (strategy or tf.distribute.get_strategy()).scope():
        probe = build_linear_probe(sizes, NUM_CLASSES)
        built = build_optimizer(optimizer, steps, probe.trainable_variables)
        return LinearProbeTrainer(probe, StandIn(sizes), built, jit_compile=False, seed=0, **settings)


def fit(trainer, batch, steps):
    data = tf.data.Dataset.from_tensors(batch).repeat()
    batches = trainer.distribute_strategy.experimental_distribute_dataset(data)
    history = trainer.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
    return {name: values[-1] for name, values in history.history.items()}


def test_first_loss_is_that_of_equally_likely_labels():
    metrics = fit(build_trainer({"a": 12, "b": 5}), examples(8), 1)
    np.testing.assert_allclose(metrics["linear_probe/loss"], np.log(NUM_CLASSES), rtol=1e-6)


def test_heads_trained_together_equal_those_trained_separately_bit_for_bit():
    sizes = {"a": 12, "b": 5, "c": 1}
    decayed = replace(OPTIMIZER, weight_decay=0.1)
    together = build_trainer(sizes, optimizer=decayed)
    fit(together, examples(32), 10)
    for index, (name, size) in enumerate(sizes.items()):
        single = build_trainer({name: size}, optimizer=decayed)
        fit(single, examples(32), 10)
        np.testing.assert_array_equal(single.probe.heads[0].kernel, together.probe.heads[index].kernel, err_msg=name)
        np.testing.assert_array_equal(single.probe.heads[0].bias, together.probe.heads[index].bias, err_msg=name)
        assert np.abs(single.probe.heads[0].kernel).max() > 0


def test_it_finds_the_solution_of_scikit_learns_logistic_regression():
    """Without regularisation, and with all data in every step, so that both converge to the same optimum."""
    data = examples(300)
    trainer = build_trainer(
        {"all": 12}, optimizer=replace(OPTIMIZER, learning_rate=3e-2, weight_decay=0.0, epsilon=1e-8), steps=1500
    )
    fit(trainer, data, 1500)
    expected = LogisticRegression(penalty=None, tol=1e-8, max_iter=1000).fit(
        data["image"].reshape(-1, 12), data["label"]
    )

    held_out = examples(500, seed=2)["image"].reshape(-1, 12)
    logits = trainer.probe({"all": tf.constant(held_out)})["all"]
    np.testing.assert_allclose(tf.nn.softmax(logits), expected.predict_proba(held_out), atol=2e-3)


def test_standardizing_takes_mean_and_deviation_of_all_batches():
    trainer = build_trainer({"all": 12, "last": 2})
    data = examples(50)["image"] + 100
    trainer.standardize([{"image": tf.constant(data[:7])}, {"image": tf.constant(data[7:])}], min_deviation=1e-6)
    pixels = data.reshape(-1, 12).astype(np.float64)
    np.testing.assert_allclose(trainer.probe.heads[0].mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(trainer.probe.heads[0].deviation, pixels.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(trainer.probe.heads[1].deviation, pixels.std(axis=0)[-2:], rtol=1e-5)


def test_a_feature_that_hardly_varies_is_not_blown_up():
    """Deviations 1, 0 and 0.001 of three pixels' values; the least is a tenth of the largest."""
    trainer = build_trainer({"last": 3})
    image = np.zeros([2, 2, 2, 3], np.float32)
    image[:, 1, 1] = [[1, 5, 0.001], [-1, 5, -0.001]]
    trainer.standardize([{"image": tf.constant(image)}], min_deviation=0.1)
    np.testing.assert_allclose(trainer.probe.heads[0].deviation, [1, 0.1, 0.1], rtol=1e-6)


def test_a_feature_that_never_varies_is_only_shifted():
    trainer = build_trainer({"last": 3})
    trainer.standardize([{"image": tf.fill([4, 2, 2, 3], 0.25)}], min_deviation=0.1)
    np.testing.assert_array_equal(trainer.probe.heads[0].deviation, [1, 1, 1])
    np.testing.assert_allclose(trainer.probe.heads[0].mean, [0.25] * 3)


def test_an_image_without_a_label_teaches_nothing():
    data = examples(16)
    one, other = build_trainer({"all": 12}), build_trainer({"all": 12})
    unlabelled = data["label"].copy()
    unlabelled[:4] = -1
    changed = data["image"].copy()
    changed[:4] = 7
    fit(one, {"image": data["image"], "label": unlabelled}, 5)
    fit(other, {"image": changed, "label": unlabelled}, 5)
    assert_equal_weights(one.probe, other.probe)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"num_microbatches": 2}, {"strategy": True}], ids=["microbatches", "replicas"])
def test_parts_of_a_batch_train_like_the_whole(settings):
    if "strategy" in settings:
        settings = {"strategy": build_strategy("mirrored")}
    whole, parts = build_trainer({"a": 12, "b": 4}), build_trainer({"a": 12, "b": 4}, **settings)
    for trainer in (whole, parts):
        trainer.standardize([{"image": tf.constant(examples(8)["image"])}], min_deviation=0.01)
    one, other = fit(whole, examples(16), 6), fit(parts, examples(16), 6)
    assert_equal_weights(whole.probe, parts.probe, tolerance=1e-5)
    np.testing.assert_allclose(one["linear_probe/loss"], other["linear_probe/loss"], rtol=1e-5)


def test_the_stages_under_the_probe_are_not_among_its_weights():
    trainer = build_trainer({"all": 12})
    assert trainer.checkpointed().keys() == {"model", "optimizer", "step"}
    assert len(trainer.probe.weights) == 4
    assert isinstance(trainer.optimizer, keras.optimizers.AdamW)
