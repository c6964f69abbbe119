"""The GPU benchmark: its settings, the refusal without a GPU, and a run of a tiny shape on the CPU."""

import importlib.util
import json
import sys

import pytest

from benchmarks import gpu
from benchmarks.support import measure
from vim_tf.cli import flags
from vim_tf.config import TransformerConfig
from vim_tf.errors import InputError

TINY = TransformerConfig(num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16)


def tiny(**settings):
    sizes = {"image_size": 16, "codebook_size": 8, "codebook_dim": 4, "num_tokens": 16}
    batches = {"tokenizer_batch_size": 2, "language_model_batch_size": 2, "rounds": 2, "calls": 1}
    return gpu.GpuConfig(tokenizer=TINY, language_model=TINY, **sizes, **batches, **settings)


def test_the_defaults_are_the_papers_small_tokenizer_and_24_layers_of_language_model():
    tokenizer, language_model = gpu.tokenizer_settings(gpu.GpuConfig()), gpu.language_model_settings(gpu.GpuConfig())
    assert (tokenizer.num_layers, tokenizer.hidden_dim, tokenizer.codebook_size) == (8, 512, 8192)
    assert (language_model.num_layers, language_model.hidden_dim, language_model.lengths) == (24, 1024, (1024,))


def test_flags_reach_the_settings_of_both_stages():
    config = flags.parse(gpu.GpuConfig, ["--tokenizer.num_layers=3", "--language_model.mlp_dim=7", "--num_tokens=9"])
    assert gpu.tokenizer_settings(config).num_layers == 3
    assert gpu.language_model_settings(config).mlp_dim == 7
    assert gpu.language_model_settings(config).train_length == 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "float16"}, "precision must be one of float32, mixed_bfloat16"),
        ({"image_size": 100}, "multiple of patch_size"),
        ({"num_tokens": 10}, "num_tokens 10 isn't a square number"),
        ({"torch_compile": True}, "torch_compile needs torch_python"),
        ({"rounds": 0}, "rounds must be above 0"),
    ],
)
def test_unusable_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        gpu.GpuConfig(**settings)


def test_without_a_gpu_one_line_says_so_and_what_to_do(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(InputError, match="TensorFlow sees no GPU.*make setup-cuda") as caught:
        gpu.run(tiny())
    assert "\n" not in str(caught.value)


class FakeWorker:
    """A process that answers at once: this project's takes 2 s for each operation, PyTorch's 3 s."""

    commands = []

    def __init__(self, command, environment):
        self.commands.append(command)
        self.seconds = 3.0 if command[0] == "peers" else 2.0
        self.facts = {"losses": [1.0], "device": "H200", "operations": ["sample_gpt2_static_16", "train_gpt2_16"]}

    def run(self, operation, calls):
        return measure.Round(self.seconds, self.seconds, 0.0)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


def test_every_process_is_a_module_and_is_compared_on_the_same_card(monkeypatch, capsys):
    monkeypatch.setattr(measure, "Worker", FakeWorker)
    results = gpu.compare(tiny(torch_python="peers"), "gpu")
    assert [command[0] for command in FakeWorker.commands] == [sys.executable, "peers"] * 2
    assert all(importlib.util.find_spec(command[2]) for command in FakeWorker.commands)
    assert all(json.loads(command[3].partition("=")[2])["device"] == "gpu" for command in FakeWorker.commands)
    assert {"train_2/torch", "encode_2/torch", "train_16/train_gpt2", "sample_16/sample_gpt2_static"} < set(results)
    lines = capsys.readouterr().out
    assert "language model on H200, mixed_bfloat16" in lines
    assert lines.count("ours is 1.50 (1.50 to 1.50) times as fast") == 4
    # 2 images of 16 tokens in 2 s.
    assert "16.0 tokens/s" in lines


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_run_measures_training_encoding_and_sampling(capsys, precision):
    results = gpu.compare(tiny(precision=precision), "cpu")
    assert set(results) == {"train_2/ours", "encode_2/ours", "train_16/ours", "sample_16/ours"}
    assert all(len(rounds) == 2 and min(each.wall for each in rounds) > 0 for rounds in results.values())
    lines = capsys.readouterr().out
    assert f"tokenizer on CPU, {precision}" in lines and f"language model on CPU, {precision}" in lines
    assert "images/s" in lines and "tokens/s" in lines
