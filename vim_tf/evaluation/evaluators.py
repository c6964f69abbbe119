"""What is measured of a tokenizer, of a language model and of the real images themselves.

Evaluators are plain objects that know nothing of training: they get their data at construction and the model in
`run`, and go through the data batch by batch. Results are put together with `EvaluationResult.merged`.
"""

import math

import numpy as np
import tensorflow as tf

from vim_tf.data import pipeline, preprocessing
from vim_tf.errors import InputError
from vim_tf.evaluation import pictures
from vim_tf.evaluation.codebook import CodebookUsage, UsageInBatches
from vim_tf.evaluation.distribution_metrics import classifier_score, frechet_distance
from vim_tf.evaluation.image_metrics import ImageMetrics
from vim_tf.evaluation.real_images import activations, described
from vim_tf.evaluation.results import EvaluationResult, library_versions
from vim_tf.losses.token import cross_entropy_loss

_UNCONDITIONAL_FACTOR = 10
_SHOWN_LABELS = 10


class RealEvaluator:
    """What real images score: the values beside which those of generated images are read.

    Metrics: real/frechet_distance between the two splits, real/classifier_score and real/label_accuracy of `source`.

    Args:
        source: ImageSource, the split that models are compared with.
        other_source: ImageSource, the other split.
        batch_size: int, images in memory at once.
        feature_network: FeatureNetwork; None = nothing is measured.
    """

    def __init__(self, source, other_source, batch_size, feature_network):
        self.source = source
        self.other_source = other_source
        self.batch_size = batch_size
        self.feature_network = feature_network

    def run(self):
        """EvaluationResult."""
        network = self.feature_network
        if network is None:
            return EvaluationResult()
        features, logits, labels = activations(network, self.source, self.batch_size)
        other_features, _, _ = activations(network, self.other_source, self.batch_size)
        measured = described(self.source, len(features))
        base = {"measured": measured, **_network_conditions(network)}
        metrics = {
            "real/frechet_distance": frechet_distance(features, other_features),
            "real/classifier_score": classifier_score(logits),
        }
        conditions = dict.fromkeys(metrics, base)
        conditions["real/frechet_distance"] = base | {"reference": described(self.other_source, len(other_features))}
        if np.any(labels >= 0):
            metrics["real/label_accuracy"] = _accuracy(logits, labels)
            conditions["real/label_accuracy"] = base
        return EvaluationResult(metrics, conditions)


class ReconstructionEvaluator:
    """What a tokenizer keeps of images, and how much of its codebook it uses for them.

    Metrics: reconstruction/psnr, ssim, l1, l2, codebook/usage, codebook/perplexity, codebook/usage_per_256 of splits of
    at least 256 images, and with a feature network reconstruction/frechet_distance between the reconstructions and the
    very same images.

    Args:
        source: ImageSource.
        batch_size: int, images in memory at once.
        feature_network: FeatureNetwork, or None.
        max_pictures: int, images shown beside their reconstruction.
    """

    def __init__(self, source, batch_size, feature_network=None, max_pictures=16):
        self.source = source
        self.batch_size = batch_size
        self.feature_network = feature_network
        self.max_pictures = max_pictures

    def run(self, tokenizer):
        """Measures a tokenizer.

        Args:
            tokenizer: has encode, decode and codebook_size.

        Returns:
            EvaluationResult.

        Raises:
            InputError: the split is empty.
        """
        image_metrics, codebook = ImageMetrics(), CodebookUsage(tokenizer.codebook_size)
        in_batches = UsageInBatches(tokenizer.codebook_size)
        shown = pictures.ReconstructionRows(self.max_pictures)
        features, other_features = [], []
        for batch in pipeline.eval_batches(self.source, self.batch_size):
            images = batch["image"]
            tokens, reconstructions = _reconstruct(tokenizer, images)
            image_metrics.update(images, reconstructions)
            codebook.update(tokens)
            in_batches.update(tokens)
            images, reconstructions = np.asarray(images), np.asarray(reconstructions)
            if self.feature_network:
                features.append(self.feature_network.features(images))
                other_features.append(self.feature_network.features(reconstructions))
            shown.update(images, reconstructions)
        metrics = {f"reconstruction/{name}": value for name, value in image_metrics.result().items()}
        metrics |= {f"codebook/{name}": value for name, value in codebook.result().items()}
        conditions = self._conditions(image_metrics, codebook)
        if in_batches.num_batches:
            metrics["codebook/usage_per_256"] = in_batches.result()
            conditions["codebook/usage_per_256"] = {
                "measured": described(self.source, in_batches.num_batches * in_batches.num_images),
                "codebook_size": codebook.codebook_size,
            }
        if self.feature_network:
            name = "reconstruction/frechet_distance"
            metrics[name] = frechet_distance(np.concatenate(other_features), np.concatenate(features))
            conditions[name] = {
                "measured": {"what": "reconstructions of the reference", "num_images": image_metrics.num_images},
                "reference": described(self.source, image_metrics.num_images),
                **_network_conditions(self.feature_network),
            }
        return EvaluationResult(metrics, conditions, {"reconstruction/examples": shown.picture()})

    def _conditions(self, image_metrics, codebook):
        measured = described(self.source, image_metrics.num_images)
        conditions = {
            f"reconstruction/{name}": {"measured": measured, "pixels": "8-bit RGB", **more}
            for name, more in image_metrics.conditions.items()
        }
        counted = {"measured": measured, "num_tokens": codebook.num_tokens, "codebook_size": codebook.codebook_size}
        return conditions | {"codebook/usage": counted, "codebook/perplexity": counted}


class GenerationEvaluator:
    """What a language model and its tokenizer generate, compared with real images.

    Metrics, all of them through the feature network: generation/frechet_distance between samples and `source`,
    generation/classifier_score, and for a class-conditional model generation/label_accuracy, the share of samples that
    the network recognises as the label asked for.

    Every label gets equally many samples, also where `source` has unequal classes. Sample number i, label by label, has
    seed `seed + i`.

    Args:
        source: ImageSource that samples are compared with.
        batch_size: int, images in memory at once.
        feature_network: FeatureNetwork; None = samples are only pictured.
        num_classes: int, labels of the language model; 0 = unconditional.
        samples_per_label: int; an unconditional model draws ten times as many in all.
        seed: int.
        sampling: dict of further arguments of `sampler.sample`, such as temperature.
        pictures_per_label: int, samples shown of a label.
    """

    def __init__(
        self,
        source,
        batch_size,
        feature_network,
        num_classes,
        samples_per_label=50,
        seed=0,
        sampling=None,
        pictures_per_label=10,
    ):
        if num_classes and feature_network and feature_network.num_classes != num_classes:
            raise InputError(
                f"the language model has {num_classes} labels and {source.name} has {feature_network.num_classes}: "
                "evaluate it on images of the source that it was trained on"
            )
        self.source = source
        self.feature_network = feature_network
        self.num_classes = num_classes
        self.samples_per_label = samples_per_label
        self.batch_size = batch_size
        self.seed = seed
        self.sampling = dict(sampling or {})
        self.pictures_per_label = pictures_per_label

    def run(self, tokenizer, sampler):
        """Draws and measures samples.

        Args:
            tokenizer: has decode.
            sampler: has sample(labels, seeds, **sampling) -> tokens, and a description for the conditions.

        Returns:
            EvaluationResult.
        """
        labels = self._labels()
        num_rows = self.num_classes or _UNCONDITIONAL_FACTOR
        shown = pictures.SampleRows(num_rows, len(labels) // num_rows, self.pictures_per_label)
        features, logits = [], []
        for start in range(0, len(labels), self.batch_size):
            chunk = np.arange(start, min(start + self.batch_size, len(labels)), dtype=np.int32)
            tokens = sampler.sample(labels[chunk], self.seed + chunk, **self.sampling)
            images = _decode(tokenizer, tf.convert_to_tensor(tokens)).numpy()
            shown.update(chunk, images)
            if self.feature_network:
                part = self.feature_network.activations(images)
                features.append(part.features)
                logits.append(part.logits)
        metrics, conditions = {}, {}
        if self.feature_network:
            metrics, conditions = self._measure(
                np.concatenate(features), np.concatenate(logits), labels, self.sampling | sampler.description
            )
        return EvaluationResult(metrics, conditions, {"generation/samples": self._picture(shown)})

    def _labels(self):
        if not self.num_classes:
            return np.zeros(_UNCONDITIONAL_FACTOR * self.samples_per_label, np.int32)
        return np.repeat(np.arange(self.num_classes, dtype=np.int32), self.samples_per_label)

    def _measure(self, features, logits, labels, sampling):
        real_features, _, _ = activations(self.feature_network, self.source, self.batch_size)
        per_label = {"samples_per_label": self.samples_per_label} if self.num_classes else {}
        base = {
            "measured": {"what": "samples", "num_images": len(features), "seed": self.seed, **per_label},
            "sampling": sampling,
            **_network_conditions(self.feature_network),
        }
        metrics = {
            "generation/frechet_distance": frechet_distance(features, real_features),
            "generation/classifier_score": classifier_score(logits),
        }
        conditions = dict.fromkeys(metrics, base)
        conditions["generation/frechet_distance"] = base | {"reference": described(self.source, len(real_features))}
        if self.num_classes:
            metrics["generation/label_accuracy"] = _accuracy(logits, labels)
            conditions["generation/label_accuracy"] = base
        return metrics, conditions

    def _picture(self, shown):
        names = self.source.class_names
        if len(names) != self.num_classes:
            names = [str(label) for label in range(self.num_classes)]
        return shown.picture(names)


class SampleEvaluator:
    """A picture of a few samples of each label, for a look while the training runs; nothing is measured.

    The same labels and seeds each time, so that the pictures of two steps show what the training has changed. Where
    there are many labels, evenly spread ones are shown.

    Args:
        class_names: list of str, one for each label of the language model; empty = unconditional.
        samples_per_label: int; an unconditional model gets as many rows as ten labels.

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
        shown.update(self.seeds, _decode(tokenizer, tf.convert_to_tensor(tokens)).numpy())
        return EvaluationResult(pictures={"generation/samples": shown.picture(self.row_names)})


class TokenEvaluator:
    """How well a language model predicts tokens that it wasn't trained on.

    Metric: language_model/validation_bits_per_token, mean over tokens, lower is better.

    Args:
        tokens: int32 [num_examples, views, num_tokens]; the first view is measured.
        labels: int32 [num_examples], -1 = none.
        batch_size: int.
    """

    def __init__(self, tokens, labels, batch_size):
        self.tokens = tokens[:, 0]
        self.labels = labels
        self.batch_size = batch_size

    def run(self, language_model):
        """EvaluationResult of a LanguageModel.

        Raises:
            InputError: there are no tokens.
        """
        if not len(self.tokens):
            raise InputError("there are no tokens to measure: the split is empty")
        total = 0.0
        for start in range(0, len(self.tokens), self.batch_size):
            chunk = slice(start, start + self.batch_size)
            tokens = tf.convert_to_tensor(self.tokens[chunk])
            loss = _token_loss(language_model, tokens, tf.convert_to_tensor(self.labels[chunk]))
            total += float(loss) * len(tokens)
        bits = total / len(self.tokens) / math.log(2)
        name = "language_model/validation_bits_per_token"
        return EvaluationResult({name: bits}, {name: {"num_images": len(self.tokens)}})


# A trace is kept for each model, so that validating a model again and again compiles nothing anew.
@tf.function(reduce_retracing=True)
def _reconstruct(tokenizer, images):
    tokens = tokenizer.encode(preprocessing.to_float(images))
    return tokens, preprocessing.to_uint8(tokenizer.decode(tokens))


@tf.function(reduce_retracing=True)
def _decode(tokenizer, tokens):
    return preprocessing.to_uint8(tokenizer.decode(tokens))


@tf.function(reduce_retracing=True)
def _token_loss(language_model, tokens, labels):
    return cross_entropy_loss(tokens, language_model(tokens, language_model.known_labels(labels)))


def _accuracy(logits, labels):
    """Share of labelled images whose likeliest class is their label."""
    labelled = labels >= 0
    return float(np.mean(np.argmax(logits[labelled], axis=1) == labels[labelled]))


def _network_conditions(network):
    return {
        "feature_network": {"checksum": network.checksum, **network.description},
        "library_versions": library_versions(),
    }
