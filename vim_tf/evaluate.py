"""Measures trained stages: `python -m vim_tf.evaluate --tokenizer=D --language_model=D2 --data.source=S --output=O`."""

import dataclasses

from vim_tf import config as configs
from vim_tf import flags


def run(config):
    """Writes `<output>/metrics.json` and `<output>/report.html`.

    Args:
        config: EvaluateConfig.

    Returns:
        dict from metric name to float.

    Raises:
        InputError: unusable stages or images.
    """
    from vim_tf import probe, workdir
    from vim_tf.data import sources
    from vim_tf.evaluation import evaluators, results
    from vim_tf.evaluation.real_images import trained_feature_network
    from vim_tf.evaluation.report import write_report

    settings = config.evaluation
    # Before anything takes time: a flagfile may be wrong.
    probe_config = probe.train_config(config) if "linear_probe" in settings.kind else None
    tokenizer = workdir.load_tokenizer(config.tokenizer)
    splits = {
        split: sources.build_source(config.data, split, tokenizer.height, tokenizer.width) for split in configs.SPLITS
    }
    source = splits.pop(config.split)
    (other_source,) = splits.values()
    train = source if config.split == "train" else other_source
    network = trained_feature_network(train, settings.feature_steps, settings.seed, f"{config.output}/feature_network")
    result = evaluators.RealEvaluator(source, other_source, settings.batch_size, network).run()
    stages = {"tokenizer": config.tokenizer}
    if "reconstruction" in settings.kind:
        evaluator = evaluators.ReconstructionEvaluator(source, settings.batch_size, network)
        result = result.merged(evaluator.run(tokenizer))
    if "generation" in settings.kind:
        stages["language_model"] = config.language_model
        result = result.merged(_evaluate_generation(config, tokenizer, source, network))
    if "linear_probe" in settings.kind:
        result = result.merged(probe.measure(probe_config))
    results.write_metrics(f"{config.output}/metrics.json", result.metrics, result.conditions)
    write_report(
        f"{config.output}/report.html",
        title=f"vim_tf on {source.name}",
        metrics=result.metrics,
        conditions=result.conditions,
        pictures=result.pictures,
        curves=_training_curves(stages),
        lineage=_lineage(config, stages, tokenizer),
        subtitle=f"{' and '.join(settings.kind)} on the {config.split} split".capitalize(),
    )
    return result.metrics


def _evaluate_generation(config, tokenizer, source, network):
    from vim_tf import workdir
    from vim_tf.evaluation.evaluators import GenerationEvaluator
    from vim_tf.sample import build_sampler, sampler_settings

    language_model = workdir.load_language_model(config.language_model, tokenizer)
    evaluator = GenerationEvaluator(
        source,
        config.evaluation.batch_size,
        network,
        language_model.num_classes,
        config.evaluation.samples_per_label,
        config.evaluation.seed,
        sampler_settings(config.sampling),
    )
    return evaluator.run(tokenizer, build_sampler(language_model, config.sampling, tokenizer))


def _training_curves(stages):
    """Lines of the stages' `metrics.jsonl`, where they have one: an exported model has none."""
    from vim_tf.training.recorder import read_records

    curves = {name: read_records(f"{path}/metrics.jsonl") for name, path in stages.items()}
    return {name: lines for name, lines in curves.items() if lines}


def _lineage(config, stages, tokenizer):
    from vim_tf import workdir

    return {
        "data": dataclasses.asdict(config.data),
        "tokenizer checksum": tokenizer.checksum,
        **{f"{task} config": configs.to_dict(workdir.load_config(path, task)) for task, path in stages.items()},
    }


def show(config):
    """Runs, and prints the metrics and where the report is."""
    metrics = run(config)
    print("\n".join(f"{name:36s} {value:.4f}" for name, value in sorted(metrics.items())))
    print(f"Report: {config.output}/report.html")


def main():
    """The command."""
    flags.main(show, lambda argv: configs.EvaluateConfig, "Measures a tokenizer and a language model; writes a report.")


if __name__ == "__main__":
    main()
