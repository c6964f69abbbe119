"""The ablation: how its rows differ, what it reads from a training, and the page that it writes."""

import dataclasses
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmarks import ablation
from benchmarks.pages import ablation as ablation_page
from vim_tf import config as configs

USAGE = {"dim 256": 0.05, "dim 32, no l2-norm": 0.01, "dim 32, l2-norm": 0.5, "EMA": 0.6, "FSQ": 0.9, "CNN": 0.4}


@pytest.fixture
def config(tmp_path):
    return ablation.AblationConfig(steps=40, workdir=str(tmp_path / "rows"), output=str(tmp_path / "results"))


def results_of(config, usage):
    conditions = {
        "codebook/usage": {"measured": {"num_images": 1024}, "num_tokens": 65536},
        "reconstruction/frechet_distance": {"feature_network": {"steps": 600}},
    }
    return {
        name: ablation.RowResult(
            config=ablation.row_config(name, config),
            metrics={
                "codebook/usage": value,
                "codebook/perplexity": 1000 * value,
                "reconstruction/psnr": 20 + value,
                "reconstruction/frechet_distance": 1 - value,
            },
            conditions=conditions,
            usage=[(120, 0.5), (140, value)],
            seconds=61.0,
            trained_per_second=123.4,
            encoded_per_second=1234.5,
            num_parameters=1_234_000,
        )
        for name, value in usage.items()
    }


def test_rows_differ_only_in_what_they_are_named_after(config):
    base = ablation.row_config("dim 32, l2-norm", config)
    names = [name for name, _ in configs.leaves(configs.TokenizerTrainConfig) if name != "workdir"]
    changed = {
        row: {name for name in names if configs.get(ablation.row_config(row, config), name) != configs.get(base, name)}
        for row in ablation.ROWS
    }
    quantizer = {f"model.quantizer.{name}" for name in ("kind", "fsq_levels", "codebook_size", "codebook_dim")}
    assert changed == {
        "dim 256": {"model.quantizer.codebook_dim"},
        "dim 32, no l2-norm": {"model.quantizer.l2_normalize"},
        "dim 32, l2-norm": set(),
        "EMA": {"model.quantizer.kind"},
        "FSQ": quantizer,
        "CNN": {"model.architecture"},
    }


def test_every_row_has_its_own_folder_for_these_steps_and_this_seed(config):
    def folders(**changes):
        changed = dataclasses.replace(config, **changes)
        return {ablation.row_config(row, changed).workdir for row in ablation.ROWS}

    assert len(folders()) == len(ablation.ROWS)
    assert not folders() & folders(steps=41)
    assert not folders() & folders(seed=1)


def test_no_row_restarts_codes(config):
    assert all(ablation.row_config(row, config).model.quantizer.restart_unused_steps == 0 for row in ablation.ROWS)


def test_a_training_is_read_from_its_records(config):
    row = ablation.row_config("EMA", config)
    assert (row.training.log_every_steps, row.alarms.codebook_window_steps, row.training.batch_size) == (20, 100, 16)
    tf.io.gfile.makedirs(row.workdir)
    lines = [
        {"step": 20 * (i + 1), "tokenizer/images_per_second": rate, "codebook/window_usage": usage}
        for i, (rate, usage) in enumerate([(16.0, 1.0), *[(32.0, 1.0)] * 4, (64.0, 0.25)])
    ]
    lines.append({"step": 120, "reconstruction/psnr": 20.0})
    with open(f"{row.workdir}/metrics.jsonl", "w") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))
    # Steps 101 to 120 are the first interval after the first window; 20 steps of 16 images took 20, 10 or 5 seconds.
    assert ablation.training_records(row) == {"usage": [(120, 0.25)], "seconds": 65.0, "trained_per_second": 32.0}


def test_encoding_rates_are_images_per_second():
    class Slow:
        """Takes a hundredth of a second for a batch, and more for the call that compiles."""

        def encode(self, images):
            return tf.numpy_function(self.wait, [images], tf.float32)

        def wait(self, images):
            ablation.time.sleep(0.01)
            return np.float32(0)

    rates = ablation.encoding_rates({"slow": Slow()}, np.zeros([8, 4, 4, 3], np.uint8), rounds=3)
    assert 8 / 0.1 < rates["slow"] <= 8 / 0.01


def test_the_table_shows_what_was_measured(config):
    text = ablation_page.page(results_of(config, USAGE), seconds_of_this_call=125.0)
    (line,) = [line for line in text.splitlines() if line.startswith("| dim 256")]
    assert line == "| dim 256 | 5.0 % | 50.0 | 20.05 | 0.950 | 123 | 1234 | 1.23 M | 4 % |"
    assert "usage per 256 images" not in text
    assert "the trainings took 6:06 minutes" in text
    assert "took 2:05 minutes" in text


def test_the_papers_order_is_judged_by_the_measured_usage(config):
    assert "The order of table 4 comes out" in ablation_page.page(results_of(config, USAGE), 1.0)
    for name in ("dim 256", "dim 32, no l2-norm"):
        text = ablation_page.page(results_of(config, USAGE | {name: 0.7}), 1.0)
        assert "The order of table 4 does not come out" in text
        assert f"dim 32, l2-norm 50.0% <= {name} 70.0%" in text


def test_the_page_and_its_plot_are_written(config):
    ablation_page.write(config.output, results_of(config, USAGE), 1.0)
    with open(f"{config.output}/quantizers.png", "rb") as file:
        pixels = np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"))
    assert pixels.shape == (480, 1200, 3)
    for color in ablation_page.COLORS:
        wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(pixels.astype(int) - wanted).max(axis=-1) < 8).sum() > 50, f"{color} isn't drawn"
    with open(f"{config.output}/quantizers.md") as file:
        assert "](quantizers.png)" in file.read()


@pytest.mark.slow
def test_a_second_call_measures_what_the_first_one_trained(config, monkeypatch):
    tiny = [f"--model.{part}.num_layers=1" for part in ("encoder", "decoder")]
    tiny += ["--notraining.jit_compile", "--training.log_every_steps=2", "--alarms.codebook_window_steps=2"]
    names = list(ablation.ROWS)
    monkeypatch.setattr(ablation, "ROWS", {"EMA": (*ablation.ROWS["EMA"], *tiny)})
    # The page needs all rows; here they are all the same one.
    pages = []
    monkeypatch.setattr(
        ablation_page,
        "write",
        lambda folder, results, seconds: pages.append(
            ablation_page.page(dict.fromkeys(names, results["EMA"]), seconds).partition("## Conditions")
        ),
    )
    config = dataclasses.replace(config, steps=4, feature_steps=2, encode_rounds=1)
    first = ablation.run(config)["EMA"]
    with open(f"{first.config.workdir}/metrics.jsonl") as file:
        records = file.read()
    second = ablation.run(config)["EMA"]
    with open(f"{first.config.workdir}/metrics.jsonl") as file:
        assert file.read() == records
    assert second.metrics == first.metrics
    assert [step for step, _ in first.usage] == [4]
    assert f"| EMA | {100 * first.metrics['codebook/usage']:.1f} % |" in pages[0][0]
    assert "1024 validation crops" in pages[0][2]
