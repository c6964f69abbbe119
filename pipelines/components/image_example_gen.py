"""Any image source of vim_tf as standard Examples."""

import hashlib
import itertools
import json
import os

import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from pipelines import fingerprints
from vim_tf import config as configs
from vim_tf.data import preprocessing, sources
from vim_tf.errors import InputError


@component
def ImageExampleGen(
    examples: OutputArtifact[standard_artifacts.Examples],
    data: Parameter[str],
    height: Parameter[int],
    width: Parameter[int],
    num_shards: Parameter[int],
    input_fingerprint: Parameter[str],
    code_version: Parameter[str],
) -> None:
    """Writes each split as `Split-<split>/images-*.tfrecord.gz` of tf.Examples.

    Features: `image` (bytes, PNG of the image at height x width, so lossless and the same pixels that training saw
    from the source itself), `label` (int64, -1 = none), `key` (bytes). `manifest.json` beside the splits says what they
    hold; the custom properties `num_examples_<split>` and `num_unreadable_<split>` count.

    Args:
        examples: the artifact.
        data: JSON of a DataConfig.
        height, width: image size in pixels.
        num_shards: files per split.
        input_fingerprint: changes when the source's files do.
        code_version: another version takes nothing from the cache.

    Raises:
        InputError: the source can't be read, has no images, or too many files that are none.
    """
    data = configs.from_dict(configs.DataConfig, json.loads(data))
    examples.split_names = artifact_utils.encode_split_names(list(configs.SPLITS))
    examples.span = 0
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    manifest = {"source": data.source, "height": height, "width": width, "splits": {}, "unreadable": {}}
    for split in configs.SPLITS:
        source = sources.build_source(data, split, height, width)
        if not source.num_examples:
            raise InputError(f"--data.source={data.source} has no {split} images")
        shards = _write_split(source, artifact_utils.get_split_uri([examples], split), num_shards)
        count = sum(shard["num_examples"] for shard in shards)
        manifest["splits"][split] = {"num_examples": count, "shards": shards}
        manifest["unreadable"][split] = list(source.unreadable)
        manifest |= {"num_classes": source.num_classes, "class_names": list(source.class_names)}
        examples.set_int_custom_property(f"num_examples_{split}", count)
        examples.set_int_custom_property(f"num_unreadable_{split}", len(source.unreadable))
    fingerprints.write_manifest(examples.uri, manifest)


def read_examples(path, height, width):
    """One pass over a file that ImageExampleGen wrote.

    Args:
        path: str.
        height, width: int, pixels.

    Returns:
        tf.data.Dataset of {"image": uint8 [height, width, 3], "label": int64 [], "key": string []}.
    """
    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "key": tf.io.FixedLenFeature([], tf.string),
    }

    def parse(record):
        example = tf.io.parse_single_example(record, features)
        return example | {"image": preprocessing.decode_and_fit(example["image"], height, width)}

    records = tf.data.TFRecordDataset(path, "GZIP")
    return records.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _write_split(source, folder, num_shards):
    """Neighbours stay neighbours: the files, read one after another, give the source's order."""
    tf.io.gfile.makedirs(folder)
    elements = source.ordered().as_numpy_iterator()
    num_shards = min(num_shards, source.num_examples)
    shards = []
    for index in range(num_shards):
        share = source.num_examples * (index + 1) // num_shards - source.num_examples * index // num_shards
        path = os.path.join(folder, f"images-{index:05d}-of-{num_shards:05d}.tfrecord.gz")
        shards.append(_write_shard(itertools.islice(elements, share), path))
    return shards


def _write_shard(elements, path):
    count = 0
    contents = hashlib.sha256()
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for element in elements:
            record = _example(element).SerializeToString(deterministic=True)
            writer.write(record)
            contents.update(record)
            count += 1
    return {"file": os.path.basename(path), "num_examples": count, "sha256_of_records": contents.hexdigest()}


def _example(element):
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[preprocessing.encode_png(element["image"])])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[element["label"]])),
        "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[element["key"]])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))
