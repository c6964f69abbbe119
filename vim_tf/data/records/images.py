"""Image records as the pipelines store them: the original files, and a manifest that describes them.

    <root>/manifest.json                                    dict, below
    <root>/Split-<split>/images-00000-of-00002.tfrecord.gz  tf.train.Example

Features: `image` bytes, a file that `decode_image` reads (the original one, or a PNG without loss where
TensorFlow can't read that); `label` int64, -1 = none; `key` bytes; `height`, `width` int64, pixels of the image as
a viewer shows it; `content_hash` bytes, hexadecimal, the same for the same pixels. The source `tfrecord:` reads them.

The manifest: `source`, `num_classes`, `class_names`, `empty_classes` (names of those without a training image),
`label_values` (the label in the source's files of each class, where that isn't its number), `attributions` (what the
images' licences ask to be told); `splits`: for each `num_examples`, `num_unreadable`, `labels` ({label as text:
examples}) and `shards` (file, num_examples, sha256, num_unreadable); `unreadable`: for each split a list of "<path>:
<reason>"; `duplicates`: `count` of the validation images whose pixels are in the training split too,
and the keys of a few `pairs` (training, validation).
"""

import json
import os

import tensorflow as tf

from vim_tf.data.images import examination
from vim_tf.data.records.writer import RecordFileWriter
from vim_tf.storage import files
from vim_tf.storage.digests import short_digest

MANIFEST_NAME = "manifest.json"
# Bytes of a content hash: the probability of a collision among 10^9 images is 10^-21.
HASH_BYTES = 16


class ImageShardWriter(RecordFileWriter):
    """Context manager that writes one shard of images, whole or not at all."""

    def __init__(self, path):
        super().__init__(path, compression_level=0)

    def write(self, image, label, key, facts):
        """Adds an example.

        Args:
            image: bytes, the encoded file.
            label: int, -1 = none.
            key: bytes.
            facts: (height, width, content hash), as `picture_facts` returns them.
        """
        height, width, content_hash = facts
        self.write_features(
            {
                "image": image,
                "label": label,
                "key": key,
                "height": height,
                "width": width,
                "content_hash": content_hash.hex().encode(),
            }
        )


def shard_name(index, count):
    """File name of a shard: images-00000-of-00002.tfrecord.gz."""
    return f"images-{index:05d}-of-{count:05d}.tfrecord.gz"


def picture_facts(image_bytes, max_pixels):
    """(height int, width int, content hash bytes [HASH_BYTES]) of an encoded image.

    The hash is over the decoded pixels, so it stays the same with other metadata or in another lossless format, but not
    if the image is resized or re-compressed.

    Args:
        image_bytes: bytes.
        max_pixels: int, as in `decode_image`.

    Raises:
        OpError: it can't be decoded.
    """
    image = examination.original_decoder(max_pixels)(tf.constant(image_bytes)).numpy()
    height, width, _ = image.shape
    return height, width, short_digest([f"{height} {width} ".encode(), image], HASH_BYTES)


def split_problems(manifest, max_duplicates):
    """Finds problems with the splits as a whole, which can't be seen in individual examples.

    Args:
        manifest: dict, as above.
        max_duplicates: int, validation images that may be in the training split too.

    Returns:
        list of str: missing labels, labels that occur only in validation, and duplicates.
    """
    problems = []
    labels = {split: {int(label) for label in facts["labels"]} for split, facts in manifest["splits"].items()}
    is_labelled = any(label >= 0 for found in labels.values() for label in found)
    for split, facts in manifest["splits"].items():
        if is_labelled and (missing := facts["labels"].get("-1", 0)):
            problems.append(f"{split} split: {missing} of {facts['num_examples']} images have no label")
    unseen = sorted(label for label in labels.get("validation", set()) - labels.get("train", set()) if label >= 0)
    if unseen:
        names = manifest["class_names"]
        shown = ", ".join(f"{label} ({names[label]})" if label < len(names) else str(label) for label in unseen[:5])
        more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
        problems.append(f"validation split: no training image has the label {shown}{more}")
    duplicates = manifest["duplicates"]
    if duplicates["count"] > max_duplicates:
        train, validation = duplicates["pairs"][0]
        problems.append(
            f"validation split: {duplicates['count']} images are in the training split too, such as {validation}, "
            f"there {train}; remove them, or raise --max_duplicates"
        )
    return problems


def class_names_of(paths):
    """Names of all classes in shards of images, list of str; None if the files aren't such or have no manifest."""
    folder, split = os.path.split(os.path.dirname(paths[0]))
    path = f"{folder}/{MANIFEST_NAME}"
    if not split.startswith("Split-") or not tf.io.gfile.exists(path):
        return None
    return json.loads(files.read_file(path)).get("class_names")


def keys_at(path, numbers):
    """Keys of some examples of a shard.

    Args:
        path: str.
        numbers: numbers of the examples.

    Returns:
        dict from number to bytes.
    """
    wanted, features = set(numbers), {"key": tf.io.FixedLenFeature([], tf.string)}
    records = tf.data.TFRecordDataset(path, "GZIP").enumerate()
    return {
        int(number): tf.io.parse_single_example(record, features)["key"].numpy()
        for number, record in records
        if int(number) in wanted
    }
