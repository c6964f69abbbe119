"""The commands one after the other on tiny settings, as a user would call them, with good and with bad input."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vim_tf import config as configs
from vim_tf import encode_dataset, evaluate, export, flags, reconstruct, sample, train
from vim_tf.data import token_records
from vim_tf.errors import InputError

pytestmark = pytest.mark.slow
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TINY_TRAINING = [
    "--training.total_steps=6",
    "--training.batch_size=16",
    "--training.log_every_steps=3",
    "--training.validate_every_steps=0",
    "--training.checkpoint_every_steps=3",
    "--training.jit_compile=false",
]
TINY_TOKENIZER = [
    f"--flagfile={ROOT}/configs/digits/tokenizer.flags",
    "--model.encoder.num_layers=1",
    "--model.decoder.num_layers=1",
    "--model.quantizer.codebook_size=64",
    "--model.discriminator.max_channels=4",
    *TINY_TRAINING,
]
TINY_LANGUAGE_MODEL = [
    f"--flagfile={ROOT}/configs/digits/language_model.flags",
    "--model.num_layers=1",
    "--model.hidden_dim=16",
    "--model.mlp_dim=16",
    *TINY_TRAINING,
]


def call(module, config_class, *argv):
    return module.run(flags.parse(config_class, list(argv)))


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Folder with tokenizer/, tokens/ and language_model/, made by the commands."""
    root = tmp_path_factory.mktemp("chain")
    call(train, configs.TokenizerTrainConfig, *TINY_TOKENIZER, f"--workdir={root}/tokenizer")
    call(
        encode_dataset,
        configs.EncodeConfig,
        f"--tokenizer={root}/tokenizer",
        "--data.source=digits",
        f"--output={root}/tokens",
        "--num_shards=3",
    )
    call(
        train,
        configs.LanguageModelTrainConfig,
        *TINY_LANGUAGE_MODEL,
        f"--tokens={root}/tokens",
        f"--workdir={root}/language_model",
    )
    return root


def stages(chain):
    return [f"--tokenizer={chain}/tokenizer", f"--language_model={chain}/language_model"]


def test_training_leaves_config_checkpoints_metrics_and_tensorboard(chain):
    for stage in ("tokenizer", "language_model"):
        assert {"config.json", "checkpoints", "metrics.jsonl", "tensorboard"} <= set(os.listdir(chain / stage))
        last = json.loads((chain / stage / "metrics.jsonl").read_text().splitlines()[-1])
        assert last["step"] == 6


def test_encoded_tokens_are_those_of_the_loaded_tokenizer_in_source_order(chain):
    from vim_tf import workdir
    from vim_tf.data import pipeline, preprocessing, sources

    tokenizer = workdir.load_tokenizer(str(chain / "tokenizer"))
    source = sources.open_source("digits", "validation", 16, 16)
    batch = next(iter(pipeline.eval_batches(source, 400)))
    data = token_records.load_tokens(str(chain / "tokens"), "validation")
    assert data.manifest.tokenizer_checksum == tokenizer.checksum
    assert len(data.manifest.splits["validation"]["shards"]) == 3
    np.testing.assert_array_equal(data.tokens[:, 0], tokenizer.encode(preprocessing.to_float(batch["image"])))
    np.testing.assert_array_equal(data.labels, batch["label"])
    assert data.keys == list(batch["key"].numpy())


def test_sample_writes_images_grid_and_archive_and_repeats_itself(chain, tmp_path):
    argv = [*stages(chain), "--labels=3,1", "--num_per_label=2", "--seed=7"]
    first = call(sample, configs.SampleConfig, *argv, f"--output={tmp_path}/a")
    second = call(sample, configs.SampleConfig, *argv, f"--output={tmp_path}/b")
    assert {path for path in os.listdir(tmp_path / "a") if path.startswith("label")} == {
        "label3_seed7.png",
        "label3_seed8.png",
        "label1_seed9.png",
        "label1_seed10.png",
    }
    np.testing.assert_array_equal(first["tokens"], second["tokens"])
    saved = np.load(tmp_path / "a" / "samples.npz")
    assert saved["images"].dtype == np.uint8 and saved["images"].shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(saved["labels"], [3, 3, 1, 1])
    picture = np.asarray(Image.open(tmp_path / "a" / "label1_seed9.png"))
    np.testing.assert_array_equal(picture, saved["images"][2])
    assert Image.open(tmp_path / "a" / "grid.png").size[0] >= 2 * 16


def test_sample_of_a_label_that_is_not_there_is_refused_before_anything_is_written(chain, tmp_path):
    with pytest.raises(InputError, match="label 10 is out of range"):
        call(sample, configs.SampleConfig, *stages(chain), "--labels=10", f"--output={tmp_path}/out")
    assert not os.path.exists(tmp_path / "out")


def test_evaluate_writes_metrics_with_conditions_and_a_report(chain, tmp_path):
    metrics = call(
        evaluate,
        configs.EvaluateConfig,
        *stages(chain),
        "--evaluation.samples_per_label=3",
        "--evaluation.feature_steps=30",
        f"--output={tmp_path}",
    )
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["metrics"] == pytest.approx(metrics)
    assert {
        "reconstruction/psnr",
        "reconstruction/ssim",
        "reconstruction/l1",
        "reconstruction/l2",
        "reconstruction/frechet_distance",
        "codebook/usage",
        "codebook/perplexity",
        "generation/frechet_distance",
        "generation/classifier_score",
        "generation/label_accuracy",
    } <= metrics.keys()
    assert not [name for name in metrics if "fid" in name or "inception" in name]
    assert written["conditions"]["generation/frechet_distance"]["measured"]["num_images"] == 30
    report = (tmp_path / "report.html").read_text()
    assert "data:image/png;base64," in report and "http://" not in report.replace("http://www.w3.org", "")


def test_reconstruct_puts_input_beside_output(chain, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    call(
        reconstruct,
        configs.ReconstructConfig,
        f"--tokenizer={chain}/tokenizer",
        f"--images={tmp_path}/a.png",
        f"--output={tmp_path}/out",
    )
    width, height = Image.open(tmp_path / "out" / "a.png").size
    assert width > 2.9 * height


def test_reconstruct_names_the_file_that_is_no_image(chain, tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    arguments = [f"--tokenizer={chain}/tokenizer", f"--output={tmp_path}/out"]
    with pytest.raises(InputError, match="text.png can't be decoded"):
        call(reconstruct, configs.ReconstructConfig, *arguments, f"--images={tmp_path}/text.png")
    with pytest.raises(InputError, match="there is no image .*missing.png"):
        call(reconstruct, configs.ReconstructConfig, *arguments, f"--images={tmp_path}/missing.png")


def test_exported_model_serves_the_commands(chain, tmp_path):
    folder = call(export, configs.ExportConfig, *stages(chain), f"--output={tmp_path}/e")
    argv = ["--labels=2", "--num_per_label=2"]
    exported = [f"--tokenizer={folder}", f"--language_model={folder}"]
    from_export = call(sample, configs.SampleConfig, *exported, *argv, f"--output={tmp_path}/a")
    from_workdirs = call(sample, configs.SampleConfig, *stages(chain), *argv, f"--output={tmp_path}/b")
    np.testing.assert_array_equal(from_export["tokens"], from_workdirs["tokens"])


def test_language_model_and_another_tokenizer_are_refused(chain, tmp_path):
    other = [*TINY_TOKENIZER, "--training.seed=1", "--training.total_steps=1", f"--workdir={tmp_path}/tokenizer"]
    call(train, configs.TokenizerTrainConfig, *other)
    mixed = [f"--tokenizer={tmp_path}/tokenizer", f"--language_model={chain}/language_model"]
    for module, config_class in (
        (sample, configs.SampleConfig),
        (evaluate, configs.EvaluateConfig),
        (export, configs.ExportConfig),
    ):
        with pytest.raises(InputError, match="[0-9a-f]{64}.*[0-9a-f]{64}"):
            call(module, config_class, *mixed, f"--output={tmp_path}/{module.__name__}")


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
