"""Publishes a pushed model as a TF Hub module too: a folder, a tar.gz and a model card."""

import os

import tensorflow as tf
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import io_utils, path_utils

from pipelines import fingerprints, settings
from pipelines.components.model_card import model_card
from vim_tf.evaluation import results
from vim_tf.serving import hub
from vim_tf.stages import saved
from vim_tf.storage import files

CARD = "model_card.md"


@component
def HubPusher(
    model: InputArtifact[standard_artifacts.Model],
    pushed_model: InputArtifact[standard_artifacts.PushedModel],
    serving_blessing: InputArtifact[standard_artifacts.InfraBlessing],
    examples: InputArtifact[standard_artifacts.Examples],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    hub_module: OutputArtifact[standard_artifacts.PushedModel],
    hub_folder: Parameter[str],
    name: Parameter[str],
    licence: Parameter[str],
    input_fingerprint: Parameter[str],
    code_version: Parameter[str],
) -> None:
    """Writes `<hub_folder>/<version>/`, the SavedModel with its card, and its archive `<hub_folder>/<version>.tar.gz`.

    Nothing is written if Pusher didn't push the model. The version is Pusher's. The artifact keeps the card, and has
    Pusher's custom properties `pushed`, `pushed_destination` and `pushed_version`.

    Args:
        model: the exported model of both stages.
        pushed_model: Pusher's artifact of it.
        serving_blessing: ServingCheck's verdict on it.
        examples: the images it was trained on.
        evaluation: its metrics.
        hub_module: the artifact.
        hub_folder: folder of the modules.
        name: of the module.
        licence: of the model, for the card.
        input_fingerprint: of the images' source.
        code_version: a new version invalidates the cache.
    """
    pushed = pushed_model.get_int_custom_property("pushed")
    hub_module.set_int_custom_property("pushed", pushed)
    if not pushed:
        return
    version = pushed_model.get_string_custom_property("pushed_version")
    folder = path_utils.serving_model_path(model.uri)
    metrics, conditions = results.read_metrics(os.path.join(evaluation.uri, "metrics.json"))
    images = fingerprints.read_manifest(examples.uri)
    facts = _facts(folder, images, input_fingerprint, code_version)
    signatures = serving_blessing.get_string_custom_property("signatures").split(",")
    card = model_card(name, version, signatures, metrics, conditions, facts, licence, images["attributions"])
    files.write_whole(os.path.join(hub_module.uri, CARD), card)
    destination = os.path.join(hub_folder, version)
    write_module(folder, card, destination, replace_card=True)
    hub_module.set_string_custom_property("pushed_destination", destination)
    hub_module.set_string_custom_property("pushed_version", version)


def write_module(saved_model, card, destination, replace_card=False):
    """Writes a module's folder and its archive, `<destination>.tar.gz`, each whole or not at all; keeps existing ones.

    Args:
        saved_model: str, folder.
        card: str, Markdown.
        destination: str, folder to write.
        replace_card: whether a different card replaces the existing one, such as after a change of licence.
    """
    if replace_card and tf.io.gfile.exists(destination) and read_card(destination) != card:
        # First, so that after a kill no archive with the old card is taken for one with the new card.
        if tf.io.gfile.exists(f"{destination}.tar.gz"):
            tf.io.gfile.remove(f"{destination}.tar.gz")
        files.write_whole(os.path.join(destination, CARD), card)
    if not tf.io.gfile.exists(destination):
        with files.whole_folder(destination) as unfinished:
            io_utils.copy_dir(saved_model, unfinished)
            files.write_whole(os.path.join(unfinished, CARD), card)
    if not tf.io.gfile.exists(f"{destination}.tar.gz"):
        hub.write_archive(destination, f"{destination}.tar.gz")


def read_card(folder):
    """The card in a module's folder; a HubPusher's artifact keeps it too."""
    with tf.io.gfile.GFile(os.path.join(folder, CARD)) as file:
        return file.read()


def _facts(folder, images, input_fingerprint, code_version):
    tokenizer, language_model = (saved.load_config(folder, name) for name in ("tokenizer", "language_model"))
    counts = ", ".join(f"{split['num_examples']} {name}" for name, split in images["splits"].items())
    stages = {"tokenizer": tokenizer, "language model": language_model}
    return {
        "images": f"{images['source']} ({counts}), {tokenizer.model.height} x {tokenizer.model.width} pixels",
        "classes": ", ".join(images["class_names"]) or "none",
        "fingerprint of the images": input_fingerprint,
        "tokenizer checksum": language_model.model.tokens.tokenizer_checksum,
        "code version": code_version,
        **{
            f"training of the {name}": f"{config.training.total_steps} steps of {config.training.batch_size}"
            + (f", started from {config.initialize_from}" if config.initialize_from else "")
            for name, config in stages.items()
        },
        **{
            f"model of the {name}": " ".join(settings.changed_flags(config.model, "model.")) or "the defaults"
            for name, config in stages.items()
        },
    }
