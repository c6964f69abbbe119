"""Encodes images as token records with a Beam job; `records.tokens` describes them."""

import collections
import dataclasses
import functools
import json

import numpy as np
import tensorflow as tf
from apache_beam.utils import shared

from vim_tf.beam import jobs
from vim_tf.beam.images import SeenClasses, check_splits, found_classes
from vim_tf.data.images import examination
from vim_tf.data.images.decode import decode_image
from vim_tf.data.images.fit import fit_image
from vim_tf.data.records import tokens as token_records
from vim_tf.data.records.encode import encode_shard, tokenizer_facts
from vim_tf.data.sources import classes
from vim_tf.data.views import make_views
from vim_tf.stages import saved
from vim_tf.storage import files


def encode(pipeline, plan, tokenizer, folder, split_folders, settings, max_unreadable_fraction):
    """Adds the job to a pipeline; `jobs.check_finished` must be called after its run.

    Args:
        pipeline: apache_beam.Pipeline.
        plan: sources.shards.Plan.
        tokenizer: folder of the trained tokenizer, a workdir or an exported model.
        folder: str, where the manifest goes; what an earlier job wrote is removed first.
        split_folders: dict from split to the folder of its token records.
        settings: EncodeSettings.
        max_unreadable_fraction: share of a split's images that may end as dead letters.
    """
    jobs.prepare(folder, split_folders.values(), ["tokens-*", "dead_letters-*"])
    facts = dataclasses.replace(plan, shards=[])
    finish = functools.partial(_finish, folder=folder, plan=facts, max_unreadable_fraction=max_unreadable_fraction)
    work = EncodeShard(folder, split_folders, tokenizer, settings)
    jobs.run_shards(pipeline, plan.shards, work, finish)


class EncodeSettings(collections.namedtuple("EncodeSettings", "views view_scale batch_size max_pixels")):
    """What is encoded from an image.

    Attributes:
        views, view_scale: as `views.make_views` takes them.
        batch_size: int, images, or views of them, per step.
        max_pixels: int, as in `decode_image`.
    """


class EncodeShard(jobs.ShardWork):
    """One shard of images to one file of tokens, and one of dead letters if an image can't be encoded.

    A dead letter is a line of JSON: `key`, `place` and `reason`. What a file holds depends only on the shard.

    Args:
        folder: str, the root of the tokens.
        split_folders: dict from split to the folder of its token records.
        tokenizer: folder of the trained tokenizer, loaded once per worker process, no matter how many shards it gets.
        settings: EncodeSettings.
    """

    def __init__(self, folder, split_folders, tokenizer, settings):
        super().__init__(folder)
        self._split_folders = dict(split_folders)
        self._tokenizer_folder = tokenizer
        self._settings = settings
        self._shared = shared.Shared()

    def work_on(self, shard):
        """`entry` of the manifest, `dead` list of "<place>: <reason>", `labels` of what was encoded, `seen` as
        SeenClasses gives it, `facts`."""
        tokenizer, decode = self._shared.acquire(lambda: Encoder(self._tokenizer_folder, self._settings)).parts
        split_folder = self._split_folders[shard.split]
        dead, labels, seen = [], set(), SeenClasses()
        batches = self._batches(shard, decode, dead, labels, seen)
        path = f"{split_folder}/{token_records.shard_name(shard.index, shard.count)}"
        entry = encode_shard(tokenizer, batches, path)
        if dead:
            name = f"{jobs.numbered('dead_letters', shard)}.jsonl"
            lines = [json.dumps(letter, sort_keys=True) + "\n" for letter in dead]
            files.write_whole(f"{split_folder}/{name}", "".join(lines))
            entry |= {"num_dead_letters": len(dead), "dead_letters": name}
        return {
            "entry": entry,
            "dead": [f"{letter['place']}: {letter['reason']}" for letter in dead],
            "labels": sorted(labels),
            "seen": seen.result(),
            "facts": tokenizer_facts(tokenizer) | {"views": num_views(self._settings)},
        }

    def _batches(self, shard, decode, dead, labels, seen):
        """Yields batches for `encode_dataset.encode_shard`; also fills `dead`, `labels` and `seen`."""
        size = max(1, self._settings.batch_size // num_views(self._settings))
        entries = ((entry, entry.load) for entry in shard.entries())
        rows = []
        for entry, decoded in examination.decode_in_threads(entries, decode, self._settings.max_pixels):
            seen.add(entry)
            if decoded.problem is not None:
                key = entry.key.decode("utf-8", "replace")
                dead.append({"key": key, "place": entry.place, "reason": decoded.problem})
                continue
            labels.add(entry.label)
            rows.append((decoded.value, entry.label, entry.key))
            if len(rows) == size:
                yield _batch(rows)
                rows = []
        if rows:
            yield _batch(rows)


class Encoder:
    """A loaded tokenizer and the function from an encoded file to views, uint8 [views, height, width, 3].

    Args:
        folder: str, of the tokenizer.
        settings: EncodeSettings.

    Attributes:
        parts: (tokenizer, decode).
    """

    def __init__(self, folder, settings):
        tokenizer = saved.load_tokenizer(folder)
        views = make_views(settings.views, tokenizer.height, tokenizer.width, settings.view_scale)

        @functools.partial(tf.function, input_signature=[tf.TensorSpec([], tf.string)])
        def graph(image_bytes):
            image = decode_image(image_bytes, settings.max_pixels)
            if views is None or not views.takes_original:
                image = fit_image(image, tokenizer.height, tokenizer.width)
            return image[None] if views is None else views(image)

        self.parts = tokenizer, lambda image_bytes: graph(tf.constant(image_bytes)).numpy()


def num_views(settings):
    """Number of views that are encoded per image."""
    views = make_views(settings.views, 1, 1, settings.view_scale)
    return views.num_views if views else 1


def _batch(rows):
    images, labels, keys = zip(*rows, strict=True)
    return {"image": tf.constant(np.stack(images)), "label": tf.constant(labels, tf.int64), "key": tf.constant(keys)}


def _finish(results, folder, plan, max_unreadable_fraction):
    """Writes the manifest.

    Raises:
        InputError: a split has no images or too many that can't be encoded, or some of the images have no label.
    """
    splits, dead = {}, {}
    for split in sorted({result["split"] for result in results}):
        shards = [result for result in results if result["split"] == split]
        dead[split] = [line for shard in shards for line in shard["dead"]]
        count = sum(shard["entry"]["num_examples"] for shard in shards)
        splits[split] = {"num_examples": count, "shards": [shard["entry"] for shard in shards]}
    counts = {split: facts["num_examples"] for split, facts in splits.items()}
    check_splits(plan, counts, dead, max_unreadable_fraction)
    classes.check_labels(plan.source, sorted({label for result in results for label in result["labels"]}))
    names = found_classes(plan, results)
    if "train" in splits:
        trained = {label for result in results if result["split"] == "train" for label in result["labels"]}
        classes.warn_of_empty(plan.source, classes.empty_classes(names, trained))
    manifest = token_records.Manifest(
        **results[0]["facts"],
        num_classes=len(names),
        class_names=names,
        source=plan.source,
        splits=splits,
        label_values=plan.label_values,
    )
    token_records.write_manifest(folder, manifest)
