"""Sources as shards: for every kind, the same images in the same order as the source."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.data.sources.container_files import write_shards
from vim_tf.config import SPLITS, DataConfig
from vim_tf.data import order, sources
from vim_tf.data.images.fit import decode_and_fit
from vim_tf.data.sources import folder, plan_shards
from vim_tf.errors import InputError


def entries(config, split, num_shards=3):
    """Entries of all shards of a split, and how many each has."""
    plan = plan_shards(config, SPLITS, 8, 8, num_shards)
    shards = [shard for shard in plan.shards if shard.split == split]
    assert [(shard.index, shard.count) for shard in shards] == [(i, len(shards)) for i in range(len(shards))]
    parts = [list(shard.entries()) for shard in shards]
    return [entry for part in parts for entry in part], [len(part) for part in parts]


def assert_same_as_source(config):
    for split in SPLITS:
        found, _ = entries(config, split)
        expected = list(sources.build_source(config, split, 8, 8).ordered().as_numpy_iterator())
        assert [(entry.key, entry.label) for entry in found] == [(e["key"], e["label"]) for e in expected]
        for entry, element in zip(found, expected, strict=True):
            image = decode_and_fit(tf.constant(entry.load()), 8, 8).numpy()
            np.testing.assert_array_equal(image, element["image"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_containers_are_divided_as_the_source_divides_them(kind, pictures, tmp_path):
    encoded = [pictures.encode(pictures.noise(i), "PNG") for i in range(24)]
    name = write_shards(kind, tmp_path, encoded, [i % 3 for i in range(24)])
    assert_same_as_source(DataConfig(name, validation_fraction=0.3))


@pytest.mark.parametrize("layout", ["{split}/{label}", "{label}"])
def test_folders_are_divided_as_the_source_divides_them(layout, pictures, tmp_path):
    for split in SPLITS:
        for number in range(9):
            folder = tmp_path / layout.format(split=split, label=f"class-{number % 2}")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{split}-{number}.png").write_bytes(pictures.encode(pictures.noise(number), "PNG"))
    place = f"{tmp_path}/{{split}}" if "split" in layout else str(tmp_path)
    assert_same_as_source(DataConfig(f"folder:{place}", validation_fraction=0.3))


@pytest.mark.parametrize("name", ["digits", "photos"])
def test_sources_without_files_give_their_images(name):
    plan = plan_shards(DataConfig(name), ("validation",), 8, 8, 400)
    shard = plan.shards[3]
    source = sources.open_source(name, "validation", 8, 8)
    element = list(source.ordered().skip(shard.start).take(shard.stop - shard.start).as_numpy_iterator())[0]
    entry = next(iter(shard.entries()))
    assert (entry.key, entry.label) == (element["key"], element["label"])
    image = decode_and_fit(tf.constant(entry.load()), 8, 8).numpy()
    np.testing.assert_array_equal(image, element["image"])
    assert plan.class_names == source.class_names


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """20 grey squares without a split to validate on."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["low", "high"]),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(20):
            yield number, {"image": np.full((6, 6, 3), number, np.uint8), "label": number % 2}


def test_a_tfds_data_set_is_read_from_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    builder = TinyPictures(data_dir=str(tmp_path))
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=2))
    config = DataConfig("tfds:tiny_pictures", validation_fraction=0.3)
    assert_same_as_source(config)
    assert plan_shards(config, SPLITS, 8, 8, 9).class_names == ["low", "high"]
    assert len(entries(config, "train", num_shards=9)[1]) == 2


def test_shards_differ_by_at_most_one_file_and_none_is_empty(pictures, tmp_path):
    for number in range(7):
        (tmp_path / f"{number}.png").write_bytes(pictures.encode(pictures.flat(number), "PNG"))
    config = DataConfig(f"folder:{tmp_path}", validation_fraction=0.0)
    plan = plan_shards(config, ("train",), 8, 8, 3)
    assert [len(shard.paths) for shard in plan.shards] == [2, 2, 3]
    assert len(plan_shards(config, ("train",), 8, 8, 100).shards) == 7


@pytest.mark.parametrize("kind", ["folder", "parquet", "webdataset"])
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_of_tiny_sets_the_same_image_moves_into_the_empty_split(kind, count, fraction, pictures, tmp_path):
    encoded = [pictures.encode(pictures.noise(i), "PNG") for i in range(count)]
    if kind == "folder":
        for number, image in enumerate(encoded):
            (tmp_path / f"{number}.png").write_bytes(image)
        name = f"folder:{tmp_path}"
    else:
        name = write_shards(kind, tmp_path, encoded, [0] * count)
    config = DataConfig(name, validation_fraction=fraction)
    assert_same_as_source(config)
    smaller = "validation" if fraction < 0.5 else "train"
    assert len(entries(config, smaller)[0]) == 1


def test_an_image_that_cannot_be_read_does_not_fill_a_split(pictures, tmp_path):
    keys = sorted((f"{number}.png" for number in range(6)), key=lambda key: order.hash_of(key.encode()))
    for number, key in enumerate(keys):
        content = b"no image" if not number else pictures.encode(pictures.noise(number), "PNG")
        (tmp_path / key).write_bytes(content)
    config = DataConfig(f"folder:{tmp_path}", validation_fraction=1e-9, max_unreadable_fraction=0.5)
    source = sources.build_source(config, "validation", 8, 8)
    assert [e["key"].decode() for e in source.ordered().as_numpy_iterator()] == [keys[1]]
    assert [entry.key.decode() for entry in entries(config, "validation")[0]] == keys[:2]


def test_the_division_of_a_large_set_is_found_without_reading_it(pictures, tmp_path, monkeypatch):
    for number in range(60):
        (tmp_path / f"{number:02d}.png").write_bytes(pictures.encode(pictures.flat(number), "PNG"))
    read = []
    load = folder.load_file
    monkeypatch.setattr(folder, "load_file", lambda path: read.append(path) or load(path))
    plan_shards(DataConfig(f"folder:{tmp_path}", validation_fraction=0.5), ("train",), 8, 8, 2)
    assert 2 <= len(read) < 15


@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_labels_are_mapped_as_the_source_maps_them(kind, pictures, tmp_path):
    encoded = [pictures.encode(pictures.noise(i), "PNG") for i in range(12)]
    name = write_shards(kind, tmp_path, encoded, [(7, 512, 2006656)[i % 3] for i in range(12)])
    config = DataConfig(name, validation_fraction=0.3, map_labels=True)
    assert_same_as_source(config)
    plan = plan_shards(config, SPLITS, 8, 8, 2)
    assert (plan.class_names, plan.label_values) == (["7", "512", "2006656"], [7, 512, 2006656])
    assert {entry.label for entry in entries(config, "train")[0]} == {0, 1, 2}


@pytest.mark.parametrize("kind", ["folder", "tfrecord", "parquet", "webdataset"])
def test_what_the_source_refuses_the_plan_refuses_in_the_same_words(kind, pictures, tmp_path):
    """Names of splits that may be classes, and missing features."""
    (tmp_path / "train" / "a").mkdir(parents=True)
    image = pictures.encode(pictures.flat(1), "PNG")
    if kind == "folder":
        (tmp_path / "train" / "a" / "1.png").write_bytes(image)
        config = DataConfig(f"folder:{tmp_path}")
    elif kind == "webdataset":
        config = DataConfig(write_shards(kind, tmp_path, [image] * 2, [0, 0]), key_feature="id")
    elif kind == "parquet":
        config = DataConfig(write_shards(kind, tmp_path, [image] * 2, [0, 0]), label_feature="kind")
    else:
        pictures.examples(f"{tmp_path}/x.tfrecord", [image])
        config = DataConfig(f"tfrecord:{tmp_path}/x.tfrecord", image_feature="photo")
    messages = []
    for refused in (
        lambda: sources.build_source(config, "train", 8, 8),
        lambda: plan_shards(config, SPLITS, 8, 8, 2),
    ):
        with pytest.raises(InputError) as caught:
            refused()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_source_without_files_of_a_split_is_refused(tmp_path):
    with pytest.raises(InputError, match="no file matches"):
        plan_shards(DataConfig(f"parquet:{tmp_path}/{{split}}-*"), SPLITS, 8, 8, 2)
