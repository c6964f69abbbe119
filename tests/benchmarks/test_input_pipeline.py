"""The input pipeline's benchmark: its rows, and what it compares them with."""

import pytest

from benchmarks import input_pipeline
from vim_tf.data.images import examination
from vim_tf.errors import InputError


@pytest.mark.slow
def test_every_row_is_printed_relative_to_the_decoder_and_the_training_step(capsys, monkeypatch):
    monkeypatch.setattr(
        examination, "MEMORY_LIMIT_BYTES", examination.MEMORY_LIMIT_BYTES
    )  # which the benchmark changes
    config = input_pipeline.InputPipelineConfig(
        images=8, min_side=20, max_side=30, batch_size=4, repeats=1, step_images_per_second=2.0
    )
    medians = input_pipeline.run(config)
    assert list(medians)[2:] == ["center 256", "random_square 256", "center 128", "random_square 128"]
    lines = capsys.readouterr().out.splitlines()
    assert "8 JPEGs of 20-30 pixels" in lines[0]
    for line, (name, rate) in zip(lines[1:], medians.items(), strict=True):
        assert line.startswith(f"{name} ")
        assert f"{rate:.0f} images/s" in line
        assert f"{rate / 2:.1f} times the training step" in line
    assert "1.00 of the decoder" in lines[1]


def test_unusable_settings_are_refused():
    with pytest.raises(InputError, match="max_side"):
        input_pipeline.InputPipelineConfig(min_side=300, max_side=200)
    with pytest.raises(InputError, match="quality"):
        input_pipeline.InputPipelineConfig(quality=0)
