"""Converts an image source to sharded files of examples with a Beam job; `records.images` describes them."""

import collections
import dataclasses
import functools
import json

import numpy as np

from vim_tf.beam import jobs
from vim_tf.data.images import examination
from vim_tf.data.records import images as image_records
from vim_tf.data.sources import classes
from vim_tf.errors import InputError
from vim_tf.storage import files

_PAIRS_NAMED = 5


def split_folder(folder, split):
    """Folder of a split: <folder>/Split-<split>, as TFX lays out an Examples artifact."""
    return f"{folder}/Split-{split}"


def ingest(pipeline, plan, folder, max_unreadable_fraction, max_pixels):
    """Adds the job to a pipeline; `jobs.check_finished` must be called after its run.

    Args:
        pipeline: apache_beam.Pipeline.
        plan: sources.shards.Plan.
        folder: str, emptied of what an earlier job left there.
        max_unreadable_fraction: share of a split's images that may fail to decode.
        max_pixels: int, as in `decode_image`.
    """
    jobs.prepare(folder, split_folders(plan, folder), ["images-*"])
    facts = dataclasses.replace(plan, shards=[])
    finish = functools.partial(_finish, folder=folder, plan=facts, max_unreadable_fraction=max_unreadable_fraction)
    jobs.run_shards(pipeline, plan.shards, WriteShard(folder, max_pixels), finish)


def split_folders(plan, folder):
    """Folders of the splits of a plan."""
    return [split_folder(folder, split) for split in sorted({shard.split for shard in plan.shards})]


class WriteShard(jobs.ShardWork):
    """One shard of a source to one file of examples; each image is decoded once, to see that it can be.

    Args:
        folder: str, the root of the examples.
        max_pixels: int, as in `decode_image`.
    """

    def __init__(self, folder, max_pixels):
        super().__init__(folder)
        self._max_pixels = max_pixels

    def work_on(self, shard):
        """`entry` of the manifest, `unreadable` list of str, `labels` {label: count}, `seen` as SeenClasses gives it,
        `hashes` bytes of all images."""
        name = image_records.shard_name(shard.index, shard.count)
        unreadable, labels, hashes, seen = [], collections.Counter(), [], SeenClasses()
        entries = ((entry, entry.load) for entry in shard.entries())
        facts = functools.partial(image_records.picture_facts, max_pixels=self._max_pixels)
        with image_records.ImageShardWriter(f"{split_folder(self.folder, shard.split)}/{name}") as writer:
            for entry, decoded in examination.decode_in_threads(entries, facts, self._max_pixels):
                seen.add(entry)
                if decoded.problem is not None:
                    unreadable.append(f"{entry.place}: {decoded.problem}")
                    continue
                writer.write(decoded.encoded, entry.label, entry.key, decoded.value)
                labels[entry.label] += 1
                hashes.append(decoded.value[2])
        return {
            "entry": {**writer.entry(), "num_unreadable": len(unreadable)},
            "unreadable": unreadable,
            "labels": dict(labels),
            "seen": seen.result(),
            "hashes": b"".join(hashes),
        }


class SeenClasses:
    """Collects what the entries of a shard say about the classes."""

    def __init__(self):
        self._labels, self._texts = set(), set()

    def add(self, entry):
        """Takes a shards.Entry, whether or not its image can be read."""
        self._labels.add(entry.label)
        if entry.class_name:
            self._texts.add((entry.label, entry.class_name))

    def result(self):
        """(sorted labels, sorted pairs of a label and its name)."""
        return sorted(self._labels), sorted(self._texts)


def found_classes(plan, results):
    """Names of the classes: those that the plan knows, else what the shards of all splits say.

    Args:
        plan: sources.shards.Plan.
        results: list of dicts with `seen`, as SeenClasses gives it.

    Returns:
        list of str.

    Raises:
        InputError: as `classes.find_classes` does.
    """
    labels = {label for result in results for label in result["seen"][0] if label >= 0}
    texts = [tuple(text) for result in results for text in result["seen"][1]]
    return classes.find_classes(plan.source, labels, texts, plan.class_names).names


def _finish(results, folder, plan, max_unreadable_fraction):
    """Writes the manifest.

    Raises:
        InputError: a split has no image, or too many that can't be read, or the labels don't number classes.
    """
    splits, unreadable = {}, {}
    for split in sorted({result["split"] for result in results}):
        shards = [result for result in results if result["split"] == split]
        unreadable[split] = [line for shard in shards for line in shard["unreadable"]]
        labels = sum((collections.Counter(shard["labels"]) for shard in shards), collections.Counter())
        splits[split] = {
            "num_examples": sum(labels.values()),
            "num_unreadable": len(unreadable[split]),
            "labels": {str(label): labels[label] for label in sorted(labels)},
            "shards": [shard["entry"] for shard in shards],
        }
    counts = {split: facts["num_examples"] for split, facts in splits.items()}
    check_splits(plan, counts, unreadable, max_unreadable_fraction)
    names = found_classes(plan, results)
    trained = splits.get("train", {"labels": range(len(names))})["labels"]
    manifest = {
        "source": plan.source,
        "num_classes": len(names),
        "class_names": names,
        "empty_classes": classes.empty_classes(names, trained),
        "label_values": plan.label_values,
        "attributions": plan.attributions,
        "splits": splits,
        "unreadable": unreadable,
        "duplicates": _duplicates(results, folder),
    }
    files.write_whole(f"{folder}/{image_records.MANIFEST_NAME}", json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def check_splits(plan, counts, unreadable, max_unreadable_fraction):
    """Refuses splits without images or with too many unreadable ones; splits divided from one set are judged together.

    Args:
        plan: sources.shards.Plan.
        counts: {split: int}, images that could be read.
        unreadable: {split: list of "<place>: <reason>"} of the others.
        max_unreadable_fraction: share that may be unreadable.

    Raises:
        InputError: names the split or the first few images.
    """
    for group in [tuple(counts)] if plan.is_divided else [(split,) for split in counts]:
        lines = [line for split in group for line in unreadable[split]]
        total = sum(counts[split] for split in group) + len(lines)
        if total:
            examination.check_unreadable(plan.source, lines, total, max_unreadable_fraction)
    for split, count in counts.items():
        if not count:
            raise InputError(
                f"--data.source={plan.source}: the {split} split is empty; if the source has no splits of its own, "
                "--data.validation_fraction divides it"
            )


def _duplicates(results, folder):
    """Validation images whose pixels are those of a training image: how many, and the keys of a few pairs."""
    hashes, places = {}, {}
    for split in ("train", "validation"):
        shards = [result for result in results if result["split"] == split]
        # NumPy ignores trailing zeros of such strings, which makes no difference between strings of equal length.
        hashes[split] = np.frombuffer(b"".join(shard["hashes"] for shard in shards), f"S{image_records.HASH_BYTES}")
        places[split] = (shards, np.cumsum([shard["entry"]["num_examples"] for shard in shards]))
    train, validation = hashes["train"], hashes["validation"]
    if not len(train) or not len(validation):
        return {"count": 0, "pairs": []}
    order = np.argsort(train)
    positions = order[np.minimum(np.searchsorted(train, validation, sorter=order), len(train) - 1)]
    doubles = np.flatnonzero(train[positions] == validation)
    pairs = [
        [_key_at(folder, *places["train"], positions[each]), _key_at(folder, *places["validation"], each)]
        for each in doubles[:_PAIRS_NAMED]
    ]
    return {"count": len(doubles), "pairs": pairs}


def _key_at(folder, shards, ends, number):
    """Key of an example by its number in the split: str."""
    index = int(np.searchsorted(ends, number, side="right"))
    within = int(number) - (int(ends[index - 1]) if index else 0)
    shard = shards[index]
    path = f"{split_folder(folder, shard['split'])}/{shard['entry']['file']}"
    return image_records.keys_at(path, [within])[within].decode("utf-8", "replace")
