"""An image source to sharded files of examples, as a Beam job: `image_records` says what they hold."""

import collections
import functools
import json

import numpy as np

from vim_tf.beam import jobs
from vim_tf.data import files, image_records, ingestion
from vim_tf.errors import InputError

_PAIRS_NAMED = 5


def split_folder(folder, split):
    """Folder of a split: <folder>/Split-<split>, as TFX lays out an Examples artifact."""
    return f"{folder}/Split-{split}"


def ingest(pipeline, plan, folder, max_unreadable_fraction, max_pixels):
    """Adds the job to a pipeline; `jobs.check_finished` is called behind its run.

    Args:
        pipeline: apache_beam.Pipeline.
        plan: input_shards.Plan.
        folder: str, emptied of what an earlier job left there.
        max_unreadable_fraction: share of a split's images that may fail to decode.
        max_pixels: int, as in `preprocessing.decode_image`.
    """
    jobs.prepare(folder, split_folders(plan, folder), ["images-*"])
    finish = functools.partial(
        _finish,
        folder=folder,
        source=plan.source,
        class_names=plan.class_names,
        max_unreadable_fraction=max_unreadable_fraction,
    )
    jobs.run_shards(pipeline, plan.shards, WriteShard(folder, max_pixels), finish)


def split_folders(plan, folder):
    """Folders of the splits of a plan."""
    return [split_folder(folder, split) for split in sorted({shard.split for shard in plan.shards})]


class WriteShard(jobs.ShardWork):
    """One shard of a source to one file of examples; each image is decoded once, to see that it can be.

    Args:
        folder: str, the root of the examples.
        max_pixels: int, as in `preprocessing.decode_image`.
    """

    def __init__(self, folder, max_pixels):
        super().__init__(folder)
        self._max_pixels = max_pixels

    def work_on(self, shard):
        """`entry` of the manifest, `unreadable` list of str, `labels` {label: count}, `hashes` bytes of all images."""
        name = image_records.shard_name(shard.index, shard.count)
        unreadable, labels, hashes = [], collections.Counter(), []
        entries = ((entry, entry.load) for entry in shard.entries())
        facts = functools.partial(image_records.picture_facts, max_pixels=self._max_pixels)
        with image_records.ImageShardWriter(f"{split_folder(self.folder, shard.split)}/{name}") as writer:
            for entry, decoded in ingestion.decode_in_threads(entries, facts, self._max_pixels):
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
            "hashes": b"".join(hashes),
        }


def _finish(results, folder, source, class_names, max_unreadable_fraction):
    """Writes the manifest.

    Raises:
        InputError: a split has no image, or too many that can't be read.
    """
    splits, unreadable, found = {}, {}, collections.Counter()
    for split in sorted({result["split"] for result in results}):
        shards = [result for result in results if result["split"] == split]
        unreadable[split] = [line for shard in shards for line in shard["unreadable"]]
        labels = sum((collections.Counter(shard["labels"]) for shard in shards), collections.Counter())
        count = sum(labels.values())
        check_split(source, split, count, unreadable[split], max_unreadable_fraction)
        found += labels
        splits[split] = {
            "num_examples": count,
            "num_unreadable": len(unreadable[split]),
            "labels": {str(label): labels[label] for label in sorted(labels)},
            "shards": [shard["entry"] for shard in shards],
        }
    names = class_names_for(class_names, found)
    manifest = {
        "source": source,
        "num_classes": len(names),
        "class_names": names,
        "splits": splits,
        "unreadable": unreadable,
        "duplicates": _duplicates(results, folder),
    }
    files.write_whole(f"{folder}/{image_records.MANIFEST_NAME}", json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def check_split(source, split, count, unreadable, max_unreadable_fraction):
    """Refuses a split without images, or with too many that can't be read.

    Args:
        source: str, as the user gave it.
        split: str.
        count: int, images that could be read.
        unreadable: list of "<place>: <reason>" of the others.
        max_unreadable_fraction: share that may be unreadable.

    Raises:
        InputError: names the split or the first few images.
    """
    if not count + len(unreadable):
        raise InputError(
            f"--data.source={source}: the {split} split is empty; where the source has no splits of its own, "
            "--data.validation_fraction divides it"
        )
    ingestion.check_unreadable(source, unreadable, count + len(unreadable), max_unreadable_fraction)


def class_names_for(class_names, labels):
    """Names of the classes: those given, else the numbers up to the largest label that was found."""
    if class_names is not None:
        return list(class_names)
    return [str(label) for label in range(max(labels, default=-1) + 1)]


def _duplicates(results, folder):
    """Validation images whose pixels are those of a training image: how many, and the keys of a few pairs."""
    hashes, places = {}, {}
    for split in ("train", "validation"):
        shards = [result for result in results if result["split"] == split]
        # NumPy passes over zeros at the end of such text, which changes nothing among texts of one length.
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
