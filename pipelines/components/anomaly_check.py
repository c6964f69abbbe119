"""Stops the pipeline if the validation of examples found anomalies."""

import os

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts

from pipelines import fingerprints
from vim_tf.data.records import images as image_records
from vim_tf.errors import InputError
from vim_tf.storage import files


@component
def AnomalyCheck(
    examples: InputArtifact[standard_artifacts.Examples],
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    max_duplicates: Parameter[int],
    code_version: Parameter[str],
) -> None:
    """Fails with one line that lists the anomalies: of single features, from ExampleValidator, whose artifact has the
    details, and between splits, from the manifest of the examples.

    Args:
        examples: images, as ImageExampleGen writes them.
        anomalies: of each split.
        max_duplicates: validation images that may also be in the training split.
        code_version: a new version invalidates the cache.

    Raises:
        InputError: there are anomalies.
    """
    found = image_records.split_problems(fingerprints.read_manifest(examples.uri), max_duplicates)
    for split in artifact_utils.decode_split_names(anomalies.split_names):
        path = os.path.join(artifact_utils.get_split_uri([anomalies], split), DEFAULT_FILE_NAME)
        found += _described(split, anomalies_pb2.Anomalies.FromString(files.read_file(path)))
    if found:
        raise InputError(f"the images have anomalies: {'; '.join(found)} (details: {anomalies.uri})")


def _described(split, anomalies):
    lines = [
        f"{split} split, feature {feature}: {info.short_description} ({' '.join(info.description.split())})"
        for feature, info in sorted(anomalies.anomaly_info.items())
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"{split} split: {' '.join(anomalies.dataset_anomaly_info.description.split())}")
    return lines
