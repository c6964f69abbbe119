"""Writes the schema that ExampleValidator checks all training images against."""

import os

from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import io_utils

from pipelines import fingerprints
from vim_tf.errors import InputError

# The features in the schema.
FEATURES = ("image", "label", "height", "width")


@component
def ImageSchema(
    examples: InputArtifact[standard_artifacts.Examples],
    schema: OutputArtifact[standard_artifacts.Schema],
    min_image_side: Parameter[int],
    needs_labels: Parameter[int],
    code_version: Parameter[str],
) -> None:
    """Writes `schema.pbtxt`.

    A schema inferred by SchemaGen would accept anything in the training split, even missing labels.

    Args:
        examples: images, as ImageExampleGen writes them; the labels of the training split are those that may occur.
        schema: the artifact.
        min_image_side: smallest height and width in pixels.
        needs_labels: 1 where the language model is conditioned on labels, else 0.
        code_version: a new version invalidates the cache.

    Raises:
        InputError: no image has a label, though the language model needs them.
    """
    labels = fingerprints.read_manifest(examples.uri)["splits"]["train"]["labels"]
    proto = image_schema([int(label) for label in labels], min_image_side, needs_labels)
    io_utils.write_pbtxt_file(os.path.join(schema.uri, "schema.pbtxt"), proto)


def image_schema(train_labels, min_image_side, needs_labels=False):
    """The schema: every feature once in every example; labels from 0 to the largest of training, or -1 in all.

    Args:
        train_labels: list of int, -1 = none.
        min_image_side: int, pixels.
        needs_labels: bool, whether the language model is conditioned on labels.

    Returns:
        schema_pb2.Schema.

    Raises:
        InputError: no image has a label, though the language model needs them.
    """
    if needs_labels and not any(label >= 0 for label in train_labels):
        raise InputError(
            "the images have no labels, but the language model is conditioned on labels: set "
            "--language_model_overrides=model.class_conditional=false, or give them labels (sub-folders of a folder; "
            "--data.label_feature names them in record files)"
        )
    schema = schema_pb2.Schema()
    for name in FEATURES:
        feature = schema.feature.add(name=name, type=schema_pb2.BYTES if name == "image" else schema_pb2.INT)
        feature.presence.min_fraction = 1.0
        feature.presence.min_count = 1
        feature.value_count.min = feature.value_count.max = 1
        if name in ("height", "width"):
            feature.int_domain.min = min_image_side
        elif name == "label":
            largest = max(train_labels, default=-1)
            feature.int_domain.min, feature.int_domain.max = min(largest, 0), largest
    return schema
