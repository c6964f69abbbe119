"""A quantizer, a source of images, a loss, a metric and a setting of samples are added to a copy of the package.

Each takes at most three files; CONTRIBUTING.md says the same in words. The additions are toys; what is tested is that
nothing else needs a change for flags, training, checkpoints, evaluation, the report and exports to know them.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parents[1]

# For each extension: {file: its whole content if it is new, else (line of the file, its replacement)}.
QUANTIZER = {
    "vim_tf/models/quantizers/toy.py": '''
"""The sign of each dimension, without a loss."""

import keras
from keras import ops

from vim_tf.models.quantizers.base import Quantized, Quantizer, pass_straight_through


@keras.saving.register_keras_serializable(package="vim_tf")
class ToyQuantizer(Quantizer):
    config_fields = (*Quantizer.config_fields, "toy_scale")

    def __init__(self, codebook_size, codebook_dim, toy_scale, **kwargs):
        super().__init__(codebook_size, codebook_dim, **kwargs)
        self.toy_scale = toy_scale

    def call(self, latents, seed=None, temperature=None):
        latents = ops.cast(latents, "float32")
        tokens = self.tokens(latents)
        return Quantized(pass_straight_through(self.lookup(tokens), latents), tokens, {})

    def tokens(self, latents):
        bits = ops.cast(latents > 0, "int32")
        return ops.sum(bits * 2 ** ops.arange(self.codebook_dim), axis=-1)

    def lookup(self, tokens):
        bits = ops.floor_divide(tokens[..., None], 2 ** ops.arange(self.codebook_dim)) % 2
        return self.toy_scale * (2.0 * ops.cast(bits, "float32") - 1.0)

    def get_config(self):
        return {**super().get_config(), "toy_scale": self.toy_scale}
''',
    "vim_tf/models/quantizers/__init__.py": {
        "from vim_tf.models.quantizers.vector import": "from vim_tf.models.quantizers.toy import ToyQuantizer\n{line}",
        '    "lfq": LookupFreeQuantizer,': '{line}\n    "toy": ToyQuantizer,',
    },
    "vim_tf/config/models.py": {
        '    kind: Literal["vq"': '    kind: Literal["toy", "vq"] = setting(',
        '    depth: int = setting(1, "residual': '    toy_scale: float = setting(1.0, "size of a code")\n{line}',
    },
}
LOSS = {
    "vim_tf/losses/toy.py": '''
"""A toy."""

import tensorflow as tf


def brightness_loss(images, reconstructions):
    return tf.square(tf.reduce_mean(images) - tf.reduce_mean(reconstructions))
''',
    "vim_tf/training/loss_terms.py": {
        "from vim_tf.losses.reconstruction import": "{line}\nfrom vim_tf.losses.toy import brightness_loss",
        "LOSS_TERMS = (": """{line}
    LossTerm(
        "brightness_loss",
        "brightness_weight",
        value=lambda images, outputs, tokenizer, settings: brightness_loss(images, outputs.images),
        is_computed=lambda tokenizer, settings: settings.brightness_weight > 0,
    ),""",
    },
    "vim_tf/config/training.py": {
        "    l1_weight: float = ": '    brightness_weight: float = setting(0.0, "weight of a toy")\n{line}',
    },
}
SOURCE = {
    "vim_tf/data/sources/toy.py": '''
"""A toy: grey images, as bright as their labels."""

import numpy as np

from vim_tf.data.sources.base import MemorySource
from vim_tf.data.sources.embedded import EmbeddedKind


def open_toy(split, height, width):
    labels = np.arange(40) % 4
    images = np.broadcast_to((60 * labels).astype(np.uint8)[:, None, None, None], [40, height, width, 3])
    keys = [f"{split}-{index}".encode() for index in range(40)]
    return MemorySource("toy", split, class_names=list("abcd"), labels=labels, keys=keys, images=images)


TOY = EmbeddedKind("toy", open_toy)
''',
    "vim_tf/data/sources/__init__.py": {
        "from vim_tf.errors import InputError": "from vim_tf.data.sources.toy import TOY\n{line}",
        "        embedded.DIGITS,": "        TOY,\n{line}",
    },
}
METRIC = {
    "vim_tf/evaluation/metrics/image.py": {
        '        self._sums = {"psnr": 0.0,': '{line}\n        self._sums["largest"] = 0.0',
        '            "l1": {"pixel_range"': '            "largest": {"pixel_range": "[0, 1]"},\n{line}',
        '        "l1": tf.reduce_mean(': '        "largest": tf.reduce_max(tf.abs(difference), [1, 2, 3]),\n{line}',
    },
    "vim_tf/evaluation/metrics/names.py": {
        '    "reconstruction/l1": Metric': '    "reconstruction/largest": MetricInfo("", "lower", "A toy."),\n{line}',
    },
}
SIGNATURE = {
    "vim_tf/serving/signatures.py": {
        "    def reconstruct(image_bytes):": "    def histogram(tokens):\n"
        '        (tokens,) = guarded({"tokens": tokens}, {"tokens": ranges.below(tokenizer.codebook_size)})\n'
        '        return {"counts": tf.reduce_sum(tf.one_hot(tokens, tokenizer.codebook_size), axis=1)}\n'
        "\n{line}",
        '        "encode": _function(encode, ': '        "histogram": _function(histogram, [tokens_spec]),\n{line}',
    },
}
COMMANDS = [
    "vim_tf.train --task=tokenizer --data.source=toy --workdir=tokenizer --model.height=8 --model.width=8 "
    "--model.patch_size=4 --model.encoder.num_layers=1 --model.decoder.num_layers=1 --model.encoder.hidden_dim=16 "
    "--model.decoder.hidden_dim=16 --model.quantizer.kind=toy --model.quantizer.toy_scale=0.5 "
    "--model.quantizer.codebook_size=16 --model.quantizer.codebook_dim=4 --losses.brightness_weight=0.5 "
    "--losses.perceptual_weight=0 --losses.adversarial_weight=0 --training.total_steps=2 --training.batch_size=8 "
    "--training.log_every_steps=1 --training.jit_compile=off --augmentation.crop=center --noaugmentation.flip",
    "vim_tf.evaluate --tokenizer=tokenizer --data.source=toy --evaluation.kind=reconstruction --output=evaluation "
    "--evaluation.feature_steps=2",
    "vim_tf.export --tokenizer=tokenizer --output=exported",
]


@pytest.fixture
def extend(tmp_path):
    shutil.copytree(ROOT / "vim_tf", tmp_path / "vim_tf", ignore=shutil.ignore_patterns("__pycache__"))

    def extend(files):
        assert len(files) <= 3
        for name, change in files.items():
            path = tmp_path / name
            if isinstance(change, str):
                assert not path.exists()
                path.write_text(change.lstrip())
                continue
            lines = path.read_text().splitlines()
            for start, new in change.items():
                (number,) = [number for number, line in enumerate(lines) if line.startswith(start)]
                lines[number] = new.replace("{line}", lines[number])
            path.write_text("\n".join(lines) + "\n")

    return extend


@pytest.mark.slow
def test_each_is_added_in_three_files_at_most_and_known_from_flags_to_report(extend, tmp_path):
    for files in (QUANTIZER, LOSS, SOURCE, METRIC, SIGNATURE):
        extend(files)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for command in COMMANDS:
        argv = [sys.executable, "-m", *command.split()]
        done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
    config = json.loads((tmp_path / "tokenizer" / "config.json").read_text())
    assert config["model"]["quantizer"]["toy_scale"] == 0.5
    first = json.loads((tmp_path / "tokenizer" / "metrics.jsonl").read_text().splitlines()[0])
    sums = 0.5 * first["tokenizer/brightness_loss"] + first["tokenizer/l2_loss"]
    sums += 0.1 * first["tokenizer/logit_laplace_loss"]
    assert first["tokenizer/loss"] == pytest.approx(sums, rel=1e-5)
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["metrics"]
    assert metrics["reconstruction/l1"] <= metrics["reconstruction/largest"] <= 1
    assert "A toy." in (tmp_path / "evaluation" / "report.html").read_text()
    served = tf.saved_model.load(str(tmp_path / "exported" / "1")).signatures["histogram"]
    counts = served(tokens=tf.constant([[3, 3, 0, 15]]))["counts"].numpy()
    assert counts.tolist() == [[1, 0, 0, 2] + [0] * 11 + [1]]


# A token that is never drawn.
SETTING = {
    "vim_tf/ranges.py": {
        '    "temperature": Setting(': '    "forbidden": Setting("int32", -1, Range(-1, 99), "token never drawn"),\n'
        "{line}",
    },
    "vim_tf/sampling/generate.py": {
        "        tokens = draw(logits, uniform[:, position])": "        is_forbidden = "
        "tf.range(tf.shape(logits)[-1]) == request.forbidden[:, None]\n"
        '        logits = tf.where(is_forbidden, float("-inf"), logits)\n'
        "{line}",
    },
}
DRAW = """
import numpy as np
from vim_tf import config as configs
from vim_tf.models.language_model import LanguageModel
from vim_tf.models.tokenizer import build_tokenizer
from vim_tf.sampling.samplers import build_sampler, sampler_settings
from vim_tf.serving.signatures import build_signatures

vit = configs.TransformerConfig(num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8)
quantizer = configs.QuantizerConfig(codebook_size=3, codebook_dim=2)
tokenizer = build_tokenizer(configs.TokenizerModelConfig("vit", 8, 8, 4, encoder=vit, decoder=vit, quantizer=quantizer))
model = LanguageModel(2, 2, 1, 3, num_classes=2, num_layers=1, num_heads=1, hidden_dim=4, mlp_dim=4)
model.build()
sampling = configs.SamplingConfig(forbidden=1, jit_compile="off")
drawn = build_sampler(model, sampling, tokenizer).sample([0] * 20, range(20), **sampler_settings(sampling))
assert np.unique(drawn).tolist() == [0, 2], drawn
_, functions = build_signatures(tokenizer, model, 4, max_pixels=100)
inputs = functions["generate"].input_signature
print([spec.name for spec in inputs])
request = {spec.name: np.zeros([20], spec.dtype.as_numpy_dtype) for spec in inputs}
ones = np.ones([20], np.float32)
request |= {"seed": np.arange(20, dtype=np.int32), "temperature": ones, "top_p": ones, "guidance_scale": ones}
assert np.unique(functions["generate"](**request)["tokens"]).tolist() == [1, 2]
"""


@pytest.mark.slow
def test_a_setting_of_a_sample_is_a_row_and_its_use(extend, tmp_path):
    """The flag, the argument, the check and the served input exist without further code."""
    extend(SETTING)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def call(*arguments):
        argv = [sys.executable, *arguments]
        return subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    done = call("-c", DRAW)
    assert done.returncode == 0, done.stderr[-2000:]
    names = ["label", "seed", "forbidden", "temperature", "top_k", "top_p", "guidance_scale"]
    assert done.stdout.splitlines()[-1] == str(names)
    assert "token never drawn" in call("-m", "vim_tf.sample", "--help").stdout
    flags = ["--tokenizer=t", "--language_model=l", "--output=o", "--sampling.forbidden=100"]
    refused = call("-m", "vim_tf.sample", *flags)
    assert refused.stderr.strip() == "Error: sampling.forbidden 100 is out of range: it must be in [-1, 99]"
