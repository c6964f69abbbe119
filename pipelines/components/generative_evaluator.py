"""Measures a trained tokenizer and language model, and says whether they may be served."""

import dataclasses
import json
import os

import tensorflow as tf
from tfx.components.evaluator import constants
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from pipelines import fingerprints
from pipelines.components.gates import missed_gates, needs_baseline
from vim_tf import config as configs
from vim_tf import evaluate
from vim_tf.errors import InputError
from vim_tf.evaluation import results
from vim_tf.storage import files


@component
def GenerativeEvaluator(
    examples: InputArtifact[standard_artifacts.Examples],
    tokenizer: InputArtifact[standard_artifacts.ModelRun],
    language_model: InputArtifact[standard_artifacts.ModelRun],
    model: InputArtifact[standard_artifacts.Model],
    evaluation: OutputArtifact[standard_artifacts.ModelEvaluation],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    evaluation_config: Parameter[str],
    linear_probe_flags: Parameter[str],
    sampling_config: Parameter[str],
    gates: Parameter[str],
    max_pixels: Parameter[int],
    file_fingerprint: Parameter[str],
    code_version: Parameter[str],
    baseline_model: InputArtifact[standard_artifacts.Model] = None,
) -> None:
    """Writes metrics.json and report.html, and blesses the model if every gate is passed.

    The blessing has the custom properties `blessed` (1 or 0), `reason` and, where there is one, `baseline_model`, and a
    file BLESSED or NOT_BLESSED that contains the reason. The evaluation has each metric as a custom property.

    Args:
        examples: images, as ImageExampleGen writes them; samples are compared with the validation split.
        tokenizer, language_model: the trained stages.
        model: the exported model of both, which is blessed.
        evaluation: receives metrics.json and report.html.
        blessing: receives the verdict.
        evaluation_config, sampling_config, gates: JSON of an EvaluationConfig, a SamplingConfig and a GateConfig.
        linear_probe_flags: flags of a linear probe, one per line; empty = no probe.
        max_pixels: limit of an image, as in DataConfig.
        file_fingerprint: of the files named in the configs; changed files invalidate the cache.
        code_version: a new version invalidates the cache.
        baseline_model: the blessed model before this one, which is measured again if a gate compares with it, or
            None.
    """
    command = configs.EvaluateCommand(
        evaluation=configs.from_dict(configs.EvaluationConfig, json.loads(evaluation_config)),
        tokenizer=tokenizer.uri,
        language_model=language_model.uri,
        data=_data(examples.uri, max_pixels),
        linear_probe_flagfile=_written(linear_probe_flags, evaluation.uri),
        sampling=configs.from_dict(configs.SamplingConfig, json.loads(sampling_config)),
        reference_folder=os.path.join(evaluation.uri, "reference"),
        output=evaluation.uri,
    )
    misses = []

    def judge(metrics, conditions):
        misses.extend(_misses((metrics, conditions), json.loads(gates), command, baseline_model))
        return misses

    metrics = evaluate.run(command, judge, fingerprints.read_manifest(examples.uri)["attributions"])
    for metric, value in metrics.items():
        if value is not None:
            evaluation.set_float_custom_property(metric, value)
    _write_verdict(blessing, misses, model, baseline_model)


def _data(folder, max_pixels):
    """DataConfig of the images in a folder that ImageExampleGen wrote."""
    return configs.DataConfig(
        source=f"tfrecord:{folder}/Split-{{split}}/*.gz",
        name=fingerprints.read_manifest(folder)["source"],
        max_pixels=max_pixels,
    )


def _written(linear_probe_flags, folder):
    """Path of a flagfile with a linear probe's flags; empty if there are none."""
    if not linear_probe_flags:
        return ""
    flagfile = os.path.join(folder, "linear_probe.flags")
    files.write_whole(flagfile, linear_probe_flags + "\n")
    return flagfile


def _misses(measured, limits, command, baseline_model):
    """Reasons, list of str, why a model with these (metrics, conditions) isn't blessed."""
    misses, baseline = [], None
    if baseline_model is not None and needs_baseline(limits):
        try:
            baseline = _measured_again(command, path_utils.serving_model_path(baseline_model.uri))
        except InputError as error:
            # It may have other classes or another size; the measurements of the new model aren't lost because of it.
            misses.append(f"the last blessed model can't be measured like this one: {error}")
    return misses + missed_gates(measured, limits, baseline)


def _write_verdict(blessing, misses, model, baseline_model):
    """The blessing's file and properties: whether the model is blessed, why, and what was compared."""
    reason = "; ".join(misses) if misses else "every gate is passed"
    name = constants.NOT_BLESSED_FILE_NAME if misses else constants.BLESSED_FILE_NAME
    with tf.io.gfile.GFile(os.path.join(blessing.uri, name), "w") as file:
        file.write(reason + "\n")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(not misses))
    blessing.set_string_custom_property("reason", reason)
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    _set_id(blessing, constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model)
    if baseline_model is not None:
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline_model.uri)
        _set_id(blessing, constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline_model)


def _measured_again(command, model):
    """(metrics, conditions) of the last blessed model, measured like the new one and with its feature network."""
    kinds = tuple(kind for kind in command.evaluation.kind if kind in ("reconstruction", "generation"))
    if not kinds:
        return {}, {}
    network = command.evaluation.feature_network_path
    trained = os.path.join(command.output, "feature_network")
    if command.evaluation.feature_network == "classifier" and not network and tf.io.gfile.isdir(trained):
        network = trained
    baseline = dataclasses.replace(
        command,
        evaluation=dataclasses.replace(command.evaluation, kind=kinds, feature_network_path=network, nearest_images=0),
        tokenizer=model,
        language_model=model,
        output=os.path.join(command.output, "last_blessed"),
    )
    evaluate.run(baseline)
    return results.read_metrics(os.path.join(baseline.output, "metrics.json"))


def _set_id(blessing, key, model):
    """Records a model's id, or its resource name if the platform looks artifacts up by name."""
    if model.name.startswith("projects/"):
        blessing.set_string_custom_property(key, model.name)
    else:
        blessing.set_int_custom_property(key, model.id)
