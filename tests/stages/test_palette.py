"""`vim_tf.train --task=palette`: the colours, and the stage on disk."""

import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.cluster import KMeans

from tests.testing import assert_equal_weights, language_model_config, tokenizer_config
from vim_tf import config as configs
from vim_tf import train
from vim_tf.data import sources
from vim_tf.errors import InputError
from vim_tf.models.palette import build_palette_tokenizer
from vim_tf.stages import palette, saved
from vim_tf.training.recorder import read_records


def palette_config(folder, source="digits", **model):
    model = {"height": 8, "width": 8, "grid_height": 4, "grid_width": 4, "codebook_size": 8} | model
    return configs.PaletteTrainConfig(
        workdir=str(folder),
        data=configs.DataConfig(source=source, validation_fraction=0.5),
        model=configs.PaletteModelConfig(**model),
    )


def color_folder(folder, colors, copies=3):
    """A folder of plain PNG images."""
    for index, color in enumerate(colors):
        os.makedirs(f"{folder}/{index}")
        for copy in range(copies):
            Image.new("RGB", (8, 8), color).save(f"{folder}/{index}/{copy}.png")
    return f"folder:{folder}"


def test_two_clouds_have_their_means_as_colours():
    """0.1 and 0.2 of one pixel each, 0.9 of two: the means are 0.15 and 0.9."""
    pixels = np.float32([[0.9] * 3, [0.1] * 3, [0.9] * 3, [0.2] * 3])
    colors, facts = palette.find_palette(pixels, 2, max_iterations=10, seed=0)
    np.testing.assert_allclose(colors, [[0.15] * 3, [0.9] * 3], rtol=1e-6)
    # Two of four pixels are 0.05 away in each channel.
    assert facts["mse"] == pytest.approx(0.05**2 / 2)
    assert (facts["distinct_colors"], facts["used_colors"]) == (3, 2)


def test_the_weight_of_a_colour_is_its_frequency():
    """Between 0 (three times) and 0.4 the mean is 0.1."""
    pixels = np.float32([[0.0] * 3] * 3 + [[0.4] * 3] + [[1.0] * 3])
    colors, _ = palette.find_palette(pixels, 2, max_iterations=10, seed=0)
    np.testing.assert_allclose(colors, [[0.1] * 3, [1.0] * 3], atol=1e-6)


def test_it_is_as_good_as_scikit_learns_clustering_of_all_pixels():
    """Both reach local optima, which depend on the first centres; ours is in the range of theirs."""
    pixels = np.random.default_rng(0).random([2000, 3]).astype(np.float32)
    colors, facts = palette.find_palette(pixels, 16, max_iterations=100, seed=3)
    theirs = [KMeans(16, n_init=1, random_state=seed, tol=0).fit(pixels).inertia_ / 6000 for seed in range(8)]
    assert min(theirs) * 0.97 < facts["mse"] < max(theirs) * 1.03
    distances = ((pixels[:, None] - colors) ** 2).sum(axis=-1)
    assert facts["mse"] == pytest.approx(distances.min(axis=1).mean() / 3, rel=1e-4)
    # Each colour is the mean of the pixels nearest to it: a fixed point of k-means.
    nearest = distances.argmin(axis=1)
    means = [pixels[nearest == index].mean(axis=0) for index in range(16)]
    np.testing.assert_allclose(colors, means, atol=1e-4)


def test_the_same_seed_gives_the_same_colours_in_any_order_of_the_pixels():
    pixels = np.random.default_rng(0).random([500, 3]).astype(np.float32)
    one, _ = palette.find_palette(pixels, 8, 20, seed=1)
    other, _ = palette.find_palette(pixels[::-1], 8, 20, seed=1)
    np.testing.assert_array_equal(one, other)


def test_colours_go_from_dark_to_bright():
    pixels = np.float32([[1, 1, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]])
    colors, facts = palette.find_palette(pixels, 4, 10, seed=0)
    np.testing.assert_array_equal(colors, [[0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 1]])
    assert (facts["mse"], facts["iterations"]) == (0.0, 0)


def test_with_fewer_colours_each_has_a_token_and_the_rest_is_never_used(tmp_path):
    config = palette_config(tmp_path / "run", color_folder(tmp_path / "images", ["black", "red", "white"], copies=20))
    metrics = train.run(config)
    tokenizer = saved.load_tokenizer(config.workdir)
    assert tokenizer.codebook_size == 8
    images = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 1]])[:, None, None].repeat(8, axis=1).repeat(8, axis=2)
    np.testing.assert_array_equal(tokenizer.encode(images)[:, 0], [0, 1, 2])
    np.testing.assert_array_equal(tokenizer.decode(tokenizer.encode(images)), images)
    assert (metrics["palette/distinct_colors"], metrics["palette/used_colors"]) == (3, 3)
    assert metrics["codebook/usage"] == 3 / 8


def test_pixels_are_those_of_whole_images_and_each_image_appears_once():
    tokenizer = build_palette_tokenizer(palette_config("unused").model)
    source = sources.open_source("digits", "train", 8, 8)
    assert palette.small_pixels(source, tokenizer, 33, seed=0).shape == (48, 3)
    everything = palette.small_pixels(source, tokenizer, 10**9, seed=0)
    assert everything.shape == (16 * source.num_examples, 3)
    images = np.stack([example["image"] for example in source.ordered()])
    expected = images.reshape(-1, 4, 2, 4, 2, 3).mean(axis=(0, 1, 2, 3, 4)) / 255
    np.testing.assert_allclose(everything.mean(axis=0), expected, rtol=1e-4)


def test_the_stage_is_complete_and_is_not_trained_twice(tmp_path):
    config = palette_config(tmp_path / "run")
    first = train.run(config)
    assert sorted(os.listdir(tmp_path)) == ["run"]
    assert {"config.json", "checkpoints", "metrics.jsonl"} == set(os.listdir(tmp_path / "run"))
    (record,) = read_records(f"{tmp_path}/run/metrics.jsonl")
    assert record.pop("step") > 0
    before = saved.load_tokenizer(config.workdir)
    stamp = os.stat(tmp_path / "run" / "config.json").st_mtime_ns
    assert train.run(config) == first == record
    assert os.stat(tmp_path / "run" / "config.json").st_mtime_ns == stamp
    train.run(palette_config(tmp_path / "again"))
    again = saved.load_tokenizer(str(tmp_path / "again"))
    assert_equal_weights(before, again)
    assert before.checksum == again.checksum


def test_an_empty_folder_and_what_a_kill_left_are_accepted(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run.tmp").mkdir()
    (tmp_path / "run.tmp" / "half").write_text("written")
    train.run(palette_config(tmp_path / "run"))
    assert saved.load_tokenizer(str(tmp_path / "run")).codebook_size == 8


def test_a_workdir_of_another_palette_is_refused_by_field(tmp_path):
    train.run(palette_config(tmp_path / "run"))
    with pytest.raises(InputError, match="model.codebook_size was 8, now 4"):
        train.run(palette_config(tmp_path / "run", codebook_size=4))


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no config.json"):
        train.run(palette_config(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_at_the_workdirs_path_is_refused_and_kept(tmp_path):
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(InputError, match="photo.jpg is a file: choose a new folder"):
        train.run(palette_config(tmp_path / "photo.jpg"))
    with pytest.raises(InputError, match="--workdir=.*photo.jpg/run can't be written"):
        train.run(palette_config(tmp_path / "photo.jpg" / "run"))
    assert (tmp_path / "photo.jpg").read_text() == "mine"


def test_a_palette_is_not_a_workdir_of_an_image_tokenizers_training(tmp_path):
    train.run(palette_config(tmp_path / "run"))
    with pytest.raises(InputError, match="holds a palette, not a tokenizer"):
        train.run(tokenizer_config(tmp_path / "run"))
    with pytest.raises(InputError, match="holds a palette, where a language_model is needed"):
        saved.load_language_model(str(tmp_path / "run"))


@pytest.mark.slow
def test_an_export_of_a_palette_gives_its_tokens_and_is_taken_as_a_tokenizer(tmp_path):
    from vim_tf.serving import saved_model

    train.run(palette_config(tmp_path / "run"))
    tokenizer = saved.load_tokenizer(str(tmp_path / "run"))
    saved_model.export(str(tmp_path / "export"), str(tmp_path / "run"), max_pixels=10_000)
    again = saved.load_tokenizer(str(tmp_path / "export"))
    assert again.checksum == tokenizer.checksum
    images = tf.random.stateless_uniform([2, 8, 8, 3], [0, 1])
    served = tf.saved_model.load(str(tmp_path / "export"))
    np.testing.assert_array_equal(served(images), tokenizer.quantized_latents(images))


@pytest.mark.slow
def test_the_same_language_model_trains_and_samples_on_a_palettes_tokens(tmp_path):
    from vim_tf import encode_dataset, sample

    palette = palette_config(tmp_path / "palette")
    train.run(palette)
    encode_dataset.run(configs.EncodeCommand(tokenizer=palette.workdir, output=f"{tmp_path}/tokens"))
    train.run(language_model_config(tmp_path / "language_model", tmp_path / "tokens"))
    facts = saved.load_config(f"{tmp_path}/language_model").model.tokens
    assert (facts.grid_height, facts.grid_width, facts.depth, facts.codebook_size) == (4, 4, 1, 8)
    drawn = sample.run(
        configs.SampleCommand(
            tokenizer=palette.workdir,
            language_model=f"{tmp_path}/language_model",
            labels=(3,),
            num_per_label=2,
            sampling=configs.SamplingConfig(jit_compile=False),
            output=f"{tmp_path}/samples",
        )
    )
    tokenizer = saved.load_tokenizer(palette.workdir)
    expected = np.round(tokenizer.decode(drawn["tokens"]) * 255).astype(np.uint8)
    np.testing.assert_array_equal(drawn["images"], expected)
