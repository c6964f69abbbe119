"""Writes any image source of vim_tf as standard Examples."""

import json

import apache_beam as beam
from tfx.components.util import examples_utils
from tfx.dsl.component.experimental.annotations import BeamComponentParameter, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from pipelines import fingerprints
from vim_tf import config as configs
from vim_tf.beam import jobs
from vim_tf.beam.images import ingest, split_folders
from vim_tf.data.sources import classes, plan_shards


@component(use_beam=True)
def ImageExampleGen(
    examples: OutputArtifact[standard_artifacts.Examples],
    data: Parameter[str],
    height: Parameter[int],
    width: Parameter[int],
    num_shards: Parameter[int],
    span: Parameter[int],
    version: Parameter[int],
    input_fingerprint: Parameter[str],
    code_version: Parameter[str],
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Writes each split as `Split-<split>/images-*.tfrecord.gz`; `vim_tf.data.records.images` says what they hold.

    The images are kept as they are, so that training can crop and scale them at random. `manifest.json` next to the
    splits has the counts and lists what can't be read; the custom properties `num_examples_<split>` and
    `num_unreadable_<split>` have the counts too.

    Args:
        examples: the artifact.
        data: JSON of a DataConfig whose source has no {SPAN} or {VERSION} left.
        height, width: image size in pixels, for sources that need no files.
        num_shards: files per split; fewer where the source has fewer files.
        span, version: of the source, as `pipelines.spans` found them.
        input_fingerprint: changes when the source's files do.
        code_version: a new version invalidates the cache.
        beam_pipeline: where it runs.

    Raises:
        InputError: the source can't be read, has no images, or too many files that aren't images.
    """
    data = configs.from_dict(configs.DataConfig, json.loads(data))
    examples.split_names = artifact_utils.encode_split_names(list(configs.SPLITS))
    examples.span, examples.version = span, version
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
    plan = plan_shards(data, configs.SPLITS, height, width, num_shards)
    with beam_pipeline as pipeline:
        ingest(pipeline, plan, examples.uri, data.max_unreadable_fraction, data.max_pixels)
    jobs.check_finished(examples.uri, split_folders(plan, examples.uri))
    manifest = fingerprints.read_manifest(examples.uri)
    classes.warn_of_empty(data.source, manifest["empty_classes"])
    for split, facts in manifest["splits"].items():
        for count in ("num_examples", "num_unreadable"):
            examples.set_int_custom_property(f"{count}_{split}", facts[count])
