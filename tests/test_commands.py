"""The commands one after the other with tiny settings, as a user would call them."""

import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.inception_stand_in import InceptionStandIn
from tests.tiny_commands import TINY_LANGUAGE_MODEL, TINY_TOKENIZER, call
from vim_tf import complete, encode_dataset, evaluate, export, reconstruct, sample, train
from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.data.records import tokens as token_records
from vim_tf.errors import InputError
from vim_tf.evaluation.report import format_value
from vim_tf.evaluation.results import read_metrics

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Folder with tokenizer/, tokens/ and language_model/, made by the commands."""
    root = tmp_path_factory.mktemp("chain")
    call(train, configs.TokenizerTrainConfig, *TINY_TOKENIZER, f"--workdir={root}/tokenizer")
    call(
        encode_dataset,
        configs.EncodeCommand,
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


def trained(chain):
    return [f"--tokenizer={chain}/tokenizer", f"--language_model={chain}/language_model"]


def stages(chain):
    """Flags of the commands that draw samples; XLA would take longer than the samples."""
    return [*trained(chain), "--sampling.jit_compile=false"]


def test_training_leaves_config_checkpoints_metrics_and_tensorboard(chain):
    for stage in ("tokenizer", "language_model"):
        assert {"config.json", "checkpoints", "metrics.jsonl", "tensorboard"} <= set(os.listdir(chain / stage))
        last = json.loads((chain / stage / "metrics.jsonl").read_text().splitlines()[-1])
        assert last["step"] == 6


def test_encoded_tokens_are_those_of_the_loaded_tokenizer_in_source_order(chain):
    from vim_tf.data import sources
    from vim_tf.data.batches import eval_batches
    from vim_tf.data.images.pixels import to_float
    from vim_tf.stages import saved

    tokenizer = saved.load_tokenizer(str(chain / "tokenizer"))
    source = sources.open_source("digits", "validation", 16, 16)
    batch = next(iter(eval_batches(source, 400)))
    data = token_records.load_tokens(str(chain / "tokens"), "validation")
    assert data.manifest.tokenizer_checksum == tokenizer.checksum
    assert len(data.manifest.splits["validation"]["shards"]) == 3
    np.testing.assert_array_equal(data.tokens[:, 0], tokenizer.encode(to_float(batch["image"])))
    np.testing.assert_array_equal(data.labels, batch["label"])
    assert data.keys == list(batch["key"].numpy())


def test_sample_writes_images_grid_and_archive_and_repeats_itself(chain, tmp_path):
    argv = [*stages(chain), "--labels=3,1", "--num_per_label=2", "--seed=7"]
    first = call(sample, configs.SampleCommand, *argv, f"--output={tmp_path}/a")
    second = call(sample, configs.SampleCommand, *argv, f"--output={tmp_path}/b")
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
    image = np.asarray(Image.open(tmp_path / "a" / "label1_seed9.png"))
    np.testing.assert_array_equal(image, saved["images"][2])
    assert Image.open(tmp_path / "a" / "grid.png").size[0] >= 2 * 16


def test_sample_of_an_unknown_label_is_refused_before_anything_is_written(chain, tmp_path):
    with pytest.raises(InputError, match="label 10 is out of range"):
        call(sample, configs.SampleCommand, *stages(chain), "--labels=10", f"--output={tmp_path}/out")
    # In int32 it would be label 1.
    with pytest.raises(InputError, match="label 4294967297 is out of range"):
        call(sample, configs.SampleCommand, *stages(chain), "--labels=4294967297", f"--output={tmp_path}/out")
    assert not os.path.exists(tmp_path / "out")


def test_a_large_request_holds_the_same_samples_in_files_and_is_not_drawn_twice(chain, tmp_path, capsys):
    argv = [*stages(chain), "--labels=3,1", "--num_per_label=3", "--seed=7"]
    small = call(sample, configs.SampleCommand, *argv, f"--output={tmp_path}/small")
    for process in (1, 0):
        large = ["--num_shards=4", "--num_processes=2", f"--process={process}", f"--output={tmp_path}/large"]
        call(sample, configs.SampleCommand, *argv, *large)
    for shard in range(4):
        with np.load(tmp_path / "large" / f"samples-{shard:05d}-of-00004.npz") as data:
            for name in ("labels", "images", "tokens"):
                np.testing.assert_array_equal(data[name], small[name][data["indices"]])
    assert "2 more are still to be written" in capsys.readouterr().out
    with pytest.raises(InputError, match="different: sampling"):
        call(sample, configs.SampleCommand, *argv, *large, "--sampling.top_k=2")


def test_rejection_keeps_what_the_classifier_prefers(chain, tmp_path):
    """The less red an image is, the surer the classifier is that it is a 2."""
    inputs = keras.layers.Input([16, 16, 3])
    paleness = 1 - keras.layers.GlobalAveragePooling2D()(inputs)[:, :1]
    keras.Model(inputs, keras.layers.Concatenate()([0 * paleness, 0 * paleness, paleness])).save(tmp_path / "c.keras")
    argv = [*stages(chain), "--labels=2", "--num_per_label=4"]
    rejection = [f"--sampling.classifier={tmp_path}/c.keras", "--sampling.rejection_candidates=4"]
    kept = call(sample, configs.SampleCommand, *argv, *rejection, f"--output={tmp_path}/a")
    drawn = call(sample, configs.SampleCommand, *argv, "--num_per_label=16", f"--output={tmp_path}/b")
    redness = drawn["images"][..., 0].reshape(4, 4, -1).mean(axis=-1)
    np.testing.assert_allclose(kept["images"][..., 0].reshape(4, -1).mean(axis=-1), redness.min(axis=1))


class TestComplete:
    @pytest.fixture
    def image(self, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 255, [16, 16, 3]).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        return f"--images={tmp_path}/a.png"

    def test_kept_rows_stay_and_the_rest_is_sampled(self, chain, image, tmp_path):
        argv = [*stages(chain), image, "--labels=3", "--num_variants=3"]
        whole = call(complete, configs.CompleteCommand, *argv, "--keep_rows=4", f"--output={tmp_path}/whole")
        half = call(complete, configs.CompleteCommand, *argv, f"--output={tmp_path}/half")
        none = call(complete, configs.CompleteCommand, *argv, "--keep_rows=0", f"--output={tmp_path}/none")
        samples = call(
            sample, configs.SampleCommand, *stages(chain), "--labels=3", "--num_per_label=3", f"--output={tmp_path}/s"
        )
        assert whole.shape == half.shape == (1, 3, 16, 16, 3)
        np.testing.assert_array_equal(whole[0, 0], whole[0, 1])
        assert np.any(half[0, 0] != half[0, 1])
        assert np.abs(none[0].astype(int) - samples["images"]).max() <= 1
        assert set(os.listdir(tmp_path / "half")) == {"grid.png", *(f"a_variant{i}.png" for i in range(3))}

    def test_a_canvas_is_larger_than_the_model(self, chain, image, tmp_path):
        argv = [*stages(chain), image, "--labels=3", "--num_variants=2", "--height=24", "--width=32"]
        assert call(complete, configs.CompleteCommand, *argv, f"--output={tmp_path}/o").shape == (1, 2, 24, 32, 3)

    @pytest.mark.parametrize(
        ("flag", "message"),
        [
            ("--keep_rows=5", "this tokenizer has 4 rows"),
            ("--height=18", "must be a multiple of 4"),
            ("--width=8", "at least 16, the model's width"),
            ("--labels=", "--labels is needed"),
            ("--labels=10", "label 10 is out of range"),
        ],
    )
    def test_what_does_not_fit_is_refused_before_anything_is_written(self, chain, image, tmp_path, flag, message):
        with pytest.raises(InputError, match=message):
            argv = [*stages(chain), image, "--labels=3", flag, f"--output={tmp_path}/o"]
            call(complete, configs.CompleteCommand, *argv)
        assert not os.path.exists(tmp_path / "o")


def test_evaluate_writes_metrics_with_conditions_and_a_report(chain, tmp_path):
    metrics = call(
        evaluate,
        configs.EvaluateCommand,
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


def test_through_inception_the_metrics_are_called_fid_and_the_labels_are_not_judged(chain, tmp_path):
    tf.saved_model.save(InceptionStandIn(), str(tmp_path / "inception"))
    metrics = call(
        evaluate,
        configs.EvaluateCommand,
        *stages(chain),
        "--evaluation.kind=reconstruction,generation",
        "--evaluation.samples_per_label=2",
        "--evaluation.feature_network=inception",
        "--evaluation.nearest_images=64",
        f"--evaluation.feature_network_path={tmp_path}/inception",
        f"--output={tmp_path}/o",
    )
    distributions = {name for name in metrics if name.startswith("generation/")}
    assert distributions == {f"generation/{name}" for name in ("fid", "kid", "inception_score", "precision", "recall")}
    assert {"reconstruction/fid", "reconstruction/kid", "reconstruction/inception_score"} <= metrics.keys()
    _, conditions = read_metrics(f"{tmp_path}/o/metrics.json")
    assert conditions["generation/fid"]["caution"].startswith("20 images for 2048 features")
    assert len(conditions["generation/fid"]["feature_network"]["checksum"]) == 64


def test_evaluations_are_put_side_by_side_and_what_differs_is_not_compared(chain, tmp_path, capsys):
    argv = [*stages(chain), "--evaluation.kind=reconstruction", "--evaluation.feature_steps=2"]
    values = [
        call(evaluate, configs.EvaluateCommand, *argv, *more, f"--output={tmp_path}/{name}")["reconstruction/psnr"]
        for name, more in (("a", []), ("b", ["--evaluation.feature_steps=3"]))
    ]
    evaluate.show(
        flags.parse(configs.EvaluateCommand, [f"--compare={tmp_path}/a,{tmp_path}/b", f"--output={tmp_path}/c"])
    )
    printed = capsys.readouterr().out
    assert values[0] == values[1] and printed.count(format_value(values[0])) >= 2
    assert "reconstruction/frechet_distance is not compared: b: feature_network.checksum is" in printed
    report = (tmp_path / "c" / "comparison.html").read_text()
    assert "Not compared" in report


def test_a_comparison_names_the_folder_without_metrics(tmp_path):
    config = flags.parse(configs.EvaluateCommand, [f"--compare={tmp_path}/a,{tmp_path}/b", f"--output={tmp_path}/c"])
    with pytest.raises(InputError, match="a holds no output of vim_tf.evaluate"):
        evaluate.show(config)


def test_samples_are_compared_with_statistics_in_a_file(chain, tmp_path):
    argv = [*stages(chain), "--evaluation.feature_steps=2", "--evaluation.samples_per_label=3"]
    kinds = "--evaluation.kind=generation"
    first = call(evaluate, configs.EvaluateCommand, *argv, kinds, f"--output={tmp_path}/a")
    (kept,) = (tmp_path / "a" / "reference").iterdir()
    second = call(evaluate, configs.EvaluateCommand, *argv, kinds, f"--reference={kept}", f"--output={tmp_path}/b")
    assert second == pytest.approx(first, rel=1e-9)
    _, conditions = read_metrics(f"{tmp_path}/a/metrics.json")
    assert read_metrics(f"{tmp_path}/b/metrics.json")[1] == conditions


def test_reconstruct_puts_the_input_next_to_the_output(chain, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    call(
        reconstruct,
        configs.ReconstructCommand,
        f"--tokenizer={chain}/tokenizer",
        f"--images={tmp_path}/a.png",
        f"--output={tmp_path}/out",
    )
    width, height = Image.open(tmp_path / "out" / "a.png").size
    assert width > 2.9 * height


def test_reconstruct_names_the_file_that_is_not_an_image(chain, tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    arguments = [f"--tokenizer={chain}/tokenizer", f"--output={tmp_path}/out"]
    with pytest.raises(InputError, match="text.png can't be decoded as an image: not an image of a known format"):
        call(reconstruct, configs.ReconstructCommand, *arguments, f"--images={tmp_path}/text.png")
    with pytest.raises(InputError, match="https://example.com/a.png can't be read"):
        call(reconstruct, configs.ReconstructCommand, *arguments, "--images=https://example.com/a.png")
    with pytest.raises(InputError, match="there is no image .*missing.png"):
        call(reconstruct, configs.ReconstructCommand, *arguments, f"--images={tmp_path}/missing.png")


def test_reconstruct_refuses_two_images_of_one_name_and_an_unwritable_output(chain, tmp_path):
    for name in ("a/1.png", "b/1.jpg", "2.tiff"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full([16, 16, 3], 99, np.uint8)).save(tmp_path / name)

    def run(images, output):
        images = ",".join(f"{tmp_path}/{image}" for image in images)
        tokenizer = f"--tokenizer={chain}/tokenizer"
        call(reconstruct, configs.ReconstructCommand, tokenizer, f"--images={images}", f"--output={tmp_path}/{output}")

    with pytest.raises(InputError, match="a/1.png and .*b/1.jpg would both be called 1; give them in two calls"):
        run(["a/1.png", "2.tiff", "b/1.jpg"], "out")
    with pytest.raises(InputError, match="--output=.*/2.tiff/out can't be written"):
        run(["a/1.png"], "2.tiff/out")
    assert not (tmp_path / "out").exists()
    run(["a/1.png", "2.tiff"], "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["1.png", "2.png"]


def test_exported_model_serves_the_commands(chain, tmp_path):
    folder = call(export, configs.ExportCommand, *trained(chain), f"--output={tmp_path}/e")
    argv = ["--labels=2", "--num_per_label=2"]
    exported = [f"--tokenizer={folder}", f"--language_model={folder}", "--sampling.jit_compile=false"]
    from_export = call(sample, configs.SampleCommand, *exported, *argv, f"--output={tmp_path}/a")
    from_workdirs = call(sample, configs.SampleCommand, *stages(chain), *argv, f"--output={tmp_path}/b")
    np.testing.assert_array_equal(from_export["tokens"], from_workdirs["tokens"])


def test_language_model_and_another_tokenizer_are_refused(chain, tmp_path):
    other = [*TINY_TOKENIZER, "--training.seed=1", "--training.total_steps=1", f"--workdir={tmp_path}/tokenizer"]
    call(train, configs.TokenizerTrainConfig, *other)
    mixed = [f"--tokenizer={tmp_path}/tokenizer", f"--language_model={chain}/language_model"]
    for module, config_class in (
        (sample, configs.SampleCommand),
        (evaluate, configs.EvaluateCommand),
        (export, configs.ExportCommand),
    ):
        with pytest.raises(InputError, match="[0-9a-f]{64}.*[0-9a-f]{64}"):
            call(module, config_class, *mixed, f"--output={tmp_path}/{module.__name__}")
