"""`vim_tf.train --task=linear_probe` and `vim_tf.evaluate --evaluation.kind=linear_probe`."""

import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.linear_model import LogisticRegression

from tests.test_train import assert_same_checkpoint, interrupted_after, without_rates
from tests.testing import (
    assert_equal_weights,
    linear_probe_config,
    replace,
    save_untrained_language_model,
    save_untrained_tokenizer,
)
from vim_tf import config as configs
from vim_tf import evaluate, train
from vim_tf.cli import flags
from vim_tf.data import sources
from vim_tf.errors import InputError
from vim_tf.evaluation.linear_probe import wilson_interval
from vim_tf.evaluation.results import read_metrics
from vim_tf.stages import probing, saved
from vim_tf.stages.linear_probe import open_probe_inputs
from vim_tf.training.recorder import read_records

SIZES = {"pixels": 192, "latents": 16, "block_00": 16, "block_01": 16}


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Folders of an untrained tokenizer and an untrained language model of its tokens."""
    root = tmp_path_factory.mktemp("stages")
    tokenizer = save_untrained_tokenizer(root / "tokenizer")
    return tokenizer, save_untrained_language_model(root / "language_model", tokenizer)


@pytest.mark.slow
def test_run_measures_every_feature_and_names_the_best_block(tmp_path, stages):
    metrics = train.run(linear_probe_config(tmp_path / "run", *stages, total_steps=20))
    accuracies = {name: metrics[f"linear_probe/{name}_top1"] for name in SIZES}
    blocks = [accuracies["block_00"], accuracies["block_01"]]
    assert metrics["linear_probe/best_block"] == np.argmax(blocks)
    assert metrics["linear_probe/top1"] == max(blocks)
    # Chance is a tenth.
    assert accuracies["pixels"] > 0.5


@pytest.mark.slow
def test_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, stages):
    settings = {"validate_every_steps": 2, "keep_best_metric": "linear_probe/block_01_top1"}
    train.run(linear_probe_config(tmp_path / "whole", *stages, **settings))
    resumed = linear_probe_config(tmp_path / "resumed", *stages, **settings)
    interrupted_after(2, resumed)
    train.run(resumed)
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "resumed")
    whole, parts = (read_records(tmp_path / name / "metrics.jsonl") for name in ("whole", "resumed"))
    assert without_rates(parts) == without_rates(whole)
    assert os.path.exists(tmp_path / "resumed" / "best" / "best.json")


@pytest.mark.slow
def test_run_under_mirrored_strategy_is_the_run_on_one_device(tmp_path, stages):
    train.run(linear_probe_config(tmp_path / "one", *stages))
    train.run(replace(linear_probe_config(tmp_path / "two", *stages), strategy="mirrored"))
    one, two = (saved.load_linear_probe(str(tmp_path / name), SIZES) for name in ("one", "two"))
    assert_equal_weights(one, two, tolerance=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_precision_applies_only_to_the_language_model(tmp_path, stages, precision):
    train.run(linear_probe_config(tmp_path / "float32", *stages))
    train.run(linear_probe_config(tmp_path / "half", *stages, precision=precision))
    one, other = (
        {head.name: head for head in saved.load_linear_probe(str(tmp_path / name), SIZES).heads}
        for name in ("float32", "half")
    )
    for name in ("pixels", "latents"):
        np.testing.assert_array_equal(one[name].kernel, other[name].kernel)
    difference = np.abs(one["block_01"].mean - other["block_01"].mean)
    assert 0 < np.max(difference) < 0.02


@pytest.mark.slow
def test_pixels_of_the_digits_come_close_to_scikit_learns_logistic_regression(tmp_path, stages):
    config = replace(
        linear_probe_config(tmp_path / "run", stages[0], total_steps=600, batch_size=64),
        probe={"features": ("pixels",), "statistics_steps": 22},
    )
    metrics = train.run(config)
    splits = [sources.open_source("digits", split, 8, 8) for split in configs.SPLITS]
    train_split, validation = (
        [np.stack(part) for part in zip(*map(pair, split.ordered()), strict=True)] for split in splits
    )
    expected = LogisticRegression(max_iter=2000).fit(*train_split).score(*validation)
    assert metrics["linear_probe/pixels_top1"] == pytest.approx(expected, abs=0.015)


def pair(example):
    return example["image"].numpy().ravel() / 255, int(example["label"])


@pytest.mark.slow
def test_measuring_gives_what_the_training_measured_last_with_intervals(tmp_path, stages):
    config = linear_probe_config(tmp_path / "run", *stages)
    result = probing.measure(config)
    recorded = read_records(tmp_path / "run" / "metrics.jsonl")[-1]
    assert result.metrics == {name: value for name, value in recorded.items() if name != "step"}
    condition = result.conditions["linear_probe/pixels_top1"]
    count = condition["measured"]["num_images"]
    right = round(result.metrics["linear_probe/pixels_top1"] * count)
    assert condition["interval_95"] == list(wilson_interval(right, count))
    assert condition["model"]["language_model"]["start_was_trained"] is True


def test_a_conditional_model_without_label_dropout_is_reported_to_lack_a_start(tmp_path, stages):
    before = saved.load_config(stages[1])
    altered = replace(before, model={"label_dropout": 0.0}, workdir=str(tmp_path / "language_model"))
    saved.save_stage(saved.load_language_model(stages[1]), altered, altered.workdir)
    inputs = open_probe_inputs(linear_probe_config(tmp_path / "run", stages[0], altered.workdir))
    assert inputs.evaluator.conditions["model"]["language_model"]["start_was_trained"] is False


@pytest.mark.slow
def test_without_a_language_model_pixels_and_latents_are_probed(tmp_path, stages):
    metrics = train.run(linear_probe_config(tmp_path / "run", stages[0]))
    assert {name for name in metrics if name.endswith("_top1")} == {
        "linear_probe/pixels_top1",
        "linear_probe/latents_top1",
    }
    assert not {"linear_probe/top1", "linear_probe/best_block"} & metrics.keys()


@pytest.mark.slow
def test_features_are_standardized_by_the_first_batches(tmp_path, stages):
    config = linear_probe_config(tmp_path / "run", *stages)
    train.run(config)
    heads = {head.name: head for head in saved.load_linear_probe(config.workdir, SIZES).heads}
    inputs = open_probe_inputs(config)
    images = np.concatenate([batch["image"] for batch in inputs.batches(0).take(4)])
    values = inputs.features.of(tf.constant(images), inputs.features.encode(tf.constant(images)))
    for name, head in heads.items():
        np.testing.assert_allclose(head.mean, np.mean(values[name], axis=0), atol=1e-5, err_msg=name)
        deviation = np.std(np.asarray(values[name], np.float64), axis=0)
        np.testing.assert_allclose(head.deviation, np.maximum(deviation, 0.01 * deviation.max()), rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_evaluate_trains_the_heads_and_reports_them(tmp_path, stages):
    tokenizer, language_model = stages
    flagfile = tmp_path / "probe.flags"
    settings = linear_probe_config("unused", tokenizer).training
    lines = [f"--training.{name}={getattr(settings, name)}" for name in ("total_steps", "batch_size", "jit_compile")]
    flagfile.write_text("\n".join(["--task=linear_probe", *lines, "--probe.statistics_steps=1"]))
    argv = [
        "--evaluation.kind=linear_probe",
        f"--tokenizer={tokenizer}",
        f"--language_model={language_model}",
        f"--linear_probe_flagfile={flagfile}",
        f"--output={tmp_path}/out",
    ]
    metrics = evaluate.run(flags.parse(configs.EvaluateCommand, argv))
    assert {f"linear_probe/{name}_top1" for name in SIZES} <= metrics.keys()
    assert not {name for name in metrics if name.startswith(("reconstruction/", "generation/"))}
    written, conditions = read_metrics(f"{tmp_path}/out/metrics.json")
    assert written["linear_probe/top1"] == metrics["linear_probe/top1"]
    assert conditions["linear_probe/top1"]["steps"] == settings.total_steps
    assert os.path.exists(f"{tmp_path}/out/linear_probe/config.json")
    assert "this block&#39;s mean output" in (tmp_path / "out" / "report.html").read_text()


# ------------------------------------------------------------------------------------------------------- bad inputs


def refusal(config):
    with pytest.raises(InputError) as caught:
        train.run(config)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_images_without_labels_are_refused(tmp_path, stages):
    for index in range(12):
        path = tmp_path / "images" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (index, 0, 0)).save(path)
    config = replace(
        linear_probe_config(tmp_path / "run", *stages),
        data=configs.DataConfig(source=f"folder:{tmp_path}/images", validation_fraction=0.5),
    )
    assert "has no labels, which a linear probe needs" in refusal(config)
    assert not os.path.exists(tmp_path / "run")


def test_a_language_model_of_another_tokenizer_is_refused(tmp_path, stages):
    other = save_untrained_tokenizer(tmp_path / "other")
    assert "belongs to the tokenizer with checksum" in refusal(linear_probe_config(tmp_path / "run", other, stages[1]))


@pytest.mark.slow
def test_a_probe_does_not_resume_with_other_stages(tmp_path, stages):
    config = linear_probe_config(tmp_path / "run", *stages)
    train.run(config)
    other = save_untrained_language_model(tmp_path / "other", stages[0])
    message = refusal(dataclasses.replace(config, language_model=other))
    assert "facts.language_model_checksum was" in message


def test_the_best_model_is_chosen_by_a_metric_that_is_there(tmp_path, stages):
    settings = {"validate_every_steps": 2, "keep_best_metric": "linear_probe/block_02_top1"}
    message = refusal(linear_probe_config(tmp_path / "run", *stages, **settings))
    assert "choose one of linear_probe/top1, linear_probe/pixels_top1" in message


def test_a_wrong_flagfile_of_the_probe_is_refused_at_the_start(tmp_path, stages):
    (tmp_path / "bad.flags").write_text("--probe.feature=pixels")
    argv = ["--evaluation.kind=linear_probe", f"--linear_probe_flagfile={tmp_path}/bad.flags", "--tokenizer=nowhere"]
    with pytest.raises(InputError, match="probe.feature"):
        evaluate.run(flags.parse(configs.EvaluateCommand, [*argv, f"--output={tmp_path}/out"]))
    assert not os.path.exists(tmp_path / "out")
