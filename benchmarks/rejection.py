"""Measures samples after rejection by a classifier: `python -m benchmarks.rejection --tokenizer=D --language_model=D2`.

Each acceptance rate keeps the same number of samples per label. Two classifiers are trained on the real training images
from different seeds: one rejects and the other measures, since a classifier would be biased towards its own choices.
"""

import dataclasses

from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.config.fields import check, check_given, check_positive, setting


@dataclasses.dataclass(frozen=True)
class RejectionConfig:
    """`benchmarks.rejection`: stages, rates and sample counts."""

    tokenizer: str = setting("", "trained tokenizer: workdir or exported model")
    language_model: str = setting("", "trained language model: workdir or exported model")
    data: configs.DataConfig = setting(configs.DataConfig(), "real images")
    candidates: tuple[int, ...] = setting((1, 2, 4), "samples drawn for each one kept")
    samples_per_label: int = setting(50, "samples kept of each label")
    classifier_steps: int = setting(600, "training steps of each classifier")
    batch_size: int = setting(64, "samples drawn at once")
    seed: int = setting(0, "seed of the samples and the measuring classifier; the rejecting one takes the next")

    def __post_init__(self):
        check_given(self, "tokenizer", "language_model")
        check_positive(self, "samples_per_label", "classifier_steps", "batch_size")
        check(self.candidates and min(self.candidates) > 0, "candidates must be positive numbers")


class NetworkClassifier:
    """A FeatureNetwork with the interface of `vim_tf.sampling.rejection.Classifier`."""

    def __init__(self, network):
        self.path = network.checksum
        self._network = network

    def label_probabilities(self, images, labels):
        """float32 [n]: probability of each image's label; from uint8 [n, height, width, 3] and int32 [n]."""
        return self._network.probabilities(images)[range(len(labels)), labels]


def run(config):
    """Measures and prints a table.

    Args:
        config: RejectionConfig.

    Returns:
        dict from the acceptance rate to the metrics of `GenerationEvaluator`.
    """
    from vim_tf.data import sources
    from vim_tf.evaluation.feature_networks import trained_classifier
    from vim_tf.evaluation.generation import GenerationEvaluator
    from vim_tf.evaluation.image_sets import ReferenceSets
    from vim_tf.sampling.generate import Sampler
    from vim_tf.sampling.rejection import RejectionSampler
    from vim_tf.sampling.samplers import decode
    from vim_tf.stages import saved

    tokenizer = saved.load_tokenizer(config.tokenizer)
    language_model = saved.load_language_model(config.language_model, tokenizer)
    train, validation = (
        sources.build_source(config.data, split, tokenizer.height, tokenizer.width) for split in configs.SPLITS
    )
    measuring, rejecting = (
        trained_classifier(train, config.classifier_steps, config.seed + offset) for offset in (0, 1)
    )
    sampler = Sampler(language_model, config.batch_size)
    evaluator = GenerationEvaluator(
        validation,
        config.batch_size,
        ReferenceSets(measuring),
        language_model.num_classes,
        config.samples_per_label,
        config.seed,
    )
    results = {}
    print("acceptance rate   recognised as the label   Fréchet distance   classifier score")
    for candidates in config.candidates:
        chosen = RejectionSampler(
            sampler,
            lambda tokens: decode(tokenizer, tokens, config.batch_size),
            NetworkClassifier(rejecting),
            keep=1,
            candidates=candidates,
        )
        metrics = evaluator.run(tokenizer, chosen).metrics
        results[1 / candidates] = metrics
        print(
            f"{1 / candidates:15.2f}   {metrics['generation/label_accuracy']:23.3f}   "
            f"{metrics['generation/frechet_distance']:16.3f}   {metrics['generation/classifier_score']:16.3f}",
            flush=True,
        )
    return results


def main():
    """Runs the command."""
    flags.main(run, lambda argv: RejectionConfig, "Measures samples at several acceptance rates of a classifier.")


if __name__ == "__main__":
    main()
