"""Encodes images as tokens with Beam."""

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
from vim_tf.beam import jobs
from vim_tf.beam import tokens as token_job
from vim_tf.data.sources import containers
from vim_tf.data.sources.shards import Plan


@component(use_beam=True)
def TokenMaterializer(
    examples: InputArtifact[standard_artifacts.Examples],
    tokenizer: InputArtifact[standard_artifacts.Model],
    tokens: OutputArtifact[standard_artifacts.Examples],
    batch_size: Parameter[int],
    views: Parameter[str],
    view_scale: Parameter[float],
    max_unreadable_fraction: Parameter[float],
    max_pixels: Parameter[int],
    code_version: Parameter[str],
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Encodes every split; the artifact is a folder of token records that `vim_tf.train --tokens` takes.

    The unit of work is a shard: one file of images becomes one file of tokens, in one function call. The manifest is
    written last. The custom properties `num_examples_<split>` and `num_dead_letters_<split>` have the counts.

    Args:
        examples: images, as ImageExampleGen writes them.
        tokenizer: the exported tokenizer.
        tokens: the artifact; standard Examples, so that a Trainer accepts it.
        batch_size: images, or views of them, per step.
        views, view_scale: what is kept of each image, as in EncodeCommand.
        max_unreadable_fraction: share of a split's images that may be dead letters.
        max_pixels: limit of an image, as in DataConfig.
        code_version: a new version invalidates the cache.
        beam_pipeline: where it runs.

    Raises:
        InputError: too many images can't be encoded.
    """
    splits = artifact_utils.decode_split_names(examples.split_names)
    tokens.split_names = examples.split_names
    tokens.span, tokens.version = examples.span, examples.version
    examples_utils.set_payload_format(tokens, example_gen_pb2.FORMAT_TF_EXAMPLE)
    folders = {split: artifact_utils.get_split_uri([tokens], split) for split in splits}
    with beam_pipeline as pipeline:
        token_job.encode(
            pipeline,
            plan_artifact(examples, splits),
            path_utils.serving_model_path(tokenizer.uri),
            tokens.uri,
            folders,
            token_job.EncodeSettings(views, view_scale, batch_size, max_pixels),
            max_unreadable_fraction,
        )
    jobs.check_finished(tokens.uri, folders.values())
    for split, facts in fingerprints.read_manifest(tokens.uri)["splits"].items():
        dead = sum(shard.get("num_dead_letters", 0) for shard in facts["shards"])
        tokens.set_int_custom_property(f"num_examples_{split}", facts["num_examples"])
        tokens.set_int_custom_property(f"num_dead_letters_{split}", dead)


def plan_artifact(examples, splits):
    """sources.shards.Plan of ImageExampleGen's output: one shard per file."""
    manifest = fingerprints.read_manifest(examples.uri)
    shards = []
    for split in splits:
        folder = artifact_utils.get_split_uri([examples], split)
        paths = [os.path.join(folder, shard["file"]) for shard in manifest["splits"][split]["shards"]]
        shards += containers.container_shards(split, containers.TFRecords(), paths, len(paths))
    return Plan(manifest["source"], shards, manifest["class_names"], label_values=manifest["label_values"])
