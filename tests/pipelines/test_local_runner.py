"""The runner's command line, where it needs no TFX."""

import os
import subprocess
import sys
import time

import pytest

from pipelines import local_runner, settings
from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.errors import InputError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run_command(*arguments):
    command = [sys.executable, "-m", "pipelines.local_runner", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def pipeline_config(*arguments):
    return flags.parse(configs.PipelineConfig, [f"--flagfile={ROOT}/configs/digits/pipeline.flags", *arguments])


def test_help_answers_without_tensorflow():
    seconds = []
    # The best of three, since other tests keep the machine busy.
    for _ in range(3):
        start = time.monotonic()
        result = run_command("--help")
        seconds.append(time.monotonic() - start)
        assert result.returncode == 0
        assert "--gates.min_reconstruction_psnr" in result.stdout
    assert min(seconds) < 1


@pytest.mark.slow
def test_a_mistyped_flag_in_a_stage_s_flagfile_is_refused_before_the_pipeline_starts(tmp_path):
    (tmp_path / "tokenizer.flags").write_text("--model.hight=8\n")
    result = run_command(
        "--flagfile=configs/digits/pipeline.flags",
        f"--output={tmp_path}",
        f"--tokenizer_flagfile={tmp_path}/tokenizer.flags",
    )
    assert result.returncode == 2
    assert "model.hight" in result.stderr
    assert result.stdout == ""


def test_a_remote_output_is_refused():
    with pytest.raises(InputError, match="choose a local folder"):
        local_runner.run(pipeline_config("--output=gs://bucket/folder"))


def test_the_digits_pipeline_trains_on_the_images_that_it_ingests(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = pipeline_config("--data.source=folder:somewhere")
    tokenizer, language_model = settings.stage_configs(config)
    assert tokenizer.data.source == "folder:somewhere"
    assert language_model.task == "language_model"
