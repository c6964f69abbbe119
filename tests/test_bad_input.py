"""Commands with unusable images or tokens: they print one clear line and write nothing."""

import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.tiny_commands import TINY_LANGUAGE_MODEL, TINY_TOKENIZER, call
from vim_tf import config as configs
from vim_tf import train
from vim_tf.errors import InputError

pytestmark = pytest.mark.slow


def write_mixed_folder(folder):
    """19 readable files of many kinds, a truncated one and a text file."""
    random = np.random.default_rng(0)
    for label in ("cats", "dogs"):
        tf.io.gfile.makedirs(f"{folder}/{label}")
    colour = [Image.fromarray(random.integers(0, 256, (24, 20, 3), np.uint8)) for _ in range(19)]
    kinds = [
        ("png", "RGB"),
        ("jpg", "RGB"),
        ("webp", "RGB"),
        ("gif", "P"),
        ("png", "L"),
        ("png", "RGBA"),
        ("jpg", "CMYK"),
    ]
    for index, image in enumerate(colour):
        suffix, mode = kinds[index % len(kinds)]
        image.convert(mode).save(f"{folder}/{('cats', 'dogs')[index % 2]}/{index}.{suffix}")
    whole = open(f"{folder}/dogs/1.jpg", "rb").read()
    with open(f"{folder}/dogs/truncated.jpg", "wb") as file:
        file.write(whole[: len(whole) // 2])
    with open(f"{folder}/cats/text.png", "w") as file:
        file.write("this is no image")


def test_folder_with_two_bad_files_is_refused_by_name_and_trains_with_a_higher_limit(tmp_path):
    folder = tmp_path / "pictures"
    write_mixed_folder(folder)
    argv = [
        *TINY_TOKENIZER,
        f"--data.source=folder:{folder}",
        "--data.validation_fraction=0.3",
        "--training.batch_size=4",
        "--training.total_steps=2",
        f"--workdir={tmp_path}/run",
    ]
    with pytest.raises(InputError) as refusal:
        call(train, configs.TokenizerTrainConfig, *argv)
    assert "truncated.jpg" in str(refusal.value) and "text.png" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    metrics = call(train, configs.TokenizerTrainConfig, *argv, "--data.max_unreadable_fraction=0.2")
    assert metrics["reconstruction/psnr"] > 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data.source=folder:/no/such/folder"], "/no/such/folder"),
        (["--data.source=digit"], "Did you mean"),
        (["--data.source=tfrecord:/no/such/*.tfrecord"], "/no/such/"),
    ],
)
def test_image_source_that_is_not_there_is_one_clear_line(tmp_path, argv, message):
    with pytest.raises(InputError, match=message) as refusal:
        call(train, configs.TokenizerTrainConfig, *TINY_TOKENIZER, *argv, f"--workdir={tmp_path}/run")
    assert "\n" not in str(refusal.value)
    assert not os.path.exists(tmp_path / "run")


def test_empty_folder_is_one_clear_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        call(
            train,
            configs.TokenizerTrainConfig,
            *TINY_TOKENIZER,
            f"--data.source=folder:{tmp_path}/empty",
            f"--workdir={tmp_path}/run",
        )


def test_missing_tokens_are_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="no/such/tokens"):
        call(
            train,
            configs.LanguageModelTrainConfig,
            *TINY_LANGUAGE_MODEL,
            "--tokens=no/such/tokens",
            f"--workdir={tmp_path}/run",
        )
