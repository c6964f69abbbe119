"""The chain from images to a pushed model, as a TFX pipeline."""

import functools
import json

from google.protobuf import json_format
from tfx.components import ExampleValidator, StatisticsGen, Trainer
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2
from tfx.types import Channel, standard_artifacts

from pipelines import resolvers
from pipelines.components.anomaly_check import AnomalyCheck
from pipelines.components.generative_evaluator import GenerativeEvaluator
from pipelines.components.hub_pusher import HubPusher
from pipelines.components.image_example_gen import ImageExampleGen
from pipelines.components.image_schema import FEATURES, ImageSchema
from pipelines.components.pusher import Pusher
from pipelines.components.serving_check import ServingCheck
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
    file_fingerprints,
    num_shards,
    min_image_side,
    max_duplicates,
    views,
    view_scale,
    tokenizer,
    language_model,
    evaluation,
    linear_probe_flags,
    linear_probe,
    sampling,
    gates,
    export_sampling_batch_size,
    code_version,
    beam_pipeline_args,
    hub_folder,
    licence="",
    warm_start=False,
    own_resolvers=True,
    parameter=lambda name, value: value,
    training_platform=None,
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
        file_fingerprints: dict from tokenizer, language_model, linear_probe and evaluation to a str that changes when
            files do that their settings name.
        num_shards: files per split.
        min_image_side: smallest height and width in pixels of an image.
        max_duplicates: validation images that may be in the training split too.
        views, view_scale: what is kept of each image for the language model, as in an EncodeConfig.
        tokenizer, language_model: dicts of a TokenizerTrainConfig and a LanguageModelTrainConfig.
        linear_probe_flags: str, flags of a linear probe for the evaluation, a line each; empty = none.
        linear_probe: dict of a LinearProbeTrainConfig whose accuracy is measured for each class; None = no probe.
        evaluation, sampling, gates: dicts of an EvaluationConfig, a SamplingConfig and a GateConfig.
        export_sampling_batch_size: samples that the served sampler draws at once.
        code_version: str; another version takes nothing from the cache.
        beam_pipeline_args: list of str, for Beam's runner.
        hub_folder: folder that gets the pushed model as a TF Hub module.
        licence: str, of the model, for its card.
        warm_start: whether the tokenizer's training starts from the last blessed tokenizer.
        own_resolvers: whether the last blessed model is looked up by the strategies of `pipelines.resolvers`, which
            keep the cache; False where the platform knows TFX's alone.
        parameter: function of a name and an int or str that may make a runtime parameter of it, with it as default.
        training_platform: the platform's description of the machines of both trainings; None = its own choice.

    Returns:
        tfx.orchestration.pipeline.Pipeline.
    """
    size = {name: tokenizer["model"][name] for name in ("height", "width")}
    source = {"data": data, "span": span, "version": version, "input_fingerprint": input_fingerprint, **size}
    ingestion = _ingestion(source, parameter("num_shards", num_shards), min_image_side, max_duplicates, code_version)
    example_gen, *_, anomaly_check = ingestion
    examples = example_gen.outputs["examples"]

    training = {"training_folder": training_folder, "code_version": code_version, "files": file_fingerprints}
    trainer = functools.partial(_trainer, settings=training, parameter=parameter, platform=training_platform)
    warm_start_resolver = None
    if warm_start:
        warm_start_resolver = _warm_start_resolver(
            own_resolvers, examples, _canonical(_custom_config(tokenizer, training))
        )
    tokenizer_trainer = trainer(
        "TokenizerTrainer",
        "train_tokenizer",
        tokenizer,
        examples=examples,
        base_model=warm_start_resolver and warm_start_resolver.outputs["model"],
    )
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
    language_model_trainer = trainer(
        "LanguageModelTrainer",
        "train_language_model",
        language_model,
        more_settings={"sampling_batch_size": export_sampling_batch_size},
        examples=token_materializer.outputs["tokens"],
        base_model=tokenizer_trainer.outputs["model"],
    )
    model = language_model_trainer.outputs["model"]

    baseline_resolver = _baseline_resolver(own_resolvers, model)
    evaluator = GenerativeEvaluator(
        examples=examples,
        tokenizer=tokenizer_trainer.outputs["model_run"],
        language_model=language_model_trainer.outputs["model_run"],
        model=model,
        evaluation_config=parameter("evaluation", _canonical(evaluation)),
        linear_probe_flags=linear_probe_flags,
        sampling_config=parameter("sampling", _canonical(sampling)),
        gates=parameter("gates", _canonical(gates)),
        file_fingerprint=file_fingerprints["evaluation"],
        code_version=code_version,
        baseline_model=baseline_resolver.outputs["model"],
    )
    card = {"name": name, "licence": licence, "input_fingerprint": input_fingerprint, "code_version": code_version}
    serving_check, *pushers = _release(model, examples, evaluator, serving_folder, hub_folder, card)
    return Pipeline(
        pipeline_name=name,
        pipeline_root=pipeline_root,
        components=[
            *ingestion,
            *([warm_start_resolver] if warm_start_resolver else []),
            tokenizer_trainer,
            token_materializer,
            language_model_trainer,
            *(_probe_components(linear_probe, trainer, examples, model) if linear_probe else []),
            serving_check,
            baseline_resolver,
            evaluator,
            *pushers,
        ],
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=beam_pipeline_args,
    )


def _ingestion(source, num_shards, min_image_side, max_duplicates, code_version):
    """From images to examples that nothing is known against: ImageExampleGen first, AnomalyCheck last."""
    example_gen = ImageExampleGen(
        **source | {"data": _canonical(source["data"])}, num_shards=num_shards, code_version=code_version
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
    return [example_gen, statistics_gen, schema_gen, example_validator, anomaly_check]


def _release(model, examples, evaluator, serving_folder, hub_folder, card):
    """What stands between a measured model and its users: ServingCheck, Pusher, HubPusher."""
    serving_check = ServingCheck(model=model, code_version=card["code_version"])
    pusher = Pusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=serving_check.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=serving_folder)
        ),
    )
    hub_pusher = HubPusher(
        model=model,
        pushed_model=pusher.outputs["pushed_model"],
        serving_blessing=serving_check.outputs["blessing"],
        examples=examples,
        evaluation=evaluator.outputs["evaluation"],
        hub_folder=hub_folder,
        **card,
    )
    return [serving_check, pusher, hub_pusher]


def _trainer(name, run_fn, config, settings, parameter, platform, more_settings=None, **inputs):
    train_args = trainer_pb2.TrainArgs(splits=["train"], num_steps=config["training"]["total_steps"])
    text = json_format.MessageToJson(train_args, preserving_proto_field_name=True, indent=None)
    adjustable = parameter(f"{config['task']}_train_args", text)
    trainer = Trainer(
        run_fn=f"pipelines.run_fns.{run_fn}",
        train_args=train_args if adjustable is text else adjustable,
        eval_args=trainer_pb2.EvalArgs(splits=["validation"]),
        custom_config=_custom_config(config, settings) | (more_settings or {}),
        **inputs,
    ).with_id(name)
    return trainer.with_platform_config(platform) if platform else trainer


def _custom_config(config, settings):
    """What a trainer is told, and what the cache knows its training by."""
    return {"config": config, **settings, "files": settings["files"][config["task"]]}


def _probe_components(config, trainer, examples, model):
    """Trainer of a linear probe, and TensorFlow Model Analysis of its classifier, each class a slice."""
    # It takes long to import.
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


def _warm_start_resolver(own_resolvers, examples, trainer_settings):
    if not own_resolvers:
        return Resolver(strategy_class=LatestBlessedModelStrategy, **_blessed_channels()).with_id("WarmStartResolver")
    return Resolver(
        strategy_class=resolvers.LastBlessedModelOfOtherTraining,
        config={"trainer": "TokenizerTrainer", "custom_config": trainer_settings},
        examples=examples,
        **_blessed_channels(),
    ).with_id("WarmStartResolver")


def _baseline_resolver(own_resolvers, candidate):
    if not own_resolvers:
        return Resolver(strategy_class=LatestBlessedModelStrategy, **_blessed_channels()).with_id("BaselineResolver")
    return Resolver(strategy_class=resolvers.LastOtherBlessedModel, candidate=candidate, **_blessed_channels()).with_id(
        "BaselineResolver"
    )


def _blessed_channels():
    """Every model of the pipeline and every verdict, of all runs."""
    return {
        "model": Channel(type=standard_artifacts.Model),
        "blessing": Channel(type=standard_artifacts.ModelBlessing),
    }


def _canonical(value):
    """JSON with sorted keys: parameters are part of the cache's key."""
    return json.dumps(value, sort_keys=True)


def _statistics_options():
    # Keys and hashes differ for every example, and a small split's would be taken for a vocabulary.
    import tensorflow_data_validation as tfdv

    return tfdv.StatsOptions(feature_allowlist=list(FEATURES))
