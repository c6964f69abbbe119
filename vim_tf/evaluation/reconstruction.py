"""Measures how well a tokenizer reconstructs images, and how much of its codebook it uses."""

import numpy as np
import tensorflow as tf

from vim_tf.data.batches import eval_batches
from vim_tf.data.images.pixels import to_float, to_uint8
from vim_tf.devices import strategies
from vim_tf.evaluation import conditions, distributions, pictures
from vim_tf.evaluation.metrics.codebook import CodebookUsage, UsageInBatches
from vim_tf.evaluation.metrics.image import ImageMetrics
from vim_tf.evaluation.results import EvaluationResult
from vim_tf.losses.reconstruction import logit_laplace_loss


class ReconstructionEvaluator:
    """Measures a tokenizer on images.

    Metrics: reconstruction/psnr, ssim, l1, l2; with `perceptual`, reconstruction/lpips; for tokenizers that predict a
    distribution of pixels, reconstruction/logit_laplace; codebook/usage, codebook/perplexity, and, for splits of at
    least 256 images, codebook/usage_per_256; with `references`, the distribution metrics of the reconstructions against
    the same images.

    Args:
        source: ImageSource.
        batch_size: int, images that the replicas work on at once.
        references: ReferenceSets with the feature network, or None.
        perceptual: function of two float32 batches in [0, 1] to float32 [batch], their LPIPS; or None.
        laplace: dict of `min_log_scale`, `margin` and `epsilon` that the logit-Laplace likelihood is measured with;
            None = it isn't measured.
        strategy: tf.distribute.Strategy in whose scope the tokenizer was made; None = the current one.
        max_pictures: int, images shown with their reconstructions.
    """

    def __init__(
        self, source, batch_size, references=None, perceptual=None, laplace=None, strategy=None, max_pictures=16
    ):
        self.source = source
        self.batch_size = batch_size
        self.references = references
        self.perceptual = perceptual
        self.laplace = laplace
        self.max_pictures = max_pictures
        self._reconstruct = strategies.replicated(strategy or tf.distribute.get_strategy(), _reconstruct)

    def run(self, tokenizer):
        """Measures a tokenizer.

        Args:
            tokenizer: has encode, decode and codebook_size.

        Returns:
            EvaluationResult.

        Raises:
            InputError: the split is empty.
        """
        image_metrics, codebook = ImageMetrics(self.perceptual), CodebookUsage(tokenizer.codebook_size)
        in_batches = UsageInBatches(tokenizer.codebook_size)
        shown = pictures.ReconstructionRows(self.max_pictures)
        measured = self.references.empty() if self.references else None
        likelihood = _Likelihood(tokenizer, self.laplace) if self.laplace else None
        for batch in eval_batches(self.source, self.batch_size):
            images = batch["image"]
            tokens, reconstructions = self._reconstruct(tokenizer, images)
            image_metrics.update(images, reconstructions)
            codebook.update(tokens)
            in_batches.update(tokens)
            if likelihood:
                likelihood.update(images)
            images, reconstructions = np.asarray(images), np.asarray(reconstructions)
            if measured:
                measured.update(reconstructions)
            shown.update(images, reconstructions)
        result = self._image_result(image_metrics, likelihood).merged(self._codebook_result(codebook, in_batches))
        if measured:
            result = result.merged(self._distribution_result(measured))
        return result.merged(
            EvaluationResult(
                pictures={"reconstruction/examples": shown.picture()},
                histograms={"codebook/counts": codebook.counts},
            )
        )

    def _image_result(self, image_metrics, likelihood):
        metrics = {f"reconstruction/{name}": value for name, value in image_metrics.result().items()}
        measured = conditions.image_set(self.source, image_metrics.num_images)
        found = {
            f"reconstruction/{name}": {"measured": measured, "pixels": "8-bit RGB", **more}
            for name, more in image_metrics.conditions.items()
        }
        if likelihood:
            metrics["reconstruction/logit_laplace"] = likelihood.result()
            found["reconstruction/logit_laplace"] = {"measured": measured, "unit": "nats a sub-pixel", **self.laplace}
        return EvaluationResult(metrics, found)

    def _codebook_result(self, codebook, in_batches):
        measured = conditions.image_set(self.source, in_batches.num_images_seen)
        size = {"codebook_size": codebook.codebook_size}
        metrics = {f"codebook/{name}": value for name, value in codebook.result().items()}
        found = dict.fromkeys(metrics, {"measured": measured, "num_tokens": codebook.num_tokens, **size})
        if in_batches.num_batches:
            metrics["codebook/usage_per_256"] = in_batches.result()
            in_whole = in_batches.num_batches * in_batches.num_images
            found["codebook/usage_per_256"] = {"measured": conditions.image_set(self.source, in_whole), **size}
        return EvaluationResult(metrics, found)

    def _distribution_result(self, measured):
        count = measured.statistics.count
        facts = {"measured": {"what": "reconstructions of the reference", "num_images": count}}
        reference = self.references.of(self.source)
        reference_facts = conditions.image_set(self.source, count)
        return distributions.measure(
            "reconstruction", self.references.network, measured, facts, reference, reference_facts
        )


class _Likelihood:
    """Mean negative log-likelihood of pixels under the tokenizer's logit-Laplace distribution, batch by batch."""

    def __init__(self, tokenizer, settings):
        self._tokenizer = tokenizer
        self._settings = settings
        self._total, self._count = 0.0, 0

    def update(self, images):
        self._total += float(_laplace(self._tokenizer, images, **self._settings)) * len(images)
        self._count += len(images)

    def result(self):
        return self._total / self._count


# One trace is kept for each model, so repeated validation doesn't compile it again.
@tf.function(reduce_retracing=True)
def _reconstruct(tokenizer, images):
    tokens = tokenizer.encode(to_float(images))
    return tokens, to_uint8(tokenizer.decode(tokens))


@tf.function(reduce_retracing=True)
def _laplace(tokenizer, images, min_log_scale, margin, epsilon):
    images = to_float(images)
    outputs = tokenizer(images)
    return logit_laplace_loss(images, outputs.location, outputs.log_scale, min_log_scale, margin, epsilon)
