"""Builds the TFX pipeline from images to a pushed model."""

import functools
import json

from google.protobuf import json_format
from tfx.components import ExampleValidator, StatisticsGen, Trainer
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2
from tfx.types import Channel, standard_artifacts

from pipelines.components import resolvers
from pipelines.components.anomaly_check import AnomalyCheck
from pipelines.components.generative_evaluator import GenerativeEvaluator
from pipelines.components.hub_pusher import HubPusher
from pipelines.components.image_example_gen import ImageExampleGen
from pipelines.components.image_schema import FEATURES, ImageSchema
from pipelines.components.pusher import Pusher
from pipelines.components.serving_check import ServingCheck
from pipelines.components.token_materializer import TokenMaterializer


def create_pipeline(what, folders, platform):
    """The pipeline; everything it depends on is an argument.

    Args:
        what: settings.Contents.
        folders: settings.Folders.
        platform: settings.Platform.

    Returns:
        tfx.orchestration.pipeline.Pipeline.
    """
    ingestion = _ingestion(what, platform)
    example_gen, *_, anomaly_check = ingestion
    examples = example_gen.outputs["examples"]

    training = {
        "training_folder": folders.training,
        "code_version": what.code_version,
        "files": what.file_fingerprints,
    }
    trainer = functools.partial(_trainer, settings=training, platform=platform)
    tokenizer_training = _tokenizer_training(what, platform, trainer, training, examples)
    tokenizer_trainer = tokenizer_training[-1]
    tokenizer_trainer.add_upstream_node(anomaly_check)
    language_model_training = _language_model_training(what, trainer, examples, tokenizer_trainer)
    language_model_trainer = language_model_training[-1]
    model = language_model_trainer.outputs["model"]

    baseline_resolver, evaluator = _evaluation(what, platform, examples, tokenizer_trainer, language_model_trainer)
    probe = _probe_components(what.linear_probe, trainer, examples, model) if what.linear_probe else []
    serving_check, *pushers = _release(model, examples, evaluator, what, folders)
    return Pipeline(
        pipeline_name=what.name,
        pipeline_root=folders.artifacts,
        components=[
            *ingestion,
            *tokenizer_training,
            *language_model_training,
            *probe,
            serving_check,
            baseline_resolver,
            evaluator,
            *pushers,
        ],
        enable_cache=True,
        metadata_connection_config=platform.metadata_connection_config,
        beam_pipeline_args=platform.beam_pipeline_args,
    )


def _ingestion(what, platform):
    """From images to validated examples: ImageExampleGen first, AnomalyCheck last."""
    example_gen = ImageExampleGen(
        data=_canonical(what.data),
        span=what.span,
        version=what.version,
        input_fingerprint=what.input_fingerprint,
        height=what.tokenizer["model"]["height"],
        width=what.tokenizer["model"]["width"],
        num_shards=platform.parameter("num_shards", what.num_shards),
        code_version=what.code_version,
    )
    examples = example_gen.outputs["examples"]
    statistics_gen = StatisticsGen(examples=examples, stats_options=_statistics_options())
    schema_gen = ImageSchema(
        examples=examples,
        min_image_side=what.min_image_side,
        needs_labels=int(what.language_model["model"]["class_conditional"]),
        code_version=what.code_version,
    ).with_id("SchemaGen")
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    anomaly_check = AnomalyCheck(
        examples=examples,
        anomalies=example_validator.outputs["anomalies"],
        max_duplicates=what.max_duplicates,
        code_version=what.code_version,
    )
    return [example_gen, statistics_gen, schema_gen, example_validator, anomaly_check]


def _tokenizer_training(what, platform, trainer, settings, examples):
    """TokenizerTrainer, after the resolver of the model that it starts from, if there is one."""
    resolver = None
    if what.warm_start:
        resolver = _warm_start_resolver(platform, examples, _canonical(_custom_config(what.tokenizer, settings)))
    tokenizer_trainer = trainer(
        "TokenizerTrainer",
        "train_tokenizer",
        what.tokenizer,
        examples=examples,
        base_model=resolver and resolver.outputs["model"],
    )
    return [resolver, tokenizer_trainer] if resolver else [tokenizer_trainer]


def _language_model_training(what, trainer, examples, tokenizer_trainer):
    """TokenMaterializer, and LanguageModelTrainer on its tokens."""
    token_materializer = TokenMaterializer(
        examples=examples,
        tokenizer=tokenizer_trainer.outputs["model"],
        batch_size=what.evaluation["batch_size"],
        views=what.views,
        view_scale=what.view_scale,
        max_unreadable_fraction=what.data["max_unreadable_fraction"],
        max_pixels=what.data["max_pixels"],
        code_version=what.code_version,
    )
    language_model_trainer = trainer(
        "LanguageModelTrainer",
        "train_language_model",
        what.language_model,
        more_settings={
            "sampling_batch_size": what.export_sampling_batch_size,
            "max_pixels": what.data["max_pixels"],
        },
        examples=token_materializer.outputs["tokens"],
        base_model=tokenizer_trainer.outputs["model"],
    )
    return [token_materializer, language_model_trainer]


def _evaluation(what, platform, examples, tokenizer_trainer, language_model_trainer):
    """The resolver of the model that the new one is compared with, and GenerativeEvaluator."""
    model = language_model_trainer.outputs["model"]
    baseline_resolver = _baseline_resolver(platform, model)
    evaluator = GenerativeEvaluator(
        examples=examples,
        tokenizer=tokenizer_trainer.outputs["model_run"],
        language_model=language_model_trainer.outputs["model_run"],
        model=model,
        evaluation_config=platform.parameter("evaluation", _canonical(what.evaluation)),
        linear_probe_flags=what.linear_probe_flags,
        max_pixels=what.data["max_pixels"],
        sampling_config=platform.parameter("sampling", _canonical(what.sampling)),
        gates=platform.parameter("gates", _canonical(what.gates)),
        file_fingerprint=what.file_fingerprints["evaluation"],
        code_version=what.code_version,
        baseline_model=baseline_resolver.outputs["model"],
    )
    return [baseline_resolver, evaluator]


def _release(model, examples, evaluator, what, folders):
    """From a measured model to its users: ServingCheck, Pusher, HubPusher."""
    serving_check = ServingCheck(model=model, code_version=what.code_version)
    pusher = Pusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=serving_check.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=folders.serving)
        ),
    )
    hub_pusher = HubPusher(
        model=model,
        pushed_model=pusher.outputs["pushed_model"],
        serving_blessing=serving_check.outputs["blessing"],
        examples=examples,
        evaluation=evaluator.outputs["evaluation"],
        hub_folder=folders.hub,
        name=what.name,
        licence=what.licence,
        input_fingerprint=what.input_fingerprint,
        code_version=what.code_version,
    )
    return [serving_check, pusher, hub_pusher]


def _trainer(name, run_fn, config, settings, platform, more_settings=None, **inputs):
    train_args = trainer_pb2.TrainArgs(splits=["train"], num_steps=config["training"]["total_steps"])
    text = json_format.MessageToJson(train_args, preserving_proto_field_name=True, indent=None)
    adjustable = platform.parameter(f"{config['task']}_train_args", text)
    trainer = Trainer(
        run_fn=f"pipelines.run_fns.{run_fn}",
        train_args=train_args if adjustable is text else adjustable,
        eval_args=trainer_pb2.EvalArgs(splits=["validation"]),
        custom_config=_custom_config(config, settings) | (more_settings or {}),
        **inputs,
    ).with_id(name)
    return trainer.with_platform_config(platform.training_machine) if platform.training_machine else trainer


def _custom_config(config, settings):
    """A trainer's settings, by which the cache identifies its training."""
    return {"config": config, **settings, "files": settings["files"][config["task"]]}


def _probe_components(config, trainer, examples, model):
    """Trainer of a linear probe, and TensorFlow Model Analysis of its classifier, each class a slice."""
    # Slow to import.
    import tensorflow_model_analysis as tfma
    from tfx.components import Evaluator

    from vim_tf.serving.classifier import PREDICTION_KEY, SIGNATURE

    probe_trainer = trainer("LinearProbeTrainer", "train_linear_probe", config, examples=examples, base_model=model)
    metrics = [tfma.MetricConfig(class_name=name) for name in ("ExampleCount", "SparseCategoricalAccuracy")]
    evaluator = Evaluator(
        examples=examples,
        model=probe_trainer.outputs["model"],
        example_splits=["validation"],
        eval_config=tfma.EvalConfig(
            model_specs=[tfma.ModelSpec(signature_name=SIGNATURE, label_key="label", prediction_key=PREDICTION_KEY)],
            slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["label"])],
            metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
        ),
    )
    return probe_trainer, evaluator.with_id("ClassEvaluator")


def _warm_start_resolver(platform, examples, trainer_settings):
    return _resolver(
        "WarmStartResolver",
        platform,
        resolvers.LastBlessedModelOfOtherTraining,
        config={"trainer": "TokenizerTrainer", "custom_config": trainer_settings},
        examples=examples,
    )


def _baseline_resolver(platform, candidate):
    return _resolver("BaselineResolver", platform, resolvers.LastOtherBlessedModel, candidate=candidate)


def _resolver(name, platform, strategy, **arguments):
    """Looks up a blessed model by our strategy, or by TFX's where the platform knows no other."""
    if not platform.own_resolvers:
        strategy, arguments = LatestBlessedModelStrategy, {}
    return Resolver(strategy_class=strategy, **arguments, **_blessed_channels()).with_id(name)


def _blessed_channels():
    """All models and verdicts of the pipeline, from all runs."""
    return {
        "model": Channel(type=standard_artifacts.Model),
        "blessing": Channel(type=standard_artifacts.ModelBlessing),
    }


def _canonical(value):
    """JSON with sorted keys: parameters are part of the cache's key."""
    return json.dumps(value, sort_keys=True)


def _statistics_options():
    # Keys and hashes differ for every example, and those of a small split would be taken for a vocabulary.
    import tensorflow_data_validation as tfdv

    return tfdv.StatsOptions(feature_allowlist=list(FEATURES))
