"""Finds a palette tokenizer's colours in training images by k-means, for `vim_tf.train --task=palette`."""

import json
import os
import sys

import numpy as np
import threadpoolctl
from sklearn.cluster import KMeans

from vim_tf import config as configs
from vim_tf.data import sources
from vim_tf.data.images.pixels import to_float
from vim_tf.evaluation.reconstruction import ReconstructionEvaluator
from vim_tf.models.palette import build_palette_tokenizer
from vim_tf.stages import saved
from vim_tf.storage.files import check_place, check_writable, whole_folder, write_whole
from vim_tf.training.recorder import read_records

_BATCH_SIZE = 64


def run(config):
    """Finds a palette and writes it as a trained tokenizer, whole or not at all; an existing one is kept.

    Args:
        config: PaletteTrainConfig.

    Returns:
        dict from metric name to float, as in `metrics.jsonl`.

    Raises:
        InputError: unusable images, or a workdir of something else.
    """
    if saved.check_workdir(config):
        (record,) = read_records(f"{config.workdir}/metrics.jsonl")
        return _metrics(record)
    saved.check_empty(config.workdir)
    check_place(config.workdir, "workdir")
    model, clustering = config.model, config.clustering
    train, validation = (
        sources.build_source(config.data, split, model.height, model.width) for split in configs.SPLITS
    )
    check_writable(os.path.dirname(config.workdir.rstrip("/")) or ".", "workdir")
    tokenizer = build_palette_tokenizer(model)
    pixels = small_pixels(train, tokenizer, clustering.num_pixels, clustering.seed)
    print(f"palette  {len(pixels)} pixels to {model.codebook_size} colours", file=sys.stderr, flush=True)
    colors, facts = find_palette(pixels, model.codebook_size, clustering.max_iterations, clustering.seed)
    tokenizer.palette.assign(fill_up(colors, model.codebook_size))
    record = {
        "step": facts.pop("iterations"),
        **{f"palette/{name}": value for name, value in facts.items()},
        **ReconstructionEvaluator(validation, _BATCH_SIZE).run(tokenizer).metrics,
    }
    _write(config, tokenizer, record)
    return _metrics(record)


def small_pixels(source, tokenizer, num_pixels, seed):
    """Pixels of a source's small images.

    Args:
        source: ImageSource of the training split.
        tokenizer: PaletteTokenizer.
        num_pixels: int, minimum number of pixels, if there are that many.
        seed: int, which alone determines the images that are drawn.

    Returns:
        float32 [pixels, 3] in [0, 1], all of each image; no image appears twice.
    """
    pixels_per_image = tokenizer.grid_height * tokenizer.grid_width
    num_images = min(-(-num_pixels // pixels_per_image), source.num_examples)
    batches = source.shuffled(seed).take(num_images).batch(_BATCH_SIZE)
    parts = [tokenizer.small(to_float(batch["image"])).numpy() for batch in batches]
    return np.concatenate(parts).reshape(-1, 3)


def find_palette(pixels, num_colors, max_iterations, seed):
    """Clusters colours by k-means.

    Equal colours are one point with their number as weight, which gives the same result in less time.

    Args:
        pixels: float32 [pixels, 3] in [0, 1].
        num_colors: int.
        max_iterations: int.
        seed: int, of the first centres (k-means++).

    Returns:
        float32 [colors, 3] in [0, 1], from dark to bright: the centres, or all distinct colours if there are at most
        `num_colors`; and a dict of distinct_colors (in the pixels), used_colors (in the palette), mse (mean
        squared distance of a pixel's channel to its colour) and iterations.
    """
    colors, counts = np.unique(pixels, axis=0, return_counts=True)
    facts = {"distinct_colors": len(colors), "used_colors": min(num_colors, len(colors)), "mse": 0.0, "iterations": 0}
    if len(colors) > num_colors:
        # No tolerance: it is relative to the variance of all colours, and with many centres would stop too early.
        clustering = KMeans(num_colors, n_init=1, max_iter=max_iterations, tol=0, random_state=seed)
        # With several threads the order of a sum, and so its rounding, would vary.
        with threadpoolctl.threadpool_limits(1):
            clustering.fit(colors.astype(np.float64), sample_weight=counts)
        colors = clustering.cluster_centers_.astype(np.float32)
        facts |= {"mse": float(clustering.inertia_) / len(pixels) / 3, "iterations": int(clustering.n_iter_)}
    order = np.lexsort((*colors.T, colors.sum(axis=1)))
    return colors[order], facts


def fill_up(colors, num_colors):
    """A palette of the wanted size, filled with its last colour; no pixel gets the copies, as the first of equals wins.

    Args:
        colors: float32 [colors, 3].
        num_colors: int, at least the number of colours.
    """
    return np.concatenate([colors, np.repeat(colors[-1:], num_colors - len(colors), axis=0)])


def _write(config, tokenizer, record):
    saved.check_empty(config.workdir)
    with whole_folder(config.workdir) as unfinished:
        saved.save_stage(tokenizer, config, unfinished)
        write_whole(f"{unfinished}/metrics.jsonl", json.dumps(record) + "\n")


def _metrics(record):
    return {name: value for name, value in record.items() if name != "step"}
