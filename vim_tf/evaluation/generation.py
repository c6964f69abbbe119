"""Measures what a language model and its tokenizer generate, and real images for comparison."""

import numpy as np
import tensorflow as tf

from vim_tf.data.images.pixels import to_uint8
from vim_tf.devices import strategies
from vim_tf.errors import InputError
from vim_tf.evaluation import conditions, distributions, pictures
from vim_tf.evaluation.neighbours import NearestImages
from vim_tf.evaluation.results import EvaluationResult

_UNCONDITIONAL_FACTOR = 10
_SHOWN_LABELS = 10


class RealEvaluator:
    """Measures real images, for the values to compare those of generated images with.

    Metrics: the distribution metrics of `source` against the other split, and real/label_accuracy of `source`.

    Args:
        source: ImageSource, the split that models are compared with.
        other_source: ImageSource, the other split.
        references: ReferenceSets with the feature network; None = nothing is measured.
    """

    def __init__(self, source, other_source, references):
        self.source = source
        self.other_source = other_source
        self.references = references

    def run(self):
        """EvaluationResult."""
        if self.references is None:
            return EvaluationResult()
        measured, other = self.references.of(self.source), self.references.of(self.other_source)
        facts = {"measured": conditions.image_set(self.source, measured.statistics.count)}
        other_facts = conditions.image_set(self.other_source, other.statistics.count)
        network = self.references.network
        result = distributions.measure("real", network, measured, facts, other, other_facts, manifolds=True)
        return result.merged(_label_accuracy("real", network, measured, facts))


class GenerationEvaluator:
    """Draws samples and compares them with real images.

    Metrics, all of them through the feature network: the distribution metrics of the samples against `source`, with
    precision and recall, and for a class-conditional model generation/label_accuracy, the share of samples that the
    network recognises as the requested label.

    Every label drawn gets the same number of samples, even if the classes of `source` are unequal. Sample number i,
    counted label by label, has seed `seed + i`.

    Args:
        source: ImageSource that samples are compared with.
        batch_size: int, images in memory at once.
        references: ReferenceSets with the feature network; None = samples are only shown.
        num_classes: int, labels of the language model; 0 = unconditional.
        samples_per_label: int; an unconditional model draws ten times this number in all.
        seed: int.
        sampling: dict of further arguments of `sampler.sample`, such as temperature.
        pictures_per_label: int, samples shown of a label.
        reference: (MeasuredImages, dict of JSON values for the conditions) to compare with instead of `source`, or
            None.
        searched: tf.data.Dataset of {"image": uint8 [batch, height, width, 3]} of training images, of which the nearest
            to the shown samples are shown too; None disables this.
        strategy: tf.distribute.Strategy in whose scope the tokenizer was made; None = the current one.
        trained_labels: int array, labels that the language model was trained on; only these are drawn. None = all.
    """

    def __init__(
        self,
        source,
        batch_size,
        references,
        num_classes,
        samples_per_label=50,
        seed=0,
        sampling=None,
        pictures_per_label=10,
        reference=None,
        searched=None,
        strategy=None,
        trained_labels=None,
    ):
        if references and references.network.judges_labels:
            check_same_labels(num_classes, source.name, references.network.num_classes)
        self.source = source
        self.references = references
        self.num_classes = num_classes
        trained = np.arange(num_classes) if trained_labels is None else np.unique(trained_labels)
        self.drawn_labels = trained[trained >= 0]
        self.samples_per_label = samples_per_label
        self.batch_size = batch_size
        self.seed = seed
        self.labels, self.seeds = asked_samples(self.drawn_labels, samples_per_label, seed)
        self.sampling = dict(sampling or {})
        self.pictures_per_label = pictures_per_label
        self.reference = reference
        self.searched = searched
        self.strategy = strategy or tf.distribute.get_strategy()

    def run(self, tokenizer, sampler):
        """Draws and measures samples.

        Args:
            tokenizer: has decode.
            sampler: has sample(labels, seeds, **sampling) -> tokens, and a description for the conditions.

        Returns:
            EvaluationResult.
        """
        labels = self.labels
        num_rows = len(self.drawn_labels) if self.num_classes else _UNCONDITIONAL_FACTOR
        shown = pictures.SampleRows(num_rows, len(labels) // num_rows, self.pictures_per_label)
        measured = self.references.empty() if self.references else None
        nearest = NearestImages(self.references.network) if self.references and self.searched else None
        decode = strategies.replicated(self.strategy, lambda tokens: decode_to_uint8(tokenizer, tokens))
        for start in range(0, len(labels), self.batch_size):
            chunk = np.arange(start, min(start + self.batch_size, len(labels)))
            tokens = sampler.sample(labels[chunk], self.seeds[chunk], **self.sampling)
            images = decode(tf.convert_to_tensor(tokens)).numpy()
            shown.update(chunk, images)
            if measured:
                found = measured.update(images, labels[chunk] if self.num_classes else None)
                if nearest:
                    nearest.add_samples(chunk, images, found.features, len(labels))
        result = EvaluationResult(pictures={"generation/samples": self._picture(shown)})
        if measured:
            result = self._measure(measured, self.sampling | sampler.description).merged(result)
        if nearest:
            result = result.merged(nearest.search(self.searched))
        return result

    def _measure(self, measured, sampling):
        per_label = {"samples_per_label": self.samples_per_label} if self.num_classes else {}
        if len(self.drawn_labels) < self.num_classes:
            per_label["labels_drawn"] = f"{len(self.drawn_labels)} of {self.num_classes}"
        counted = {"what": "samples", "num_images": measured.statistics.count, "seed": self.seed, **per_label}
        facts = {"measured": counted, "sampling": sampling}
        reference, reference_facts = self.reference or self._real()
        network = self.references.network
        result = distributions.measure(
            "generation", network, measured, facts, reference, reference_facts, manifolds=True
        )
        return result.merged(_label_accuracy("generation", network, measured, facts))

    def _real(self):
        """(MeasuredImages, facts) of the source."""
        reference = self.references.of(self.source)
        return reference, conditions.image_set(self.source, reference.statistics.count)

    def _picture(self, shown):
        names = self.source.class_names
        if len(names) != self.num_classes:
            names = [str(label) for label in range(self.num_classes)]
        return shown.picture([names[label] for label in self.drawn_labels] if self.num_classes else [])


def asked_samples(drawn_labels, samples_per_label, seed):
    """The samples that `GenerationEvaluator` draws: labels int32 and seeds int64, [num_samples].

    Args:
        drawn_labels: ints, labels that samples are drawn of; empty = the model is unconditional.
        samples_per_label, seed: as there.
    """
    if len(drawn_labels):
        labels = np.repeat(np.asarray(drawn_labels, np.int32), samples_per_label)
    else:
        labels = np.zeros(_UNCONDITIONAL_FACTOR * samples_per_label, np.int32)
    return labels, seed + np.arange(len(labels))


def check_same_labels(num_classes, name, num_judged):
    """Refuses a classifier whose labels differ from the language model's.

    Args:
        num_classes: int, labels of the language model; 0 = unconditional, which any classifier can judge.
        name: str, of the images that the classifier was trained on.
        num_judged: int, labels of these images.

    Raises:
        InputError: the numbers of labels differ.
    """
    if num_classes and num_classes != num_judged:
        raise InputError(
            f"the language model has {num_classes} labels and {name} has {num_judged}: evaluate it on images of the "
            "source that it was trained on"
        )


class SampleEvaluator:
    """Draws a grid of a few samples per label to look at during training; nothing is measured.

    Labels and seeds are the same each time, so that the grids of two steps show what training has changed. If there
    are many labels, evenly spaced ones are shown.

    Args:
        class_names: list of str, one for each label of the language model; empty = unconditional.
        samples_per_label: int; an unconditional model gets ten rows.

    Attributes:
        labels, seeds: int32 [num_samples], what is drawn.
    """

    def __init__(self, class_names, samples_per_label):
        if class_names:
            labels = np.linspace(0, len(class_names) - 1, min(len(class_names), _SHOWN_LABELS)).round().astype(np.int32)
        else:
            labels = np.zeros(_SHOWN_LABELS, np.int32)
        self.samples_per_label = samples_per_label
        self.row_names = [class_names[label] for label in labels] if class_names else []
        self.labels = np.repeat(labels, samples_per_label)
        self.seeds = np.arange(len(self.labels), dtype=np.int32)

    def run(self, tokenizer, sampler):
        """EvaluationResult without metrics, with the picture generation/samples; arguments as in
        `GenerationEvaluator`."""
        tokens = sampler.sample(self.labels, self.seeds)
        num_rows = len(self.labels) // self.samples_per_label
        shown = pictures.SampleRows(num_rows, self.samples_per_label, self.samples_per_label)
        # Decode no more at once than were drawn at once.
        for start in range(0, len(tokens), sampler.batch_size):
            chunk = slice(start, start + sampler.batch_size)
            shown.update(self.seeds[chunk], decode_to_uint8(tokenizer, tf.convert_to_tensor(tokens[chunk])).numpy())
        return EvaluationResult(pictures={"generation/samples": shown.picture(self.row_names)})


@tf.function(reduce_retracing=True)
def decode_to_uint8(tokenizer, tokens):
    """uint8 [batch, height, width, 3] of tokens; a trace is kept for each tokenizer."""
    return to_uint8(tokenizer.decode(tokens))


def _label_accuracy(stage, network, measured, facts):
    """EvaluationResult, empty if the network's classes aren't the labels or there are no labels."""
    accuracy = measured.label_accuracy
    if accuracy is None or not network.judges_labels:
        return EvaluationResult()
    name = f"{stage}/label_accuracy"
    return EvaluationResult({name: accuracy}, {name: facts | conditions.through_network(network)})
