"""`python -m pipelines.local_runner`: the whole chain in one process on this machine.

Everything lies under --output: `artifacts/` and `metadata/` (the pipeline's own), `training/` (trainings, which the
next run continues if one is killed), and of the last pushed run `serving/<version>/`, `report.html`, `metrics.json`,
`tokenizer/`, `language_model/` and `tokens/`.
"""

import dataclasses
import os
import sys

from pipelines import console
from vim_tf import config as configs
from vim_tf import flags
from vim_tf.errors import InputError

DESCRIPTION = (
    "Images to a served model as one TFX pipeline: ingestion, validation, tokenizer training, tokens, language model "
    "training, evaluation with gates, push."
)
# DirectRunner would first try to download another runner. Naming a container, which this runner doesn't use, keeps
# TFX from packing itself into an archive at every component that uses Beam.
BEAM_PIPELINE_ARGS = [
    "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner",
    "--direct_running_mode=in_memory",
    "--sdk_container_image=none",
]


def run(config):
    """Runs the pipeline and publishes what it pushed.

    Args:
        config: PipelineConfig.

    Returns:
        dict from metric name to float.

    Raises:
        InputError: flags, flagfiles or images that can't be used.
        SystemExit: status 1, the model missed a gate and was not pushed.
    """
    output = _local_folder(config.output)
    tokenizer, language_model = _stage_configs(config)
    console.say("Loading TFX ...")
    console.quiet_tfx()
    # Beam reads the process's flags, and would take ours for its own.
    sys.argv = sys.argv[:1]
    from tfx.orchestration.metadata import sqlite_metadata_connection_config

    from pipelines import execution, fingerprints, pipeline, publish, spans

    data, span, version = spans.resolve(config.data, config.span, config.version)
    tokenizer = dataclasses.replace(tokenizer, data=data)
    publish.check_free(output)
    serving_folder = os.path.join(output, "serving")
    publish.remove_unfinished_pushes(serving_folder)
    runs = execution.ReportingRunner(console.say).run(
        pipeline.create_pipeline(
            name=config.name,
            pipeline_root=os.path.join(output, "artifacts"),
            metadata_connection_config=sqlite_metadata_connection_config(
                os.path.join(output, "metadata", "metadata.sqlite")
            ),
            serving_folder=serving_folder,
            training_folder=os.path.join(output, "training"),
            data=configs.to_dict(data),
            span=span,
            version=version,
            input_fingerprint=fingerprints.source_fingerprint(data.source, configs.SPLITS),
            num_shards=config.num_shards,
            min_image_side=config.min_image_side,
            max_duplicates=config.max_duplicates,
            views=config.views,
            view_scale=config.view_scale,
            tokenizer=configs.to_dict(tokenizer),
            language_model=configs.to_dict(language_model),
            evaluation=configs.to_dict(config.evaluation),
            sampling=configs.to_dict(config.sampling),
            gates=configs.to_dict(config.gates),
            export_sampling_batch_size=config.export_sampling_batch_size,
            code_version=fingerprints.code_version(),
            beam_pipeline_args=BEAM_PIPELINE_ARGS,
        )
    )
    return _finish(output, runs)


def _finish(output, runs):
    """Publishes a pushed model, or says why there is none."""
    from pipelines import publish
    from vim_tf.evaluation import results

    evaluation_folder = runs["GenerativeEvaluator"].outputs["evaluation"].uri
    metrics, _ = results.read_metrics(os.path.join(evaluation_folder, "metrics.json"))
    pushed = runs["Pusher"].outputs["pushed_model"]
    console.say("\n".join(["", "Metrics:", *console.metric_table(metrics), ""]))
    if not pushed.get_int_custom_property("pushed"):
        blessing = runs["GenerativeEvaluator"].outputs["blessing"]
        console.say(f"Report:       {os.path.join(evaluation_folder, 'report.html')}")
        console.say(f"Not pushed: {blessing.get_string_custom_property('reason')}.")
        console.say("Train longer or lower the limit (--gates.*); what an earlier run pushed stays as it is.")
        sys.exit(1)
    destination = pushed.get_string_custom_property("pushed_destination")
    publish.restore_pushed_model(pushed.uri, destination)
    folders = {
        "tokenizer": runs["TokenizerTrainer"].outputs["model_run"].uri,
        "language_model": runs["LanguageModelTrainer"].outputs["model_run"].uri,
        "tokens": runs["TokenMaterializer"].outputs["tokens"].uri,
    }
    publish.publish(output, folders, evaluation_folder)
    console.say(f"Report:       {os.path.join(output, 'report.html')}")
    console.say(f"Metrics:      {os.path.join(output, 'metrics.json')}")
    console.say(f"Pushed model: {destination}")
    return metrics


def _local_folder(path):
    if "://" in path:
        raise InputError(f"--output={path}: the local runner keeps its metadata in SQLite; choose a local folder")
    return os.path.abspath(path)


def _stage_configs(config):
    """The configs of both trainings; which images, and where each reads and writes, is the pipeline's to say."""
    tokenizer = flags.parse(
        configs.TokenizerTrainConfig, [f"--flagfile={config.tokenizer_flagfile}", "--workdir=pipeline"]
    )
    language_model = flags.parse(
        configs.LanguageModelTrainConfig,
        [f"--flagfile={config.language_model_flagfile}", "--workdir=pipeline", "--tokens=pipeline"],
    )
    return dataclasses.replace(tokenizer, data=config.data), language_model


def main():
    flags.main(run, lambda argv: configs.PipelineConfig, DESCRIPTION)


if __name__ == "__main__":
    main()
