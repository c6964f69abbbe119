"""The chain from images to a pushed model, as a TFX pipeline."""

import json

from tfx.components import ExampleValidator, Pusher, StatisticsGen, Trainer
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2

from pipelines.components.anomaly_check import AnomalyCheck
from pipelines.components.generative_evaluator import GenerativeEvaluator
from pipelines.components.image_example_gen import ImageExampleGen
from pipelines.components.image_schema import FEATURES, ImageSchema
from pipelines.components.token_materializer import TokenMaterializer


def create_pipeline(
    name,
    pipeline_root,
    metadata_connection_config,
    serving_folder,
    training_folder,
    data,
    span,
    version,
    input_fingerprint,
    num_shards,
    min_image_side,
    max_duplicates,
    views,
    view_scale,
    tokenizer,
    language_model,
    evaluation,
    sampling,
    gates,
    export_sampling_batch_size,
    code_version,
    beam_pipeline_args,
):
    """The pipeline; everything it depends on is an argument.

    Args:
        name: str, under which the metadata store keeps the runs.
        pipeline_root: folder of the artifacts.
        metadata_connection_config: where the metadata store is.
        serving_folder: folder that gets <version>/ of a blessed model.
        training_folder: folder of unfinished trainings, which a later run continues.
        data: dict of a DataConfig, the images.
        span, version: int, of the images.
        input_fingerprint: str that changes when the images do.
        num_shards: files per split.
        min_image_side: smallest height and width in pixels of an image.
        max_duplicates: validation images that may be in the training split too.
        views, view_scale: what is kept of each image for the language model, as in an EncodeConfig.
        tokenizer, language_model: dicts of a TokenizerTrainConfig and a LanguageModelTrainConfig.
        evaluation, sampling, gates: dicts of an EvaluationConfig, a SamplingConfig and a GateConfig.
        export_sampling_batch_size: samples that the served sampler draws at once.
        code_version: str; another version takes nothing from the cache.
        beam_pipeline_args: list of str, for Beam's runner.

    Returns:
        tfx.orchestration.pipeline.Pipeline.
    """
    example_gen = ImageExampleGen(
        data=_canonical(data),
        height=tokenizer["model"]["height"],
        width=tokenizer["model"]["width"],
        num_shards=num_shards,
        span=span,
        version=version,
        input_fingerprint=input_fingerprint,
        code_version=code_version,
    )
    examples = example_gen.outputs["examples"]
    statistics_gen = StatisticsGen(examples=examples, stats_options=_statistics_options())
    schema_gen = ImageSchema(examples=examples, min_image_side=min_image_side, code_version=code_version)
    schema_gen = schema_gen.with_id("SchemaGen")
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    anomaly_check = AnomalyCheck(
        examples=examples,
        anomalies=example_validator.outputs["anomalies"],
        max_duplicates=max_duplicates,
        code_version=code_version,
    )

    training = {"training_folder": training_folder, "code_version": code_version}
    tokenizer_trainer = _trainer("TokenizerTrainer", "train_tokenizer", tokenizer, training, examples=examples)
    tokenizer_trainer.add_upstream_node(anomaly_check)
    token_materializer = TokenMaterializer(
        examples=examples,
        tokenizer=tokenizer_trainer.outputs["model"],
        batch_size=evaluation["batch_size"],
        views=views,
        view_scale=view_scale,
        max_unreadable_fraction=data["max_unreadable_fraction"],
        code_version=code_version,
    )
    language_model_trainer = _trainer(
        "LanguageModelTrainer",
        "train_language_model",
        language_model,
        training | {"sampling_batch_size": export_sampling_batch_size},
        examples=token_materializer.outputs["tokens"],
        base_model=tokenizer_trainer.outputs["model"],
    )
    evaluator = GenerativeEvaluator(
        examples=examples,
        tokenizer=tokenizer_trainer.outputs["model_run"],
        language_model=language_model_trainer.outputs["model_run"],
        model=language_model_trainer.outputs["model"],
        evaluation_config=_canonical(evaluation),
        sampling_config=_canonical(sampling),
        gates=_canonical(gates),
        code_version=code_version,
    )
    pusher = Pusher(
        model=language_model_trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=serving_folder)
        ),
    )
    return Pipeline(
        pipeline_name=name,
        pipeline_root=pipeline_root,
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            example_validator,
            anomaly_check,
            tokenizer_trainer,
            token_materializer,
            language_model_trainer,
            evaluator,
            pusher,
        ],
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=beam_pipeline_args,
    )


def _trainer(name, run_fn, config, settings, **inputs):
    return Trainer(
        run_fn=f"pipelines.run_fns.{run_fn}",
        train_args=trainer_pb2.TrainArgs(splits=["train"], num_steps=config["training"]["total_steps"]),
        eval_args=trainer_pb2.EvalArgs(splits=["validation"]),
        custom_config={"config": config, **settings},
        **inputs,
    ).with_id(name)


def _canonical(value):
    """JSON with sorted keys: parameters are part of the cache's key."""
    return json.dumps(value, sort_keys=True)


def _statistics_options():
    # Keys and hashes differ for every example, and a small split's would be taken for a vocabulary.
    import tensorflow_data_validation as tfdv

    return tfdv.StatsOptions(feature_allowlist=list(FEATURES))
