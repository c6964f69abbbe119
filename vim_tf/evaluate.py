"""Measures trained stages: `python -m vim_tf.evaluate --tokenizer=D --language_model=D2 --data.source=S --output=O`."""

import dataclasses
import functools

from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.errors import InputError


def run(config, judge=None, attributions=None):
    """Writes `<output>/metrics.json` and `<output>/report.html`.

    Args:
        config: EvaluateCommand without `compare`.
        judge: function of metrics and conditions that returns the reasons, list of str, why the model is refused, which
            the report shows. None = the model isn't judged.
        attributions: list of str, credits that the images' licences ask for; None = those of their source.

    Returns:
        dict from metric name to float.

    Raises:
        InputError: unusable stages, images, feature network or reference.
    """
    from vim_tf.data import sources
    from vim_tf.devices import strategies
    from vim_tf.evaluation.results import EvaluationResult
    from vim_tf.stages import probing, saved
    from vim_tf.storage.files import check_place, check_writable

    # Before anything that takes time, since a flagfile may be wrong.
    probe_config = probing.train_config(config) if "linear_probe" in config.evaluation.kind else None
    check_place(config.output, names=("metrics.json", "report.html"))
    if config.reference_folder:
        check_place(config.reference_folder, "reference_folder")
    strategy = strategies.build_strategy(config.strategy)
    with strategy.scope():
        tokenizer = saved.load_tokenizer(config.tokenizer)
    language_model = None
    if config.language_model and set(config.evaluation.kind) & {"generation", "linear_probe"}:
        language_model = saved.load_language_model(config.language_model, tokenizer)
    splits = {
        split: sources.build_source(config.data, split, tokenizer.height, tokenizer.width) for split in configs.SPLITS
    }
    check_writable(config.output)
    if probe_config:
        probing.check(probe_config, tokenizer, language_model, splits["train"])
    result = EvaluationResult()
    for measure in _measurements(config, tokenizer, language_model, splits, strategy):
        result = result.merged(measure())
    if probe_config:
        result = result.merged(probing.measure(probe_config))
    _write(config, result, tokenizer, splits, judge, attributions)
    return result.metrics


def _write(config, result, tokenizer, splits, judge, attributions):
    """Writes metrics.json, has it judged, and writes the report."""
    from absl import logging

    from vim_tf.evaluation import results
    from vim_tf.evaluation.report import write_report
    from vim_tf.evaluation.report.paper import paper_rows

    stages = {"tokenizer": config.tokenizer}
    if "generation" in config.evaluation.kind:
        stages["language_model"] = config.language_model
    source = splits[config.split]
    for name in results.undefined(result.metrics):
        logging.warning("%s is undefined for these images (%s), and null in metrics.json", name, result.metrics[name])
    results.write_metrics(f"{config.output}/metrics.json", result.metrics, result.conditions)
    refused = judge(*results.read_metrics(f"{config.output}/metrics.json")) if judge else None
    write_report(
        f"{config.output}/report.html",
        title=f"vim_tf on {source.name}",
        result=result,
        curves=_training_curves(stages),
        lineage=_lineage(config, stages, tokenizer, splits["train"]),
        subtitle=f"{', '.join(config.evaluation.kind)} on the {config.split} split".capitalize(),
        paper_rows=paper_rows(source.name),
        refused=refused,
        attributions=source.attributions if attributions is None else attributions,
    )


def _measurements(config, tokenizer, language_model, splits, strategy):
    """Functions without arguments that each return an EvaluationResult; all they need is already open and checked."""
    from vim_tf.evaluation.generation import RealEvaluator
    from vim_tf.evaluation.reference_file import ReferenceFile

    kinds, source = config.evaluation.kind, splits[config.split]
    if kinds == ("linear_probe",):
        return []
    reference_file = ReferenceFile(config.reference, source.size) if config.reference else None
    perceptual = _load_lpips(config) if "reconstruction" in kinds else None
    sampler = _open_sampler(config, tokenizer, language_model, splits["train"]) if "generation" in kinds else None
    # This can take time: a small classifier may have to be trained.
    references = _reference_sets(config, splits["train"], strategy)
    found = []
    if "real" in kinds:
        (other,) = (splits[split] for split in splits if split != config.split)
        found.append(RealEvaluator(source, other, references).run)
    if "reconstruction" in kinds:
        evaluator = _reconstruction_evaluator(config, tokenizer, source, references, perceptual, strategy)
        found.append(functools.partial(evaluator.run, tokenizer))
    if "generation" in kinds:
        reference = _measured_file(reference_file, references)
        evaluator = _generation_evaluator(config, language_model, splits, references, reference, strategy)
        found.append(functools.partial(evaluator.run, tokenizer, sampler))
    return found


def _load_lpips(config):
    """LPIPS as a function, or None where there are no weights."""
    from vim_tf.losses.perceptual import load_perceptual

    path = config.evaluation.lpips_weights_file
    return load_perceptual("lpips", path) if path else None


def _open_sampler(config, tokenizer, language_model, train):
    """The sampler, checked to be able to draw what the evaluation needs."""
    from vim_tf.evaluation.generation import asked_samples, check_same_labels
    from vim_tf.sampling.samplers import build_sampler, sampler_settings

    settings = config.evaluation
    if settings.feature_network == "classifier" and not settings.feature_network_path and train.num_classes:
        check_same_labels(language_model.num_classes, train.name, train.num_classes)
    sampler = build_sampler(language_model, config.sampling, tokenizer)
    asked = asked_samples(range(language_model.num_classes), settings.samples_per_label, settings.seed)
    sampler.check(*asked, **sampler_settings(config.sampling))
    return sampler


def _measured_file(reference_file, references):
    """`GenerationEvaluator.reference` of the given file, or None."""
    if reference_file is None:
        return None
    if references is None:
        raise InputError(
            f"--reference={reference_file.path} needs a feature network, but none can be trained on these images: "
            "choose another --evaluation.feature_network"
        )
    return reference_file.measured(references)


def _reference_sets(config, train, strategy):
    """ReferenceSets with the feature network, or None if there is no network for these images."""
    from absl import logging

    from vim_tf.evaluation.feature_networks import build_feature_network
    from vim_tf.evaluation.image_sets import ReferenceSets

    settings = config.evaluation
    network = build_feature_network(settings, train, f"{config.output}/feature_network", strategy)
    if network is None:
        return None
    megabytes = 2 * settings.kept_features * network.num_features * 4 / 1e6
    logging.info("the features kept of each set of images take up to %.0f MB", megabytes)
    return ReferenceSets(
        network,
        settings.batch_size,
        settings.kept_features,
        settings.seed,
        config.reference_folder or f"{config.output}/reference",
    )


def _reconstruction_evaluator(config, tokenizer, source, references, perceptual, strategy):
    from vim_tf.evaluation.reconstruction import ReconstructionEvaluator
    from vim_tf.stages import saved

    laplace = None
    if getattr(tokenizer, "pixels", "rgb") == "logit_laplace":
        losses = saved.load_config(config.tokenizer, "tokenizer").losses
        laplace = {
            "min_log_scale": losses.logit_laplace_min_log_scale,
            "margin": losses.logit_laplace_margin,
            "epsilon": tokenizer.pixel_epsilon,
        }
    return ReconstructionEvaluator(source, config.evaluation.batch_size, references, perceptual, laplace, strategy)


def _generation_evaluator(config, language_model, splits, references, reference, strategy):
    from vim_tf.evaluation.generation import GenerationEvaluator
    from vim_tf.sampling.samplers import sampler_settings

    settings = config.evaluation
    train, searched = splits["train"], None
    if settings.nearest_images:
        num_searched = min(settings.nearest_images, train.num_examples)
        # In shuffled order, the first images cover all classes.
        searched = train.shuffled(settings.seed).take(num_searched).batch(settings.batch_size)
    return GenerationEvaluator(
        splits[config.split],
        settings.batch_size,
        references,
        language_model.num_classes,
        settings.samples_per_label,
        settings.seed,
        sampler_settings(config.sampling),
        reference=reference,
        searched=searched,
        strategy=strategy,
        trained_labels=train.labels if train.num_classes == language_model.num_classes else None,
    )


def _training_curves(stages):
    """Lines of the stages' `metrics.jsonl`, where they have one: an exported model has none."""
    from vim_tf.training.recorder import read_records

    curves = {name: read_records(f"{path}/metrics.jsonl") for name, path in stages.items()}
    return {name: lines for name, lines in curves.items() if lines}


def _lineage(config, stages, tokenizer, train):
    from vim_tf.data.sources import classes
    from vim_tf.stages import saved

    empty = classes.empty_classes(train.class_names, train.labels)
    return {
        "data": dataclasses.asdict(config.data),
        **({"classes without a training image": classes.describe_empty(empty)} if empty else {}),
        "tokenizer checksum": tokenizer.checksum,
        **{f"{task} config": configs.to_dict(saved.load_config(path, task)) for task, path in stages.items()},
    }


def compare(config):
    """Writes `<output>/comparison.html` and prints the table of the evaluations in `config.compare`.

    Raises:
        InputError: a folder holds no evaluation.
    """
    from vim_tf.evaluation.report import format_value, write_comparison
    from vim_tf.storage.files import check_writable

    check_writable(config.output, names=("comparison.html",))
    path = f"{config.output}/comparison.html"
    labels, compared, refused = write_comparison(path, config.compare)
    rows = [("", labels), *((name, map(format_value, values)) for name, values in compared.items())]
    width = max(10, *map(len, labels))
    for name, cells in rows:
        print(f"{name:36s} {'  '.join(f'{cell:>{width}s}' for cell in cells)}")
    for name, found in refused.items():
        print(f"{name} is not compared: {'; '.join(found)}")
    print(f"Report: {path}")


def show(config):
    """Runs, and prints the metrics and the report's path."""
    if config.compare:
        return compare(config)
    from vim_tf.evaluation import results

    metrics = run(config)
    undefined = results.undefined(metrics)
    for name, value in sorted(metrics.items()):
        print(f"{name:36s} {'undefined' if name in undefined else f'{value:.4f}'}")
    print(f"Report: {config.output}/report.html")


def main():
    """Runs the command."""
    flags.main(
        show,
        lambda argv: configs.EvaluateCommand,
        "Measures a tokenizer and a language model and writes a report; or, with --compare, puts reports side by side.",
    )


if __name__ == "__main__":
    main()
