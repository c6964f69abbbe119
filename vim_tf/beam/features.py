"""Statistics of real images through a feature network as a Beam job, for sets too large for one machine."""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from apache_beam.utils import shared

from vim_tf.beam import jobs
from vim_tf.data.images import examination
from vim_tf.data.images.fit import decode_and_fit
from vim_tf.errors import InputError
from vim_tf.evaluation import image_sets
from vim_tf.evaluation.feature_networks import load_feature_network
from vim_tf.storage import files, npz


class FeatureSettings(NamedTuple):
    """What is measured.

    Attributes:
        kind, place: the feature network, as `load_feature_network` takes it.
        height, width: int, pixels that images are fitted to.
        batch_size, kept_features, seed: as in `image_sets.ReferenceSets`.
        max_pixels: int, as in `decode_image`.
    """

    kind: str
    place: str
    height: int
    width: int
    batch_size: int
    kept_features: int
    seed: int
    max_pixels: int


def measure(pipeline, plan, settings, output, facts, max_unreadable_fraction):
    """Adds the job to a pipeline; `jobs.check_finished(work_folder(output), ())` must be called after its run.

    Each shard writes a file next to the output, since a covariance of many features is too large to be passed on.

    Args:
        pipeline: apache_beam.Pipeline.
        plan: sources.shards.Plan of one split.
        settings: FeatureSettings.
        output: str, the .npz file, as `image_sets.write_set` writes it.
        facts: dict of JSON values that identifies the images.
        max_unreadable_fraction: share of the images that may fail to decode; they are left out.
    """
    folder = work_folder(output)
    jobs.prepare(folder, [folder], ["part-*"])
    finish = functools.partial(
        _finish,
        settings=settings,
        folder=folder,
        output=output,
        source=plan.source,
        facts=facts,
        max_unreadable_fraction=max_unreadable_fraction,
    )
    jobs.run_shards(pipeline, plan.shards, MeasureShard(folder, settings), finish)


def work_folder(output):
    """Folder of the parts while a job runs."""
    return f"{output}.parts"


class MeasureShard(jobs.ShardWork):
    """One shard of images to the statistics of its features.

    Args:
        folder: str, of the parts.
        settings: FeatureSettings; the network is loaded once in a worker's process.
    """

    def __init__(self, folder, settings):
        super().__init__(folder)
        self._settings = settings
        self._shared = shared.Shared()

    def work_on(self, shard):
        """`part` file, `count` of images, `unreadable` list of str."""
        settings = self._settings
        network = self._shared.acquire(lambda: load_feature_network(settings.kind, settings.place))
        # Each shard draws its own numbers, as sets that will be merged must.
        measured = image_sets.MeasuredImages(network, settings.kept_features, [settings.seed, shard.index])
        unreadable, images, labels = [], [], []
        entries = ((entry, entry.load) for entry in shard.entries())
        fit = _fit(settings.height, settings.width, settings.max_pixels)
        for entry, decoded in examination.decode_in_threads(entries, fit, settings.max_pixels):
            if decoded.problem is not None:
                unreadable.append(f"{entry.place}: {decoded.problem}")
                continue
            images.append(decoded.value)
            labels.append(entry.label)
            if len(images) == settings.batch_size:
                measured.update(np.stack(images), labels)
                images, labels = [], []
        if images:
            measured.update(np.stack(images), labels)
        part = f"{self.folder}/{jobs.numbered('part', shard)}.npz"
        image_sets.write_set(part, measured, {})
        return {"part": part, "count": measured.statistics.count, "unreadable": unreadable}


def _fit(height, width, max_pixels):
    """Function from an encoded file to uint8 [height, width, 3]."""

    @functools.partial(tf.function, input_signature=[tf.TensorSpec([], tf.string)])
    def graph(image_bytes):
        return decode_and_fit(image_bytes, height, width, max_pixels)

    return lambda image_bytes: graph(tf.constant(image_bytes)).numpy()


def _finish(results, settings, folder, output, source, facts, max_unreadable_fraction):
    """Merges the parts in the order of the shards.

    Raises:
        InputError: there are no images, or too many that can't be read.
    """
    unreadable = [line for result in results for line in result["unreadable"]]
    count = sum(result["count"] for result in results)
    if not count:
        raise InputError(f"{source} has no images that can be read: there is nothing to measure")
    examination.check_unreadable(source, unreadable, count + len(unreadable), max_unreadable_fraction)
    network = load_feature_network(settings.kind, settings.place)
    merged = image_sets.MeasuredImages(network, settings.kept_features, settings.seed)
    for result in results:
        merged.merge(image_sets.MeasuredImages.from_arrays(network, npz.read(result["part"])))
    image_sets.write_set(output, merged, facts | {"num_images": count})
    # By this file, `jobs.check_finished` sees that the job finished.
    files.write_whole(f"{folder}/manifest.json", "{}\n")
