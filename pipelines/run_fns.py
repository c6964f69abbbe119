"""The functions that TFX's Trainer runs: they train by `vim_tf.train.run` and write the stage to the artifacts."""

import dataclasses
import os

import tensorflow as tf
from tfx.utils import io_utils

from pipelines import fingerprints
from pipelines.local import publish
from vim_tf import config as configs
from vim_tf import train
from vim_tf.devices import strategies
from vim_tf.serving import saved_model
from vim_tf.serving.classifier import export_classifier
from vim_tf.stages import saved
from vim_tf.stages.linear_probe import open_probe_inputs


def train_tokenizer(fn_args):
    """Trains the tokenizer on an Examples artifact of images.

    Writes the SavedModel of the tokenizer to the Model artifact and the trained stage to the ModelRun artifact.

    If several workers call this, only the chief writes them.

    Args:
        fn_args: tfx.components.trainer.fn_args_utils.FnArgs; its `custom_config` is that of `pipeline.create_pipeline`.
            A `base_model`, if there is one, is an exported model whose tokenizer the training starts from; the
            discriminator starts from scratch.
    """
    examples = _artifact_folder(fn_args.train_files)
    published = _config(fn_args, configs.TokenizerTrainConfig)
    inputs = [fingerprints.contents_digest(examples)]
    if fn_args.base_model:
        # By its contents, so that a killed training's successor finds the folder whichever execution provides the
        # model. The model itself isn't loaded: a cluster's strategy must come before TensorFlow's first operation.
        trained_on = saved.load_config(fn_args.base_model, "language_model").model.tokens
        inputs.append(trained_on.tokenizer_checksum)
        published = dataclasses.replace(published, initialize_from=fn_args.base_model)
    folder = _training_folder(fn_args, published, inputs)
    # The workdir's config holds the path of the images, which must not change between executions that resume it.
    images = _ingested(published.data, _stable_path(folder, "examples", examples))
    config = dataclasses.replace(published, workdir=f"{folder}/workdir", data=images)
    train.run(config)
    if not strategies.is_chief_of_cluster(config.strategy):
        return
    tokenizer = saved.load_tokenizer(config.workdir)
    _keep_stage(tokenizer, dataclasses.replace(published, workdir=fn_args.model_run_dir), config.workdir)
    saved_model.export(fn_args.serving_model_dir, fn_args.model_run_dir, max_pixels=config.data.max_pixels)


def train_language_model(fn_args):
    """Trains the language model on an Examples artifact of token records.

    Writes the SavedModel of both stages, which is what is served, to the Model artifact and the trained stage
    to the ModelRun artifact.

    Args:
        fn_args: as for `train_tokenizer`; its `base_model` is the tokenizer's SavedModel.
    """
    tokens = _artifact_folder(fn_args.train_files)
    config = _config(fn_args, configs.LanguageModelTrainConfig)
    folder = _training_folder(fn_args, config, [fingerprints.contents_digest(tokens)])
    config = dataclasses.replace(config, workdir=f"{folder}/workdir", tokens=tokens)
    train.run(config)
    if not strategies.is_chief_of_cluster(config.strategy):
        return
    tokenizer = saved.load_tokenizer(fn_args.base_model)
    language_model = saved.load_language_model(config.workdir, tokenizer)
    trained = dataclasses.replace(saved.load_config(config.workdir), workdir=fn_args.model_run_dir)
    _keep_stage(language_model, trained, config.workdir)
    saved_model.export(
        fn_args.serving_model_dir,
        fn_args.base_model,
        fn_args.model_run_dir,
        fn_args.custom_config["sampling_batch_size"],
        max_pixels=fn_args.custom_config["max_pixels"],
    )


def train_linear_probe(fn_args):
    """Trains linear heads on an Examples artifact of images, over the exported model of both stages.

    Writes the SavedModel of the best block's classifier to the Model artifact.

    Args:
        fn_args: as for `train_tokenizer`; its `base_model` is the SavedModel of both stages.
    """
    examples = _artifact_folder(fn_args.train_files)
    config = _config(fn_args, configs.LinearProbeTrainConfig)
    checksum = saved.checksum(saved.load_language_model(fn_args.base_model))
    folder = _training_folder(fn_args, config, [fingerprints.contents_digest(examples), checksum])
    images = _ingested(config.data, _stable_path(folder, "examples", examples))
    config = dataclasses.replace(
        config,
        workdir=f"{folder}/workdir",
        tokenizer=fn_args.base_model,
        language_model=fn_args.base_model,
        data=images,
    )
    train.run(config)
    inputs = open_probe_inputs(config)
    probe = saved.load_linear_probe(config.workdir, inputs.features.sizes)
    best = int(inputs.evaluator.run(probe).metrics["linear_probe/best_block"])
    export_classifier(
        fn_args.serving_model_dir, inputs, probe, inputs.features.block_names[best], config.data.max_pixels
    )
    # The artifact with the training's records.
    tf.io.gfile.makedirs(fn_args.model_run_dir)
    tf.io.gfile.copy(f"{config.workdir}/metrics.jsonl", f"{fn_args.model_run_dir}/metrics.jsonl", overwrite=True)


def _config(fn_args, config_class):
    """The training's config, with the number of steps of the Trainer's `train_args`, which a run can override."""
    config = configs.from_dict(config_class, fn_args.custom_config["config"])
    steps = fn_args.train_steps or config.training.total_steps
    return dataclasses.replace(config, training=dataclasses.replace(config.training, total_steps=steps))


def _ingested(data, folder):
    """DataConfig of the images that ImageExampleGen wrote to a folder, with our names of features and labels."""
    own = {"image_feature": "", "label_feature": "", "key_feature": "", "map_labels": False}
    return dataclasses.replace(data, source=f"tfrecord:{folder}/Split-{{split}}/*.gz", **own)


def _artifact_folder(patterns):
    """Folder of an artifact, from TFX's patterns of one split's files: `<folder>/Split-train/*`."""
    return os.path.dirname(os.path.dirname(patterns[0]))


def _training_folder(fn_args, config, inputs):
    """Folder of the training with these inputs and this config, so that a killed execution's successor finds it."""
    settings = fn_args.custom_config
    # The path of a warm start's model says nothing about its contents, which are among the inputs.
    published = configs.to_dict(config) | {
        name: settings["config"][name] for name in ("initialize_from",) if name in settings["config"]
    }
    # The folder's path is part of the key, since the workdir's config holds paths inside it.
    facts = [published, settings["code_version"], settings["training_folder"], settings["files"]]
    key = fingerprints.digest([facts, inputs])
    folder = f"{settings['training_folder']}/{config.task}-{key[:16]}"
    tf.io.gfile.makedirs(folder)
    return folder


def _stable_path(folder, name, artifact):
    """A path to an artifact that doesn't depend on the execution that made it, if the file system has links."""
    if "://" in folder:
        return artifact
    publish.replace_link(f"{folder}/{name}", artifact)
    return f"{folder}/{name}"


def _keep_stage(model, config, trained_in):
    """Writes the inference form of a stage, and the records of its training, to `config.workdir`."""
    saved.save_stage(model, config, config.workdir)
    tf.io.gfile.copy(f"{trained_in}/metrics.jsonl", f"{config.workdir}/metrics.jsonl", overwrite=True)
    io_utils.copy_dir(f"{trained_in}/tensorboard", f"{config.workdir}/tensorboard")
