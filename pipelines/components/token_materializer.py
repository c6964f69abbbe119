"""Images to tokens with Beam."""

import os

import apache_beam as beam
from tfx.components.util import examples_utils
from tfx.dsl.component.experimental.annotations import (
    BeamComponentParameter,
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from pipelines import fingerprints
from pipelines.components.image_example_gen import read_examples
from vim_tf import encode_dataset, workdir
from vim_tf.data import token_records


@component(use_beam=True)
def TokenMaterializer(
    examples: InputArtifact[standard_artifacts.Examples],
    tokenizer: InputArtifact[standard_artifacts.Model],
    tokens: OutputArtifact[standard_artifacts.Examples],
    batch_size: Parameter[int],
    code_version: Parameter[str],
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Encodes every split; the artifact is a folder of token records that `vim_tf.train --tokens` takes.

    The unit of work is a shard: one file of images becomes one file of tokens, in one function call. What moves between
    Beam's stages are paths and counts, since runners keep what moves in memory. The manifest is written last.

    Args:
        examples: images, as ImageExampleGen writes them.
        tokenizer: the exported tokenizer.
        tokens: the artifact; standard Examples, so that a Trainer takes it.
        batch_size: images a step.
        code_version: another version takes nothing from the cache.
        beam_pipeline: where it runs.
    """
    splits = artifact_utils.decode_split_names(examples.split_names)
    tokens.split_names = examples.split_names
    tokens.span = examples.span
    examples_utils.set_payload_format(tokens, example_gen_pb2.FORMAT_TF_EXAMPLE)
    images = fingerprints.read_manifest(examples.uri)
    shards = [
        {
            "split": split,
            "index": index,
            "image_file": os.path.join(artifact_utils.get_split_uri([examples], split), shard["file"]),
            "token_file": os.path.join(
                artifact_utils.get_split_uri([tokens], split),
                token_records.shard_name(index, len(images["splits"][split]["shards"])),
            ),
        }
        for split in splits
        for index, shard in enumerate(images["splits"][split]["shards"])
    ]
    with beam_pipeline as pipeline:
        (
            pipeline
            | "Shards" >> beam.Create(shards)
            | "SpreadOverWorkers" >> beam.Reshuffle()
            | "Encode" >> beam.ParDo(EncodeShard(path_utils.serving_model_path(tokenizer.uri), batch_size))
            | "Gather" >> beam.combiners.ToList()
            | "Manifest" >> beam.Map(write_manifest, tokens.uri, images)
        )


class EncodeShard(beam.DoFn):
    """One file of images to one file of tokens, which appears whole; a second try of the same shard replaces it.

    Args:
        tokenizer: folder of the trained tokenizer, loaded once per worker.
        batch_size: images a step.
    """

    def __init__(self, tokenizer, batch_size):
        self._tokenizer_folder = tokenizer
        self._batch_size = batch_size

    def setup(self):
        self._tokenizer = workdir.load_tokenizer(self._tokenizer_folder)

    def process(self, shard):
        images = read_examples(shard["image_file"], self._tokenizer.height, self._tokenizer.width)
        entry = encode_dataset.encode_shard(self._tokenizer, images.batch(self._batch_size), shard["token_file"])
        facts = encode_dataset.tokenizer_facts(self._tokenizer)
        yield {"split": shard["split"], "index": shard["index"], "entry": entry, "facts": facts}


def write_manifest(encoded, folder, images):
    """Writes the tokens' manifest, after all shards.

    Args:
        encoded: list of what EncodeShard yields, in any order.
        folder: of the tokens.
        images: manifest of the images, as ImageExampleGen writes it.
    """
    splits = {}
    for split in images["splits"]:
        shards = [each["entry"] for each in sorted(encoded, key=_place) if each["split"] == split]
        splits[split] = {"num_examples": sum(shard["num_examples"] for shard in shards), "shards": shards}
    manifest = token_records.Manifest(
        **encoded[0]["facts"],
        views=1,
        num_classes=images["num_classes"],
        class_names=images["class_names"],
        source=images["source"],
        splits=splits,
    )
    token_records.write_manifest(folder, manifest)


def _place(shard):
    return shard["split"], shard["index"]
