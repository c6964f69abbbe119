"""Classifier-based rejection: of n candidates, keeps those whose label a classifier finds most probable."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vim_tf import ranges
from vim_tf.errors import InputError, one_line
from vim_tf.sampling.requests import checked


def best_first(scores):
    """Candidates from best to worst; of equal ones the first comes first.

    Args:
        scores: float [groups, candidates], higher is better.

    Returns:
        int64 [groups, candidates], their numbers.
    """
    return np.argsort(-np.asarray(scores), axis=1, kind="stable")


class _Groups(NamedTuple):
    """Candidates group by group, and the positions of a request's samples among them.

    Attributes:
        labels, seeds: int64 [groups * candidates].
        number: int64 [n], the group of each sample.
        rank: int64 [n], its rank among the best of the group.
    """

    labels: np.ndarray
    seeds: np.ndarray
    number: np.ndarray
    rank: np.ndarray


class RejectionSampler:
    """Draws `candidates` samples for every `keep` requested of a label, and keeps the best according to a classifier.

    A drop-in replacement for `Sampler`. Samples of neighbouring seeds form a group: sample s is number s % keep among
    the kept ones, best first, of the candidates with the seeds from s // keep * candidates on. Here, too, a sample
    depends only on its label and seed.

    Args:
        sampler: Sampler.
        decode: function of tokens int32 [n, num_tokens] to images uint8 [n, height, width, 3].
        classifier: Classifier.
        keep: int, samples kept of a group; keep / candidates is the acceptance rate.
        candidates: int, samples drawn for a group.

    References:
        Razavi et al., 2019, https://arxiv.org/abs/1906.00446, section 3.3; Esser et al., 2021,
        https://arxiv.org/abs/2012.09841, section 4.3; the paper's table 6.
    """

    def __init__(self, sampler, decode, classifier, keep, candidates):
        self.sampler = sampler
        self.decode = decode
        self.classifier = classifier
        self.keep = keep
        self.candidates = candidates

    @property
    def description(self):
        """Part of the conditions recorded with a metric: dict."""
        return {
            **self.sampler.description,
            "rejection_keep": self.keep,
            "rejection_candidates": self.candidates,
            "classifier": self.classifier.path,
        }

    def sample(self, labels, seeds, **settings):
        """Tokens for labels; arguments, results and errors are those of `Sampler.sample`.

        Raises:
            InputError: also if the classifier doesn't know a label, or a candidate's seed is out of range.
        """
        groups = self._groups(labels, seeds, settings)
        tokens = self.sampler.sample(groups.labels, groups.seeds, **settings)
        if not len(tokens):
            return tokens
        scores = self.classifier.label_probabilities(self.decode(tokens), groups.labels)
        ranking = best_first(scores.reshape(-1, self.candidates))
        tokens = tokens.reshape(-1, self.candidates, tokens.shape[1])
        return tokens[groups.number, ranking[groups.number, groups.rank]]

    def check(self, labels, seeds, **settings):
        """Refuses what `sample` would refuse, without drawing; arguments and errors are those of `sample`."""
        groups = self._groups(labels, seeds, settings)
        self.sampler.check(groups.labels, groups.seeds, **settings)
        if groups.labels.size:
            blank = np.zeros([1, self.sampler.language_model.num_tokens], np.int32)
            self.classifier.label_probabilities(self.decode(blank), groups.labels.max(keepdims=True))

    def _groups(self, labels, seeds, settings):
        """_Groups that hold the samples of labels and seeds."""
        if settings.keys() & {"known_tokens", "known"}:
            raise InputError("rejection by a classifier can't keep known tokens: draw with a Sampler instead")
        # As int32, values out of range would wrap around.
        labels, seeds = checked("label", labels, ranges.INT32, np.int64), checked("seed", seeds, ranges.INT32, np.int64)
        if labels.shape != seeds.shape:
            raise InputError(f"there are {labels.size} labels and {seeds.size} seeds: give one for each")
        groups, rank = np.divmod(seeds, self.keep)
        unique, number = np.unique(np.stack([labels, groups], axis=1), axis=0, return_inverse=True)
        drawn_seeds = unique[:, 1:] * self.candidates + np.arange(self.candidates)
        for seed in (drawn_seeds.min(initial=0), drawn_seeds.max(initial=0)):
            if not ranges.INT32.holds(seed):
                raise InputError(
                    f"a group of candidates needs seed {seed}, which is out of range: {ranges.INT32}; use a smaller "
                    "--seed"
                )
        return _Groups(np.repeat(unique[:, 0], self.candidates), drawn_seeds.reshape(-1), number.reshape(-1), rank)


class Classifier:
    """A trained image classifier from a file.

    Args:
        path: a `.keras` file, or the folder of a SavedModel with a `serving_default` signature of one input. The model
            takes float32 [batch, height, width, 3] in [0, 1] and returns one output [batch, classes], logits or
            probabilities, in the order of the language model's labels. Images of another size are resized.
        batch_size: int, number of images classified at once.

    Raises:
        InputError: it can't be loaded, or doesn't have that form.
    """

    def __init__(self, path, batch_size):
        self.path = path
        self.batch_size = batch_size
        self._model, shape = _load(path)
        if len(shape) != 4 or shape[3] != 3:
            raise InputError(f"classifier {path} takes {list(shape)}, not images [batch, height, width, 3]")
        self._size = shape[1:3] if None not in shape[1:3] else None

    def label_probabilities(self, images, labels):
        """The probability of each image's label.

        Args:
            images: uint8 [n, height, width, 3].
            labels: int32 [n].

        Returns:
            float32 [n] in [0, 1].

        Raises:
            InputError: the classifier doesn't know a label.
        """
        parts = [
            self._probabilities(images[start : start + self.batch_size])
            for start in range(0, len(images), self.batch_size)
        ]
        probabilities = np.concatenate(parts)
        if labels.max() >= probabilities.shape[1]:
            raise InputError(
                f"classifier {self.path} has {probabilities.shape[1]} classes and doesn't know label {labels.max()}"
            )
        return probabilities[np.arange(len(labels)), labels]

    def _probabilities(self, images):
        images = tf.cast(images, tf.float32) / 255
        if self._size and tuple(images.shape[1:3]) != tuple(self._size):
            images = tf.image.resize(images, self._size, antialias=True)
        outputs = tf.cast(self._model(images), tf.float32)
        if len(outputs.shape) != 2:
            raise InputError(f"classifier {self.path} gives {outputs.shape}, not [batch, classes]")
        sums_to_one = tf.reduce_all(tf.abs(tf.reduce_sum(outputs, axis=-1) - 1) < 1e-3)
        is_probability = sums_to_one & tf.reduce_all(outputs >= 0)
        return (outputs if is_probability else tf.nn.softmax(outputs)).numpy()


def _load(path):
    """(function of images to outputs, shape of the images) of a file."""
    try:
        if path.endswith(".keras"):
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
            return lambda images: model(images, training=False), tuple(model.input_shape)
        loaded = tf.saved_model.load(path)
        signature = loaded.signatures["serving_default"]
        (name, spec), *others = signature.structured_input_signature[1].items()
        if others or len(signature.structured_outputs) != 1:
            raise InputError(f"classifier {path} has more than one input or output")
        (output,) = signature.structured_outputs
        # The module is kept, since its variables live only as long as it does.
        return lambda images, module=loaded: signature(**{name: images})[output], tuple(spec.shape)
    except (OSError, ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        reason = one_line(error, 200)
        raise InputError(
            f"{path} can't be loaded as a classifier, a .keras file or a SavedModel with serving_default: {reason}"
        ) from error
