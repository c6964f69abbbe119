"""`python -m pipelines.status --output=D`: shows what a pipeline did, and what a pushed model was made of.

Everything is read from ML Metadata, which is opened read-only, so this can be called while a pipeline runs.
"""

import datetime
import json
import os
import sys

from pipelines import settings
from pipelines.local import console
from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.errors import InputError

DESCRIPTION = (
    "Runs, executions, artifacts and metrics of a pipeline; with --model, which images, tokenizer, code and settings "
    "made a pushed model."
)
TRAINERS = {"TokenizerTrainer": configs.TokenizerTrainConfig, "LanguageModelTrainer": configs.LanguageModelTrainConfig}


def run(config):
    """Prints the tables.

    Args:
        config: StatusCommand.

    Raises:
        InputError: no pipeline ran there, or no such model was pushed.
    """
    from pipelines.local import store

    output = os.path.abspath(config.output)
    contents = store.read(store.open_store(output))
    lines = explain(contents, config.model) if config.model else overview(contents, config.last_runs)
    try:
        console.say("\n".join(lines))
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; what is left to be flushed at exit is discarded.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def overview(contents, last_runs=0):
    """Runs with their executions, the artifacts, and the pushed models with their metrics.

    Args:
        contents: store.Contents.
        last_runs: int, runs to show; 0 = all.

    Returns:
        list of str, lines.
    """
    lines = []
    for run in contents.runs[-last_runs:]:
        executions = contents.of_run(run)
        lines += [f"Run {run}: {_verdict(contents, executions)}", ""]
        rows = [
            (each.id, each.node, each.state, f"{each.seconds:.1f}", _ids(each.inputs), _ids(each.outputs))
            for each in executions
        ]
        lines += [*table(("id", "component", "state", "seconds", "inputs", "outputs"), rows), ""]
    rows = [
        (each.id, each.type, each.state, _made_by(contents, each), each.uri) for each in contents.artifacts.values()
    ]
    lines += ["Artifacts", "", *table(("id", "type", "state", "made by", "folder"), rows), ""]
    return lines + _pushed_models(contents)


def explain(contents, version):
    """Which images, tokenizer, code and settings made a pushed model.

    Args:
        contents: store.Contents.
        version: str, name of its folder, or `last`.

    Returns:
        list of str, lines.

    Raises:
        InputError: no such model was pushed.
    """
    pushed = pushed_models(contents)
    found = list(pushed.values())[-1:] if version == "last" else [pushed[version]] if version in pushed else []
    if not found:
        known = ", ".join(pushed) or "none"
        raise InputError(f"--model={version} was not pushed by this pipeline; it pushed: {known}")
    model = found[0]
    makers = {node: contents.maker(model.id, node) for node in ("ImageExampleGen", "GenerativeEvaluator", *TRAINERS)}
    push = contents.executions[model.producer]
    lines = [f"Pushed model {model.properties['pushed_version']}", ""]
    facts = {
        "folder": model.properties["pushed_destination"],
        "pushed": f"{_time(push.started)} UTC by run {push.run}",
        "code version": _code_version(makers),
        **_images(contents, makers["ImageExampleGen"]),
        **_stages(contents, model, makers),
        **_verdicts(contents, push),
    }
    width = max(map(len, facts))
    lines += [f"  {name:<{width}}  {value}" for name, value in facts.items()]
    lines += ["", "Metrics", "", *console.metric_table(_metrics(contents, makers["GenerativeEvaluator"])), ""]
    for node, config_class in TRAINERS.items():
        values = json.loads(makers[node].properties["custom_config"])["config"]
        lines += [f"Flags of {node}", ""]
        lines += [f"  {flag}" for flag in settings.changed_flags(configs.from_dict(config_class, values))] + [""]
    makers = sorted({contents.artifacts[each].producer for each in contents.ancestors(model.id)} - {None})
    executions = [contents.executions[each] for each in makers]
    rows = [(each.id, each.node, each.run, each.state, _ids(each.inputs), _ids(each.outputs)) for each in executions]
    return lines + ["Made by", "", *table(("id", "component", "run", "state", "inputs", "outputs"), rows)]


def pushed_models(contents):
    """{version: PushedModel artifact} of what Pusher pushed, oldest first."""
    return {each.properties["pushed_version"]: each for each in contents.pushes()}


def table(head, rows):
    """Lines of a table with aligned columns."""
    rows = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return [
        "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _pushed_models(contents):
    pushed = pushed_models(contents)
    if not pushed:
        return ["No model was pushed."]
    lines = ["Pushed models", ""]
    rows = []
    for version, model in pushed.items():
        evaluator = contents.maker(model.id, "GenerativeEvaluator")
        shown = {"reconstruction/psnr", "codebook/usage", "generation/label_accuracy", "generation/frechet_distance"}
        metrics = {name: value for name, value in _metrics(contents, evaluator).items() if name in shown}
        described = ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
        rows.append((version, contents.executions[model.producer].run, described))
    lines += table(("version", "run", "metrics"), rows)
    return [*lines, "", "To see what one was made of, add --model=<version> or --model=last."]


def _verdict(contents, executions):
    running = [each.node for each in executions if each.state == "RUNNING"]
    if running:
        return f"{', '.join(running)} is running, or was killed with no run after it"
    broken = [each.node for each in executions if each.state not in ("COMPLETE", "CACHED")]
    if broken:
        return f"{', '.join(broken)} failed or was killed"
    outputs = [contents.artifacts[each] for execution in executions for each in execution.outputs]
    pushed = [each for each in outputs if each.key == "pushed_model"]
    cached = sum(each.state == "CACHED" for each in executions)
    served = f"{cached} of {len(executions)} from the cache"
    if not pushed:
        return f"a part, {served}"
    if pushed[0].properties.get("pushed") != 1:
        return f"not pushed, {served}"
    return f"pushed {pushed[0].properties['pushed_version']}, {served}"


def _code_version(makers):
    """One version, or that of each component if a partial run mixed them."""
    versions = {
        node: json.loads(maker.properties["custom_config"])["code_version"]
        if node in TRAINERS
        else maker.properties["code_version"]
        for node, maker in makers.items()
    }
    if len(set(versions.values())) == 1:
        return versions["GenerativeEvaluator"]
    return ", ".join(f"{version} ({node})" for node, version in versions.items())


def _images(contents, ingestion):
    data = json.loads(ingestion.properties["data"])
    examples = contents.artifacts[ingestion.outputs[0]]
    prefix = "num_examples_"
    counts = sorted(
        f"{value} {name.removeprefix(prefix)}" for name, value in examples.properties.items() if name.startswith(prefix)
    )
    size = f"{ingestion.properties['height']} x {ingestion.properties['width']} pixels"
    return {
        "images": f"{data['source']}, {', '.join(counts)}, {size} (artifact {examples.id})",
        "their fingerprint": ingestion.properties["input_fingerprint"],
    }


def _stages(contents, model, makers):
    found = {}
    for node, name in zip(TRAINERS, ("tokenizer", "language model"), strict=True):
        values = json.loads(makers[node].properties["custom_config"])["config"]
        stage = next(each for each in makers[node].outputs if contents.artifacts[each].key == "model_run")
        training = values["training"]
        found[name] = (
            f"artifact {stage}, {training['total_steps']} steps of {training['batch_size']}: "
            f"{contents.artifacts[stage].uri}"
        )
    for start in makers["TokenizerTrainer"].earlier_models:
        found["tokenizer's start"] = f"the tokenizer of model {start}: {contents.artifacts[start].uri}"
    checks = [contents.artifacts[each] for each in contents.ancestors(model.id)]
    checksums = [each.properties["tokenizer_checksum"] for each in checks if "tokenizer_checksum" in each.properties]
    return found | {"tokenizer checksum": checksums[0]}


def _verdicts(contents, push):
    artifacts = [contents.artifacts[each] for each in push.inputs]
    kinds = {"InfraBlessing": "served", "ModelBlessing": "measured"}
    found = {kinds[each.type]: each.properties["reason"] for each in artifacts if each.type in kinds}
    baseline = [each.properties["baseline_model"] for each in artifacts if "baseline_model" in each.properties]
    return found | {"compared with": baseline[0] if baseline else "no earlier blessed model"}


def _metrics(contents, evaluator):
    evaluation = next(
        contents.artifacts[each] for each in evaluator.outputs if contents.artifacts[each].type == "ModelEvaluation"
    )
    return {name: value for name, value in evaluation.properties.items() if "/" in name}


def _made_by(contents, artifact):
    if artifact.producer is None:
        return ""
    return f"{contents.executions[artifact.producer].node}.{artifact.key}"


def _ids(numbers):
    return ",".join(map(str, sorted(set(numbers))))


def _time(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def main():
    """Runs the command."""
    flags.main(run, lambda argv: configs.StatusCommand, DESCRIPTION, needs_tensorflow=False)


if __name__ == "__main__":
    main()
