"""The parts of TensorFlow-GAN that work on today's TensorFlow, imported on first use.

`import tensorflow_gan` fails because its package file asks for `tf.estimator`, which TensorFlow no longer has; the
modules needed here do not. This module registers TF-GAN's packages without running their `__init__` files and imports
the wanted module from them:

    from vim_tf.losses import tf_gan
    distance = tf_gan.classifier_metrics().frechet_classifier_distance_from_activations(real, fake)

In a process that uses it, `tensorflow_gan` itself stays an empty package.
"""

import functools
import importlib
import importlib.util
import sys


def classifier_metrics():
    """TF-GAN's module of Fréchet distance, classifier score and kernel distance; loads TensorFlow Probability."""
    return _module("tensorflow_gan.python.eval.classifier_metrics")


def losses():
    """TF-GAN's module of losses that take plain tensors."""
    return _module("tensorflow_gan.python.losses.losses_impl")


@functools.cache
def _module(name):
    parts = name.split(".")
    for depth in range(1, len(parts)):
        _register_bare_package(".".join(parts[:depth]))
    return importlib.import_module(name)


def _register_bare_package(name):
    """Puts a package into `sys.modules` without running its `__init__`, so that its modules can be imported."""
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ImportError(f"{name} is not installed; it is part of the package tensorflow-gan")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, sys.modules[name])
