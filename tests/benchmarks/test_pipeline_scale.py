"""The benchmarks of the Beam jobs: what they make, count and measure."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import materialize, pipeline_scale
from benchmarks.support import synthetic
from vim_tf.errors import InputError

TINY = {"images": 40, "max_side": 80, "image_size": 16, "num_layers": 1, "hidden_dim": 64, "num_shards": 2}


@pytest.mark.slow
def test_counts_add_up_in_every_stage_of_both_sizes(capsys):
    results = pipeline_scale.run(pipeline_scale.PipelineScaleConfig(**TINY))
    output = capsys.readouterr().out
    for images, corrupt in ((40, 1), (80, 1)):
        assert results["ingest", images]["examples"] == images - corrupt
        assert results["ingest", images]["unreadable"] == corrupt
        assert results["encode", images]["examples"] == images - corrupt
        assert f"{images} images: {images - corrupt} good + {corrupt} corrupt" in output
    assert "as the set doubles" in output


def test_the_rate_of_a_worker_excludes_the_time_for_few_images(capsys, monkeypatch):
    seconds = {("few", 0): 5.0, ("images", 0): 6.0, ("few", 1): 9.0, ("images", 1): 13.0, ("few", 2): 9.0}
    seconds["images", 2] = 11.0
    monkeypatch.setattr(synthetic, "run_measured", lambda *arguments: (40.0, 1.0, 1))
    monkeypatch.setattr(materialize, "_job_seconds", lambda config, folder, *job: seconds[job])
    rates = materialize.run(materialize.MaterializeBenchmarkConfig(**TINY))
    expected = {"encode": 40, "decode and encode": 40, "one process": 20, "1 worker": 5, "2 workers": 10}
    assert rates == pytest.approx(expected)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "2 workers              10.0 images/s, 0.25 of decode and encode; start and end 9.0 s"


@pytest.mark.slow
def test_a_job_and_a_baseline_of_the_workers_benchmark_run(tmp_path):
    config = materialize.MaterializeBenchmarkConfig(**TINY, row="encode", folder=str(tmp_path))
    synthetic.write_jpegs(f"{tmp_path}/few", config, 20)
    synthetic.write_tokenizer(f"{tmp_path}/tokenizer", config)
    assert materialize.run(config)["encode"] > 0
    assert materialize._job_seconds(config, str(tmp_path), "few", 0) > 0
    assert (tmp_path / "tokens" / "manifest.json").exists()


def test_the_second_half_of_the_larger_set_gives_the_rate_and_the_growth():
    results = {
        ("ingest", 100): {"seconds": 15.0, "bytes": 1000},
        ("ingest", 200): {"seconds": 17.5, "bytes": 1200},
        ("bare", 200): {"rate": 80.0},
    }
    line = pipeline_scale._compared("ingest", results, 100)
    assert line == (
        "ingest: 40.0 images/s without start-up, 0.50 of bare decoding and encoding; peak memory grows by a factor of "
        "1.200 as the set doubles, NOT within 1.1"
    )
    results["ingest", 200] = {"seconds": 14.0, "bytes": 1100}
    line = pipeline_scale._compared("ingest", results, 100)
    assert "no rate without start-up" in line
    assert line.endswith("1.100 as the set doubles, within 1.1")


def test_counts_that_do_not_add_up_fail():
    results = {
        ("ingest", 200): {"examples": 198, "unreadable": 2},
        ("encode", 200): {"examples": 197, "unreadable": 0},
    }
    with pytest.raises(RuntimeError, match="encode"):
        pipeline_scale._check_counts(results, 200)


def test_images_depend_only_on_their_number_and_one_in_a_hundred_is_corrupt(tmp_path):
    config = synthetic.SyntheticConfig(max_side=70)
    for name in "ab":
        synthetic.write_jpegs(f"{tmp_path}/{name}", config, 140)
    corrupt = []
    for number in range(140):
        path = f"{number % 10}/{number:06d}.jpg"
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
        try:
            with Image.open(tmp_path / "a" / path) as image:
                assert 64 <= min(image.size) <= max(image.size) <= 70
                np.asarray(image)
        except OSError:
            corrupt.append(number)
    assert corrupt == [37, 137]
    assert synthetic.num_corrupt(140) == 2
    assert len(synthetic.good_paths("", 140)) == 138


def test_memory_of_children_counts():
    allocate = "import subprocess, sys, time; block = bytearray(50_000_000); "
    child = f"{allocate}print('ready', flush=True); time.sleep(60)"
    parent = f"{allocate}subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, start_new_session=True)
    try:
        process.stdout.readline()
        assert 100e6 < synthetic.tree_bytes(process.pid) < 200e6
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        process.stdout.close()


def test_a_single_stage_needs_its_folder():
    with pytest.raises(InputError, match="--folder"):
        pipeline_scale.PipelineScaleConfig(stage="ingest")
    with pytest.raises(InputError, match="--folder"):
        materialize.MaterializeBenchmarkConfig(row="encode")
