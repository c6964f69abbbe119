"""TF-GAN's modules load without its broken package file."""

import importlib.util
import math
import sys

import pytest
import tensorflow as tf

from vim_tf.losses import tf_gan


def test_losses_compute_inside_a_graph():
    @tf.function
    def generator_loss(logits):
        return tf_gan.losses().modified_generator_loss(logits, label_smoothing=0.0, loss_collection=None)

    # softplus(-0) = log 2.
    assert float(generator_loss(tf.zeros([3]))) == pytest.approx(math.log(2), rel=1e-6)


def test_classifier_metrics_compute():
    logits = tf.constant([[0.0, 0.0], [0.0, 0.0]])
    assert float(tf_gan.classifier_metrics().classifier_score_from_logits(logits)) == pytest.approx(1.0)


def test_package_files_are_not_run():
    tf_gan.losses()
    assert not hasattr(sys.modules["tensorflow_gan"], "estimator")


def test_modules_are_loaded_once():
    assert tf_gan.losses() is tf_gan.losses()


def test_a_missing_package_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorflow_gan"]:
        monkeypatch.delitem(sys.modules, name)
    tf_gan._module.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="part of the package tensorflow-gan"):
        tf_gan.losses()
