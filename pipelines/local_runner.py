"""`python -m pipelines.local_runner`: the whole chain in one process on this machine.

Everything is in --output: `artifacts/` and `metadata/` (the pipeline's own), `training/` (trainings, which the next run
resumes if one is killed), and, from the last pushed run, `serving/<version>/`, `hub/<version>/` with its `.tar.gz`,
`report.html`, `metrics.json`, `tokenizer/`, `language_model/` and `tokens/`. Only one run at a time can use it.
"""

import functools
import os
import sys

from pipelines import settings
from pipelines.local import console, lock
from vim_tf import config as configs
from vim_tf.cli import flags
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
# Components whose outputs a run needs to be published; the last one must have run in this run.
FINISHED_BY = ("GenerativeEvaluator", "Pusher", "HubPusher")


def run(config):
    """Runs the pipeline and publishes what it pushed.

    Args:
        config: PipelineConfig.

    Returns:
        dict from metric name to float.

    Raises:
        InputError: flags, flagfiles or images that can't be used, or another run uses the folder.
        SystemExit: status 1, if the model missed a gate or can't be served, and was not pushed.
    """
    output = _local_folder(config.output)
    settings.stage_configs(config)
    with lock.sole_run(output):
        return _run(config, output)


def _run(config, output):
    console.say("Loading TFX ...")
    console.quiet_tfx()
    # Beam reads the process's flags and would mistake ours for its own.
    sys.argv = sys.argv[:1]
    from tfx.orchestration.metadata import sqlite_metadata_connection_config
    from tfx.orchestration.pipeline import RunOptions

    from pipelines import pipeline
    from pipelines.local import execution, housekeeping, publish

    publish.check_free(output)
    folders = settings.Folders.below(output)
    publish.remove_unfinished_pushes(folders.serving)
    for name in housekeeping.close_killed_executions(output):
        console.say(f"An earlier run was killed in {name}; this one resumes there.")
    created = pipeline.create_pipeline(
        settings.contents(config),
        folders,
        settings.Platform(
            BEAM_PIPELINE_ARGS,
            sqlite_metadata_connection_config(os.path.join(output, "metadata", "metadata.sqlite")),
        ),
    )
    part = None
    if config.from_node or config.to_node:
        part = RunOptions(
            from_nodes=[config.from_node] if config.from_node else None,
            to_nodes=[config.to_node] if config.to_node else None,
        )
    is_outdated = functools.partial(_is_outdated, output)
    runs = execution.ReportingRunner(console.say, is_outdated).run(created, run_options=part)
    if config.to_node not in ("", FINISHED_BY[-1]):
        console.say(f"Stopped after {config.to_node}, as set by --to_node; nothing was published.")
        return {}
    missing = [name for name in FINISHED_BY if name not in runs]
    if missing:
        console.say(f"Nothing was published: neither this run nor the one it continues has {missing[0]}.")
        return {}
    metrics = _finish(output, runs)
    count, size = housekeeping.collect(output, config.keep_runs)
    if count:
        console.say(f"Removed {count} artifacts of older runs ({size / 1e6:.1f} MB), as set by --keep_runs.")
    return metrics


def _is_outdated(output, component, runs):
    """Whether Pusher must run even if the cache has its outputs, for ReportingRunner.

    Model servers take the highest version. If another model was pushed after this one, this one must be pushed again.
    """
    if component != "Pusher":
        return False
    from pipelines.local import store

    return store.read(store.open_store(output)).was_outrun(runs["LanguageModelTrainer"].outputs["model"].id)


def _finish(output, runs):
    """Publishes a pushed model, or says why there is none."""
    from pipelines.components import hub_pusher
    from pipelines.local import publish
    from vim_tf.evaluation import results

    evaluation_folder = runs["GenerativeEvaluator"].outputs["evaluation"].uri
    metrics, _ = results.read_metrics(os.path.join(evaluation_folder, "metrics.json"))
    pushed = runs["Pusher"].outputs["pushed_model"]
    console.say("\n".join(["", "Metrics:", *console.metric_table(metrics), ""]))
    if not pushed.get_int_custom_property("pushed"):
        verdicts = [runs[name].outputs["blessing"] for name in ("ServingCheck", "GenerativeEvaluator")]
        reasons = [
            verdict.get_string_custom_property("reason")
            for verdict in verdicts
            if not verdict.get_int_custom_property("blessed")
        ]
        console.say(f"Report:       {os.path.join(evaluation_folder, 'report.html')}")
        console.say(f"Not pushed: {'; '.join(reasons)}.")
        console.say("Train longer or lower the limit (--gates.*); what an earlier run pushed stays as it is.")
        sys.exit(1)
    destination = pushed.get_string_custom_property("pushed_destination")
    publish.restore_pushed_model(pushed.uri, destination)
    module = runs["HubPusher"].outputs["hub_module"]
    module_folder = module.get_string_custom_property("pushed_destination")
    hub_pusher.write_module(pushed.uri, hub_pusher.read_card(module.uri), module_folder)
    folders = {
        "tokenizer": runs["TokenizerTrainer"].outputs["model_run"].uri,
        "language_model": runs["LanguageModelTrainer"].outputs["model_run"].uri,
        "tokens": runs["TokenMaterializer"].outputs["tokens"].uri,
    }
    publish.publish(output, folders, evaluation_folder)
    if "ClassEvaluator" in runs:
        console.say("\n".join(["Linear probe, validation images:", *_class_table(runs), ""]))
    console.say(f"Report:       {os.path.join(output, 'report.html')}")
    console.say(f"Metrics:      {os.path.join(output, 'metrics.json')}")
    console.say(f"TF Hub:       {module_folder} and its .tar.gz")
    console.say(f"Pushed model: {destination}")
    return metrics


def _class_table(runs):
    from pipelines import fingerprints
    from pipelines.local.console import class_table

    manifest = fingerprints.read_manifest(runs["ImageExampleGen"].outputs["examples"].uri)
    return class_table(runs["ClassEvaluator"].outputs["evaluation"].uri, manifest["class_names"])


def _local_folder(path):
    if "://" in path:
        raise InputError(f"--output={path}: the local runner keeps its metadata in SQLite; choose a local folder")
    return os.path.abspath(path)


def main():
    """Runs the command."""
    flags.main(run, lambda argv: configs.PipelineConfig, DESCRIPTION)


if __name__ == "__main__":
    main()
