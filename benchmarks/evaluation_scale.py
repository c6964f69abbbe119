"""Measures distribution metrics of many images: memory, and rate relative to the bare feature network.

    python -m benchmarks.evaluation_scale

Random images go through a network of 2048 features (ResNet-50 with random weights, of the size of Inception's pool) and
into the statistics for Fréchet distance, classifier score, kernel distance, precision and recall. Every few batches
the bare network gets the same images, so that both rates are from the same minutes.
"""

import dataclasses
import resource
import statistics
import time

from vim_tf.cli import flags
from vim_tf.config.fields import check, check_positive, setting

_NUM_CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class EvaluationScaleConfig:
    """`benchmarks.evaluation_scale`: how many images, of what size."""

    images: int = setting(50_000, "images")
    side: int = setting(64, "height and width of an image in pixels")
    batch_size: int = setting(64, "images in memory at once")
    chunk: int = setting(1280, "images timed together")
    bare_every: int = setting(5, "chunks from one timing of the bare network to the next")
    kept_features: int = setting(10_000, "images whose features are kept")

    def __post_init__(self):
        check_positive(self, "images", "side", "batch_size", "chunk", "bare_every", "kept_features")
        check(self.side >= 32, f"--side must be at least 32, not {self.side}")


def run(config):
    """Measures and prints.

    Returns:
        dict of `rate` and `bare_rate` (images per second, medians), `share` of the two, `mebibytes` beyond the loaded
        network and `seconds` of the metrics at the end.
    """
    from vim_tf.evaluation.image_sets import MeasuredImages
    from vim_tf.evaluation.metrics import distribution

    network = resnet_network()
    for images in _random_batches(config.side, config.batch_size, 2 * config.batch_size, seed=0):
        network.activations(images)
    loaded = _peak_mebibytes()
    measured = MeasuredImages(network, config.kept_features, seed=0)
    rates, bare_rates = [], []
    for number, start in enumerate(range(0, config.images, config.chunk)):
        count = min(config.chunk, config.images - start)
        rates.append(count / _seconds(measured.update, _random_batches(config.side, config.batch_size, count, number)))
        if number % config.bare_every == 0:
            batches = _random_batches(config.side, config.batch_size, count, number)
            bare_rates.append(count / _seconds(network.activations, batches))
        print(f"\r{start + count} of {config.images} images, {rates[-1]:.0f} images/s", end="", flush=True)
    print()
    other = MeasuredImages(network, config.kept_features, seed=1)
    for images in _random_batches(config.side, config.batch_size, min(config.images, 4096), config.images):
        other.update(images)
    begin = time.perf_counter()
    values = {
        "Fréchet distance": distribution.frechet_distance(measured.statistics, other.statistics),
        "classifier score": distribution.classifier_score(measured.statistics),
        "kernel distance": distribution.kernel_distance(measured.statistics, other.statistics)[0],
        "precision": distribution.precision_and_recall(measured.statistics, other.statistics)[0],
    }
    seconds, peak = time.perf_counter() - begin, _peak_mebibytes() - loaded
    rate, bare = statistics.median(rates), statistics.median(bare_rates)
    print(f"{rate:.0f} images/s with all statistics, {bare:.0f} through only the network: {rate / bare:.1%}")
    print(f"peak of {peak:.0f} MiB on top of the loaded network ({loaded:.0f} MiB); metrics in {seconds:.0f} s")
    print(", ".join(f"{name} {value:.4g}" for name, value in values.items()))
    return {"rate": rate, "bare_rate": bare, "share": rate / bare, "mebibytes": peak, "seconds": seconds}


def resnet_network():
    """ResNet-50 with random weights as a FeatureNetwork of 2048 features."""
    import keras
    import tensorflow as tf

    from vim_tf.evaluation.feature_networks import FeatureNetwork

    class ResNetNetwork(FeatureNetwork):
        def __init__(self):
            keras.utils.set_random_seed(0)
            backbone = keras.applications.ResNet50(weights=None, include_top=False, pooling="avg")
            logits = keras.layers.Dense(_NUM_CLASSES)(backbone.output)
            self._model = keras.Model(backbone.input, [backbone.output, logits])
            super().__init__(backbone.output.shape[1], _NUM_CLASSES, {"kind": "ResNet-50, random weights"}, "random")

        @tf.function(reduce_retracing=True)
        def forward(self, images):
            features, logits = self._model(tf.cast(images, tf.float32) / 127.5 - 1, training=False)
            return features, logits

    return ResNetNetwork()


def _random_batches(side, batch_size, count, seed):
    import numpy as np

    random = np.random.default_rng(seed)
    for start in range(0, count, batch_size):
        yield random.integers(0, 256, [min(batch_size, count - start), side, side, 3], np.uint8)


def _seconds(function, batches):
    """Seconds that the function took for all batches, not counting the time to make them."""
    total = 0.0
    for batch in batches:
        begin = time.perf_counter()
        function(batch)
        total += time.perf_counter() - begin
    return total


def _peak_mebibytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    """Runs the command."""
    flags.main(run, lambda argv: EvaluationScaleConfig, "Measures rate and memory of distribution metrics.")


if __name__ == "__main__":
    main()
