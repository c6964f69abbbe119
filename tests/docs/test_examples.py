"""The documentation's Python examples run and give what they claim."""

import os
import pathlib
import re

import numpy as np
import pytest

from tests.tiny_commands import TINY_LANGUAGE_MODEL, TINY_TOKENIZER, call
from vim_tf import config as configs
from vim_tf import encode_dataset, train

ROOT = pathlib.Path(__file__).resolve().parents[2]


def example(path):
    """Runs the Python of a page and returns its names."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / path).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks, f"{path} has no example"
    names = {}
    for block in blocks:
        exec(compile(block, path, "exec"), names)
    return names


@pytest.mark.parametrize("page", ["quantizers", "tokenizer", "language_model", "sampler"])
def test_examples_of_the_api_hold(page):
    example(f"docs/api/{page}.md")


@pytest.mark.slow
def test_the_readmes_example_draws_images_from_the_demos_output(tmp_path, monkeypatch):
    demo = tmp_path / "runs" / "digits"
    call(train, configs.TokenizerTrainConfig, *TINY_TOKENIZER, f"--workdir={demo}/tokenizer")
    encode = [f"--tokenizer={demo}/tokenizer", "--data.source=digits", f"--output={demo}/tokens"]
    call(encode_dataset, configs.EncodeCommand, *encode)
    language_model = [*TINY_LANGUAGE_MODEL, f"--tokens={demo}/tokens", f"--workdir={demo}/language_model"]
    call(train, configs.LanguageModelTrainConfig, *language_model)
    monkeypatch.chdir(tmp_path)

    images = np.asarray(example("README.md")["images"])

    assert images.shape == (2, 16, 16, 3)
    assert images.dtype == np.float32 and 0 <= images.min() < images.max() <= 1
    assert os.listdir(tmp_path) == ["runs"]
