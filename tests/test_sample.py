"""How sampling and completing show labels, and what they keep of earlier calls."""

import json
import os

import keras
import numpy as np
import pytest
from PIL import Image

from tests.testing import save_untrained_language_model, save_untrained_tokenizer
from tests.tiny_commands import call
from vim_tf import complete, export, reconstruct, sample
from vim_tf import config as configs
from vim_tf.errors import InputError
from vim_tf.stages import saved

pytestmark = pytest.mark.slow
# In alphabetical order like folders; one of them can't be a file name.
NAMES = ("0", "1", "10", "11", "cat", "../dog, big", "<b>|</b>", "\N{CJK UNIFIED IDEOGRAPH-72AC}", "x" * 90, "8")


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Flags of an untrained tokenizer and language model for 8 x 8 images of named classes."""
    root = tmp_path_factory.mktemp("stages")
    keras.utils.set_random_seed(0)
    tokenizer = save_untrained_tokenizer(root / "tokenizer")
    language_model = save_untrained_language_model(root / "language_model", tokenizer, NAMES)
    return [f"--tokenizer={tokenizer}", f"--language_model={language_model}", "--sampling.jit_compile=false"]


def draw(stages, output, *argv):
    return call(sample, configs.SampleCommand, *stages, *argv, f"--output={output}")


def pngs(folder):
    return sorted(name for name in os.listdir(folder) if name.endswith(".png"))


def test_files_grid_archive_and_output_name_the_classes(stages, tmp_path, capsys):
    samples = draw(stages, tmp_path, "--labels=1,2,5,6,7,8", "--num_per_label=1", "--seed=-3")
    assert pngs(tmp_path) == sorted(
        [
            "grid.png",
            "label1_seed-3.png",
            "label2_10_seed-2.png",
            "label5_dog-big_seed-1.png",
            "label6_b-b_seed0.png",
            "label7_\N{CJK UNIFIED IDEOGRAPH-72AC}_seed1.png",
            f"label8_{'x' * 40}_seed2.png",
        ]
    )
    with np.load(tmp_path / "samples.npz") as archive:
        assert archive["class_names"].tolist() == list(NAMES) == samples["class_names"].tolist()
    printed = capsys.readouterr().out
    assert "\nlabel 2, 10\nlabel 5, ../dog, big\n" in printed and "label 1\n" not in printed
    # A column of text is on the left of the images, which are 64 px wide with a gap of 2.
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    assert grid.shape[0] == 6 * 66 and grid.shape[1] > 66 + 40
    assert grid[:, :-66].min() < 60


def test_a_second_smaller_call_leaves_no_image_of_the_first(stages, tmp_path, capsys):
    draw(stages, tmp_path, "--labels=1,2", "--num_per_label=3")
    for name in ("mine.png", "label_seed1.png", "label3_seed1.png.txt"):
        (tmp_path / name).write_bytes(b"mine")
    draw(stages, tmp_path, "--labels=2", "--num_per_label=2")
    assert pngs(tmp_path) == ["grid.png", "label2_10_seed0.png", "label2_10_seed1.png", "label_seed1.png", "mine.png"]
    assert (tmp_path / "label3_seed1.png.txt").exists()
    assert "Removed PNGs of an earlier call: 6" in capsys.readouterr().out


def test_a_call_that_is_refused_removes_nothing(stages, tmp_path):
    draw(stages, tmp_path, "--labels=1", "--num_per_label=2")
    with pytest.raises(InputError, match="guidance_scale|label 10 is out of range"):
        draw(stages, tmp_path, "--labels=10")
    assert len(pngs(tmp_path)) == 3


def test_a_large_request_names_the_classes_in_every_file(stages, tmp_path):
    draw(stages, tmp_path, "--labels=1,2", "--num_per_label=1", "--num_shards=2")
    for shard in range(2):
        with np.load(tmp_path / f"samples-{shard:05d}-of-00002.npz") as archive:
            assert archive["class_names"].tolist() == list(NAMES)


def test_seeds_that_would_wrap_are_refused_before_anything_is_drawn(stages, tmp_path):
    with pytest.raises(InputError, match="--seed=2147483647 for 2 images: seed 2147483648 is out of range"):
        draw(stages, tmp_path / "o", "--labels=1", "--num_per_label=2", "--seed=2147483647")
    assert not (tmp_path / "o").exists()


def test_an_export_keeps_the_names_and_models_of_earlier_versions_have_none(stages, tmp_path):
    tokenizer, language_model = (flag.partition("=")[2] for flag in stages[:2])
    folder = export.run(
        configs.ExportCommand(tokenizer=tokenizer, language_model=language_model, output=str(tmp_path / "e"))
    )
    assert saved.load_language_model(folder).class_names == NAMES
    path = f"{folder}/assets.extra/language_model/config.json"
    with open(path) as file:
        config = json.load(file)
    del config["model"]["tokens"]["class_names"]
    with open(path, "w") as file:
        json.dump(config, file)
    assert saved.load_language_model(folder).class_names == ()
    old = [stages[0], f"--language_model={folder}", stages[2]]
    assert draw(old, tmp_path / "o", "--labels=2", "--num_per_label=1")["class_names"].tolist() == []
    assert pngs(tmp_path / "o") == ["grid.png", "label2_seed0.png"]


@pytest.fixture
def images(tmp_path):
    """Folder of two images, one of which has a comma in its name."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index, name in enumerate(("a, b.png", "c.png")):
        Image.fromarray(np.full([8, 8, 3], 90 * index, np.uint8)).save(folder / name)
    return folder


def complete_images(stages, output, images, *argv):
    return call(complete, configs.CompleteCommand, *stages, f"--images={images}", *argv, f"--output={output}")


def test_completions_name_their_classes_and_take_folders_and_names_with_commas(stages, images, tmp_path, capsys):
    completed = complete_images(stages, tmp_path / "o", images, "--labels=2,1", "--num_variants=2")
    assert completed.shape == (2, 2, 8, 8, 3)
    assert "2 completions of a, b: label 2, 10, c: label 1" in capsys.readouterr().out
    expected = ["a, b_variant0.png", "a, b_variant1.png", "c_variant0.png", "c_variant1.png", "grid.png"]
    assert pngs(tmp_path / "o") == expected
    grid = np.asarray(Image.open(tmp_path / "o" / "grid.png"))
    assert grid.shape[1] > 4 * 66 + 40
    one = complete_images(stages, tmp_path / "one", images / "a, b.png", "--labels=2", "--num_variants=2")
    assert np.abs(one[0].astype(int) - completed[0]).max() <= 1


def test_fewer_variants_leave_none_of_the_first_call_and_those_of_other_images(stages, images, tmp_path):
    complete_images(stages, tmp_path / "o", images, "--labels=2", "--num_variants=3")
    complete_images(stages, tmp_path / "o", images / "c.png", "--labels=2", "--num_variants=1")
    assert pngs(tmp_path / "o") == ["a, b_variant0.png", "a, b_variant1.png", "a, b_variant2.png"] + [
        "c_variant0.png",
        "grid.png",
    ]


def test_labels_that_do_not_fit_a_folders_images_are_refused(stages, images, tmp_path):
    with pytest.raises(InputError, match="3 --labels don't match 2 images"):
        complete_images(stages, tmp_path / "o", images, "--labels=1,2,3")
    assert not (tmp_path / "o").exists()


def test_seeds_of_the_last_window_are_refused_before_the_first_is_drawn(stages, images, tmp_path):
    """A canvas of three windows of 2 x 4 seeds each: 24 in all."""
    argv = ["--labels=1", "--width=16", "--num_variants=4"]
    with pytest.raises(InputError, match="seed 2147483648 is out of range"):
        complete_images(stages, tmp_path / "o", images, *argv, f"--seed={2**31 - 23}")
    assert not (tmp_path / "o").exists()


def test_reconstruct_takes_folders_and_names_with_commas(stages, images, tmp_path):
    call(reconstruct, configs.ReconstructCommand, stages[0], f"--images={images}", f"--output={tmp_path}/o")
    assert pngs(tmp_path / "o") == ["a, b.png", "c.png"]
