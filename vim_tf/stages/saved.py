"""A trained stage on disk: `config.json` and `checkpoints/`. The only way that commands load a model."""

import dataclasses
import json

import tensorflow as tf

from vim_tf import config as configs
from vim_tf.errors import InputError
from vim_tf.models.language_model import build_language_model, describe_language_model
from vim_tf.models.linear_probe import build_linear_probe
from vim_tf.models.palette import build_palette_tokenizer
from vim_tf.models.tokenizer import build_tokenizer, describe_tokenizer
from vim_tf.storage import digests, files
from vim_tf.training.checkpoints import restore_model, save_model

# Where an exported model keeps the stages that it was made from; TF Serving ignores this folder.
EXPORTED_STAGES = "assets.extra"
# Stages that produce a tokenizer.
_TOKENIZERS = {"tokenizer": build_tokenizer, "palette": build_palette_tokenizer}
# Models by task, as their configs describe them; weights aren't needed.
_DESCRIBED = {
    "tokenizer": describe_tokenizer,
    "palette": build_palette_tokenizer,
    "language_model": describe_language_model,
}


def load_config(path, task=None):
    """Config of a trained stage.

    Args:
        path: str, a workdir, or an exported model together with `task`.
        task: tokenizer (of any kind), language_model or linear_probe; None = any that the workdir holds.

    Raises:
        InputError: there is no trained stage, or it has another task.
    """
    return _read_config(_stage_folder(path, task), task)


def load_tokenizer(path):
    """The trained tokenizer of a workdir or an exported model, with its `checksum`.

    Raises:
        InputError: there is none.
    """
    folder = _stage_folder(path, "tokenizer")
    config = _read_config(folder, "tokenizer")
    tokenizer = _TOKENIZERS[config.task](config.model)
    restore_model(f"{folder}/checkpoints", tokenizer)
    tokenizer.checksum = checksum(tokenizer)
    return tokenizer


def load_language_model(path, tokenizer=None):
    """The trained language model of a workdir or an exported model, with its `class_names`, a tuple of str.

    There is a name for each label, or no names if they aren't known.

    Args:
        path: str.
        tokenizer: a tokenizer from `load_tokenizer` that it must belong to; None = not checked.

    Raises:
        InputError: there is none, or it was trained on tokens of another tokenizer.
    """
    folder = _stage_folder(path, "language_model")
    section = _read_config(folder, "language_model").model
    if tokenizer is not None:
        check_same_tokenizer(f"language model {path}", section.tokens.tokenizer_checksum, tokenizer.checksum)
    language_model = build_language_model(section)
    restore_model(f"{folder}/checkpoints", language_model)
    language_model.class_names = section.tokens.class_names[: language_model.num_classes]
    return language_model


def load_linear_probe(path, sizes):
    """The trained heads of a workdir.

    Args:
        path: str.
        sizes: dict from a feature's name to its length, as `ImageFeatures` has it for the stages under the probe.

    Raises:
        InputError: there are none, or of other features.
    """
    folder = _stage_folder(path, "linear_probe")
    probe = build_linear_probe(sizes, _read_config(folder, "linear_probe").facts.num_classes)
    restore_model(f"{folder}/checkpoints", probe)
    return probe


def initialize(model, path, task):
    """Sets a new model's weights to those of a trained stage of the same form.

    Args:
        model: built tokenizer or language model.
        path: str, a workdir or an exported model.
        task: tokenizer or language_model.

    Raises:
        InputError: there is none, or its form differs; the message lists the differences.
    """
    trained = {"tokenizer": load_tokenizer, "language_model": load_language_model}[task](path)
    _check_form(path, trained, model)
    for weight, value in zip(model.weights, trained.weights, strict=True):
        weight.assign(value)


def check_same_tokenizer(what, expected, given):
    """Refuses a tokenizer that isn't the one something was made with.

    Raises:
        InputError: the checksums differ; the message has both.
    """
    if expected != given:
        raise InputError(f"{what} belongs to the tokenizer with checksum {expected}, not to the given one with {given}")


def prepare(config, folder=None):
    """Creates the workdir and writes its `config.json`, or checks that an existing one is the same.

    Args:
        config: a train config.
        folder: str, where to write it, if not to the workdir itself.

    Raises:
        InputError: the workdir was trained with another config (the message lists the fields), or can't be written.
    """
    if not check_workdir(config) and folder in (None, config.workdir):
        check_empty(config.workdir)
    folder = folder or config.workdir
    files.check_writable(folder, "workdir")
    _write_config(config, folder)


def check_start(config, folder):
    """Refuses at the start what `prepare` and the initialization would refuse only after the data are read.

    Args:
        config: a train config, not yet completed with facts from the data.
        folder: str, where this process writes.

    Raises:
        InputError: the workdir has another config, isn't a workdir or can't be written, or there is no trained stage of
            the same form to start from.
    """
    if tf.io.gfile.exists(f"{config.workdir}/config.json"):
        _check_resumable(_read_config(config.workdir, None), config, with_facts=False)
    else:
        if folder == config.workdir:
            check_empty(config.workdir)
        if getattr(config, "initialize_from", ""):
            _check_form_of_config(config)
    files.check_place(folder, "workdir")


def _check_form_of_config(config):
    before = load_config(config.initialize_from, config.task)
    section = config.model
    if config.task == "language_model":
        # Facts of the tokens aren't known yet; `initialize` compares them.
        section = dataclasses.replace(section, tokens=before.model.tokens)
    trained, new = _DESCRIBED[before.task](before.model), _DESCRIBED[config.task](section)
    _check_form(config.initialize_from, trained, new)


def _check_form(path, trained, model):
    """Refuses a trained model as the start of another one with other constructor arguments."""
    before, now = _form(trained), _form(model)
    differences = [
        f"{name} is {before.get(name)} there and {now[name]} here" for name in now if before.get(name) != now[name]
    ]
    if differences:
        raise InputError(f"--initialize_from={path} has a different form: {'; '.join(differences)}")


def check_workdir(config):
    """Whether the workdir holds a stage whose training with this config has started.

    Raises:
        InputError: it was trained with another config; the message lists the fields.
    """
    if not tf.io.gfile.exists(f"{config.workdir}/config.json"):
        return False
    _check_resumable(_read_config(config.workdir, None), config)
    return True


def recorded(config, name):
    """Value of a field in the config that a training in the workdir started with; None if there is none of its task.

    Args:
        config: a train config.
        name: str, dotted name of the field.
    """
    if not tf.io.gfile.exists(f"{config.workdir}/config.json"):
        return None
    before = _read_config(config.workdir, None)
    return configs.get(before, name) if before.task == config.task else None


def check_empty(folder):
    """Refuses a file, and a non-empty folder without config.json."""
    if tf.io.gfile.exists(folder) and not tf.io.gfile.isdir(folder):
        raise InputError(f"--workdir={folder} is a file: choose a new folder")
    if tf.io.gfile.isdir(folder) and tf.io.gfile.listdir(folder):
        raise InputError(f"--workdir={folder} is not empty and holds no config.json: choose a new folder")


def save_stage(model, config, folder):
    """Writes the inference form of a stage, which `load_tokenizer` and `load_language_model` take.

    Args:
        model: the trained model.
        config: its train config.
        folder: str.
    """
    tf.io.gfile.makedirs(folder)
    save_model(f"{folder}/checkpoints", model)
    _write_config(config, folder)


def checksum(model):
    """sha256 over a model's inference weights and its configuration, as hexadecimal digits."""
    return digests.digest_of_parts(_parts(model))


def _parts(model):
    for weight in sorted(model.weights, key=lambda weight: weight.path):
        yield from digests.array_parts(weight.numpy(), weight.path)
    yield json.dumps(_form(model), sort_keys=True, separators=(",", ":")).encode()


def _form(model):
    """A model's constructor arguments that determine what it computes."""
    return {name: value for name, value in model.get_config().items() if name not in ("name", "dtype", "trainable")}


def _stage_folder(path, task):
    if not tf.io.gfile.isdir(path):
        raise InputError(
            f"there is no folder {path}; a trained stage is a --workdir of vim_tf.train or an exported model"
        )
    for folder in [path] + ([f"{path}/{EXPORTED_STAGES}/{task}"] if task else []):
        if tf.io.gfile.exists(f"{folder}/config.json"):
            return folder
    raise InputError(f"{path} holds no trained {task or 'stage'}: neither config.json nor {EXPORTED_STAGES}/{task}")


def _read_config(folder, task):
    with tf.io.gfile.GFile(f"{folder}/config.json") as file:
        try:
            values = json.load(file)
            found = values["task"]
            config_class = configs.TRAIN_CONFIGS[found]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder}/config.json isn't the config of a trained stage: {error!r}") from error
    if task and found != task and not (task == "tokenizer" and found in _TOKENIZERS):
        raise InputError(f"{folder} holds a {found}, where a {task} is needed")
    return configs.from_dict(config_class, values)


def _write_config(config, folder):
    files.write_whole(f"{folder}/config.json", json.dumps(configs.to_dict(config), indent=2) + "\n")


def _check_resumable(before, now, with_facts=True):
    if before.task != now.task:
        raise InputError(f"--workdir={now.workdir} holds a {before.task}, not a {now.task}: choose another folder")
    differences = [
        f"{name} was {configs.get(before, name)!r}, now {configs.get(now, name)!r}"
        for name, field in configs.leaves(type(now))
        if not field.metadata["resumable"]
        and (with_facts or field.metadata["flag"])
        and configs.get(before, name) != configs.get(now, name)
    ]
    if differences:
        raise InputError(
            f"--workdir={now.workdir} was trained with another config: {'; '.join(differences)}; "
            "go back to it or choose another folder"
        )
