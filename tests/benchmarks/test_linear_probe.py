"""The comparison of linear probes: what is trained alike, and the page that it writes."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from benchmarks import linear_probe
from benchmarks.pages import linear_probe as linear_probe_page
from tests.testing import language_model_config, replace, save_untrained_language_model, save_untrained_tokenizer
from vim_tf import config as configs
from vim_tf.errors import InputError
from vim_tf.evaluation.linear_probe import wilson_interval
from vim_tf.evaluation.results import EvaluationResult
from vim_tf.stages import saved

NUM_IMAGES = 359


@pytest.fixture
def config(tmp_path):
    return linear_probe.LinearProbeBenchmarkConfig(
        tokenizer="t", workdir=str(tmp_path / "work"), output=str(tmp_path / "results")
    )


def differences(one, other):
    return {
        name
        for name, _ in configs.leaves(type(one))
        if configs.get(one, name) != configs.get(other, name) and name not in ("workdir", "tokens", "tokenizer")
    }


def test_language_models_of_all_rows_have_one_config_without_labels(config):
    vim = linear_probe.language_model_config(config, linear_probe.VIM, "t")
    other = linear_probe.language_model_config(config, linear_probe.palette_name(4), "p")
    assert differences(vim, other) == set()
    assert not vim.model.class_conditional
    assert vim.tokens != other.tokens and vim.workdir != other.workdir


def test_given_language_model_passes_on_its_config(config, tmp_path):
    tokenizer = save_untrained_tokenizer(tmp_path / "tokenizer")
    folder = save_untrained_language_model(tmp_path / "language_model", tokenizer)
    given = saved.load_config(folder)
    other = linear_probe.language_model_config(
        replace(config, language_model=folder), linear_probe.palette_name(4), "p"
    )
    assert {name.split(".")[1] for name in differences(given, other)} == {"tokens"}
    assert other.model.tokens == configs.TokenFacts()


def test_other_steps_than_those_of_the_given_language_model_are_refused(config):
    with pytest.raises(InputError, match="--language_model_steps would train image GPT differently"):
        replace(config, language_model="l", language_model_steps=3)


def test_probes_of_all_rows_differ_only_in_the_pixels(config):
    vim = linear_probe.probe_config(config, linear_probe.VIM, "t", "l")
    other = linear_probe.probe_config(config, linear_probe.palette_name(8), "p", "m")
    assert differences(vim, other) == {"probe.features", "language_model"}
    assert vim.probe.features == ("pixels", "latents", "blocks")
    assert other.probe.features == ("latents", "blocks")


def row(task, accuracies, num_tokens=16):
    """A Row with the given number right of 359 images for each feature; the best block is the highest."""
    metrics, conditions = {}, {}
    for name, count in accuracies.items():
        metrics[f"linear_probe/{name}_top1"] = count / NUM_IMAGES
        conditions[f"linear_probe/{name}_top1"] = {
            "interval_95": list(wilson_interval(count, NUM_IMAGES)),
            "feature_size": 48,
            "measured": {"source": "digits", "num_images": NUM_IMAGES},
            "trained_on": {"num_images": 1438},
            "optimizer": {"learning_rate": 0.01, "final_learning_rate": 1e-4, "weight_decay": 0.0},
            "probe": {"latents": "flattened", "statistics_steps": 23},
            "steps": 1500,
            "batch_size": 64,
            "model": {"language_model": {"trained_with_labels": False}},
        }
    blocks = [name for name in accuracies if name.startswith("block_")]
    best = max(range(len(blocks)), key=lambda index: accuracies[blocks[index]])
    metrics |= {
        "linear_probe/best_block": float(best),
        "linear_probe/top1": metrics[f"linear_probe/{blocks[best]}_top1"],
    }
    conditions["linear_probe/top1"] = conditions[f"linear_probe/{blocks[best]}_top1"]
    model = language_model_config("w", "t")
    return linear_probe.Row(EvaluationResult(metrics, conditions), task, num_tokens, model, 860_000, 3.25)


@pytest.fixture
def rows():
    return {
        "VIM": row("tokenizer", {"pixels": 345, "latents": 323, "block_00": 300, "block_01": 340}),
        "iGPT 4 x 4": row("palette", {"latents": 316, "block_00": 200, "block_01": 100}),
        "iGPT 8 x 8": row("palette", {"latents": 341, "block_00": 341, "block_01": 200}, num_tokens=64),
    }


def test_table_has_a_line_for_each_feature_with_its_interval(rows):
    """340 of 359 are 94.7 %; Wilson's interval of it is 91.9 to 96.6 %."""
    lines = [line for line in linear_probe_page.page(rows, 61).splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + 3 + 2 + 2
    assert "| VIM: block 1 of 2, counted from 0 | 16 | 48 | 0.86 M | 94.7 % | 91.9 to 96.6 % |" in lines
    assert "| pixels of the image | - | 48 | - | 96.1 % | 93.6 to 97.7 % |" in lines
    assert "| iGPT 8 x 8: the palette's colours | 64 | 48 | - | 95.0 % | 92.2 to 96.8 % |" in lines


def test_the_claim_is_reported_as_it_turned_out(rows):
    page = linear_probe_page.page(rows, 61)
    assert "* VIM is 39.0 points better than iGPT 4 x 4 on as many tokens; the intervals don't overlap." in page
    assert (
        "* VIM is 0.3 points worse than iGPT 8 x 8, which sees 64 tokens where VIM sees 16; the intervals overlap."
        in page
    )


def test_plot_shows_the_curve_of_every_row(rows, tmp_path):
    linear_probe_page.write(str(tmp_path), rows, 1)
    assert sorted(os.listdir(tmp_path)) == ["linear_probe.md", "linear_probe.png"]
    image = np.asarray(Image.open(io.BytesIO((tmp_path / "linear_probe.png").read_bytes())).convert("RGB"))
    for color in linear_probe_page.COLORS[:3]:
        wanted = [int(color[index : index + 2], 16) for index in (1, 3, 5)]
        assert np.all(image == wanted, axis=-1).any(), color


@pytest.mark.slow
def test_a_run_trains_what_is_missing_and_a_second_one_trains_nothing(config, tmp_path):
    tokenizer = save_untrained_tokenizer(tmp_path / "tokenizer")
    loop = ["--training.total_steps=2", "--training.batch_size=8", "--training.jit_compile=false"]
    sizes = [f"--model.{name}=16" for name in ("hidden_dim", "mlp_dim")] + ["--model.num_heads=2"]
    (tmp_path / "model.flags").write_text("\n".join(["--model.num_layers=2", *sizes, *loop]))
    (tmp_path / "probe.flags").write_text("\n".join(["--augmentation.crop=center", *loop]))
    config = replace(
        config,
        tokenizer=tokenizer,
        grids=(4,),
        codebook_size=8,
        language_model_flagfile=str(tmp_path / "model.flags"),
        linear_probe_flagfile=str(tmp_path / "probe.flags"),
    )
    first = linear_probe.run(config)
    checkpoints = sorted((tmp_path / "work").rglob("ckpt-*.index"))
    stamps = [os.stat(path).st_mtime_ns for path in checkpoints]
    second = linear_probe.run(config)
    assert [os.stat(path).st_mtime_ns for path in checkpoints] == stamps
    assert list(first) == ["VIM", "iGPT 4 x 4"]
    assert {name: row.result.metrics for name, row in first.items()} == {
        name: row.result.metrics for name, row in second.items()
    }
    assert first["iGPT 4 x 4"].num_tokens == 16
    assert first["VIM"].bits_per_token > 0
    assert os.path.exists(f"{config.output}/linear_probe.md")
