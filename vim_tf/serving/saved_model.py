"""Writes SavedModels."""

import json
import os
import re

import tensorflow as tf

from vim_tf.serving.signatures import build_signatures
from vim_tf.stages import saved
from vim_tf.storage.files import check_writable, whole_folder, write_whole


def export(folder, tokenizer, language_model="", sampling_batch_size=16, *, max_pixels):
    """Writes a SavedModel that loads in a process with only TensorFlow, whole or not at all.

    The trained stages themselves are in its `assets.extra/`, so that every command takes the exported model.

    Args:
        folder: str; existing content is replaced.
        tokenizer: str, path of a trained tokenizer.
        language_model: str, path of a language model trained on its tokens; empty = only the tokenizer.
        sampling_batch_size: int, samples that `generate` draws at once.
        max_pixels: int, limit of an image in a request, as in `decode_image`.

    Raises:
        InputError: a stage is missing, the two don't belong together, or the folder can't be written.
    """
    stages = {"tokenizer": (tokenizer, saved.load_tokenizer(tokenizer))}
    if language_model:
        loaded = saved.load_language_model(language_model, stages["tokenizer"][1])
        stages["language_model"] = (language_model, loaded)
    check_writable(os.path.dirname(folder.rstrip("/")) or ".")
    module, signatures = build_signatures(
        *(model for _, model in stages.values()), sampling_batch_size=sampling_batch_size, max_pixels=max_pixels
    )

    def add_stages(written):
        # The served functions use TensorFlow's own kernels: a server may lack XLA.
        serving = {"jit_compile": "off"} | ({"sampling_batch_size": sampling_batch_size} if language_model else {})
        write_whole(f"{written}/{saved.EXPORTED_STAGES}/serving.json", json.dumps(serving, indent=2) + "\n")
        for name, (path, model) in stages.items():
            saved.save_stage(model, saved.load_config(path, name), f"{written}/{saved.EXPORTED_STAGES}/{name}")

    write(folder, module, signatures, add_stages)


def write(folder, module, signatures, add=None):
    """Writes a SavedModel that appears whole or not at all.

    Args:
        folder: str; existing content is replaced.
        module: tf.Module that holds the weights.
        signatures: dict from name to function.
        add: function of a folder that adds files to it, or None.
    """
    with whole_folder(folder) as unfinished:
        tf.saved_model.save(module, unfinished, signatures=signatures)
        if add:
            add(unfinished)


def next_version(folder):
    """Number for a new model under a folder of versions, as TF Serving watches one: str, the greatest plus 1."""
    names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
    return str(max([int(name.rstrip("/")) for name in names if re.fullmatch(r"\d+/?", name)], default=0) + 1)
