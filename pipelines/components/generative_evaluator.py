"""Measures a trained tokenizer and language model, and says whether they may be served."""

import contextlib
import json
import os

import tensorflow as tf
from tfx.components.evaluator import constants
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from vim_tf import config as configs
from vim_tf import evaluate
from vim_tf.evaluation import results

# Metric that each field of GateConfig limits.
GATES = {
    "min_reconstruction_psnr": "reconstruction/psnr",
    "min_codebook_usage": "codebook/usage",
    "min_label_accuracy": "generation/label_accuracy",
    "max_generation_frechet_distance": "generation/frechet_distance",
}


@component
def GenerativeEvaluator(
    examples: InputArtifact[standard_artifacts.Examples],
    tokenizer: InputArtifact[standard_artifacts.ModelRun],
    language_model: InputArtifact[standard_artifacts.ModelRun],
    model: InputArtifact[standard_artifacts.Model],
    evaluation: OutputArtifact[standard_artifacts.ModelEvaluation],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    evaluation_config: Parameter[str],
    sampling_config: Parameter[str],
    gates: Parameter[str],
    code_version: Parameter[str],
) -> None:
    """Writes metrics.json and report.html, and blesses the model if every gate is passed.

    The blessing has the custom properties `blessed` (1 or 0) and `reason`, and a file BLESSED or NOT_BLESSED that says
    the reason too.

    Args:
        examples: images, as ImageExampleGen writes them; samples are compared with the validation split.
        tokenizer, language_model: the trained stages.
        model: the exported model of both, which is what is blessed.
        evaluation: gets metrics.json and report.html.
        blessing: gets the verdict.
        evaluation_config, sampling_config, gates: JSON of an EvaluationConfig, a SamplingConfig and a GateConfig.
        code_version: another version takes nothing from the cache.
    """
    gates = json.loads(gates)
    config = configs.EvaluateConfig(
        evaluation=configs.from_dict(configs.EvaluationConfig, json.loads(evaluation_config)),
        tokenizer=tokenizer.uri,
        language_model=language_model.uri,
        data=configs.DataConfig(source=f"tfrecord:{examples.uri}/Split-{{split}}/*.gz"),
        sampling=configs.from_dict(configs.SamplingConfig, json.loads(sampling_config)),
        output=evaluation.uri,
    )
    # The runner shows the metrics, also those of a cached evaluation.
    with contextlib.redirect_stdout(None):
        evaluate.run(config)
    metrics, _ = results.read_metrics(os.path.join(evaluation.uri, "metrics.json"))
    failures = failed_gates(metrics, gates)
    reason = "; ".join(failures) if failures else "every gate is passed"
    name = constants.NOT_BLESSED_FILE_NAME if failures else constants.BLESSED_FILE_NAME
    with tf.io.gfile.GFile(os.path.join(blessing.uri, name), "w") as file:
        file.write(reason + "\n")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(not failures))
    blessing.set_string_custom_property("reason", reason)
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)


def failed_gates(metrics, gates):
    """What keeps a model from being served.

    Args:
        metrics: dict from `stage/name` to float, or None where it was not finite.
        gates: dict from the names of GATES to a limit; 0 = off.

    Returns:
        list of str, one for each gate that is missed; a metric that was not measured misses its gate.
    """
    failures = []
    for gate, limit in gates.items():
        metric = GATES[gate]
        value = metrics.get(metric)
        if not limit:
            continue
        if value is None:
            failures.append(f"{metric} was not measured, and --gates.{gate} is {limit:g}")
        elif gate.startswith("min_") and not value >= limit:
            failures.append(f"{metric} is {value:.4g}, below --gates.{gate}={limit:g}")
        elif gate.startswith("max_") and not value <= limit:
            failures.append(f"{metric} is {value:.4g}, above --gates.{gate}={limit:g}")
    return failures
