"""Proves that an exported model can be served before it may be pushed."""

import json
import os
import subprocess
import sys

import tensorflow as tf
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from pipelines.components import serving_probe
from vim_tf import ranges
from vim_tf.stages import saved

# Sampling with a large model on a CPU takes minutes; a call that hangs must not block the pipeline forever.
TIMEOUT_SECONDS = 3600
# As InfraValidator names them.
BLESSED_FILE, NOT_BLESSED_FILE = "INFRA_BLESSED", "INFRA_NOT_BLESSED"


@component
def ServingCheck(
    model: InputArtifact[standard_artifacts.Model],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
    code_version: Parameter[str],
) -> None:
    """Loads the model in a clean process with nothing but TensorFlow, calls every signature, and gives a verdict.

    TFX's InfraValidator needs Docker or Kubernetes; this needs only a process. The blessing has the custom properties
    `blessed` (1 or 0), `reason`, `signatures` and `tokenizer_checksum`, and a file INFRA_BLESSED or INFRA_NOT_BLESSED
    that contains the reason.

    Args:
        model: the exported model of both stages.
        blessing: receives the verdict.
        code_version: a new version invalidates the cache.
    """
    folder = path_utils.serving_model_path(model.uri)
    signatures, failure = check(folder, facts_of(folder))
    reason = f"the exported model can't be served: {failure}" if failure else "every signature works as expected"
    name = NOT_BLESSED_FILE if failure else BLESSED_FILE
    tf.io.gfile.makedirs(blessing.uri)
    with tf.io.gfile.GFile(os.path.join(blessing.uri, name), "w") as file:
        file.write(reason + "\n")
    blessing.set_int_custom_property("blessed", int(not failure))
    blessing.set_string_custom_property("reason", reason)
    blessing.set_string_custom_property("signatures", ",".join(signatures))
    tokens = saved.load_config(folder, "language_model").model.tokens
    blessing.set_string_custom_property("tokenizer_checksum", tokens.tokenizer_checksum)


def facts_of(folder):
    """Facts about an exported model's outputs, from its stages' configs, as `serving_probe.probe` takes them."""
    images = saved.load_config(folder, "tokenizer").model
    language_model = saved.load_config(folder, "language_model").model
    tokens = language_model.tokens
    return {
        "height": images.height,
        "width": images.width,
        "grid_height": tokens.grid_height,
        "grid_width": tokens.grid_width,
        "depth": tokens.depth,
        "codebook_size": tokens.codebook_size,
        "num_classes": tokens.num_classes if language_model.class_conditional else 0,
        "feature_dim": language_model.hidden_dim,
        "settings": {name: setting.default for name, setting in ranges.SAMPLING.items()},
    }


def check(folder, facts, timeout=TIMEOUT_SECONDS):
    """Runs `serving_probe` on a SavedModel in a separate process.

    Args:
        folder: str.
        facts: dict, as `serving_probe.probe` takes it.
        timeout: float, seconds.

    Returns:
        (list of str, the signatures that were called; str, what is wrong, empty if nothing is).
    """
    command = [sys.executable, "-I", serving_probe.__file__, folder, json.dumps(facts)]
    # This process holds the accelerator's memory.
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return [], f"the check did not finish in {timeout:g} s"
    if done.returncode:
        last = (done.stderr.strip() or "it wrote nothing").splitlines()[-1]
        return [], f"the process that called it exited with status {done.returncode}: {last}"
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer.get("signatures", []), answer.get("failure", "")
