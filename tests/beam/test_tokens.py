"""Images to token records with Beam, through the command."""

import json
import pickle

import numpy as np
import pytest
import tensorflow as tf

from vim_tf import config as configs
from vim_tf import encode_dataset, materialize
from vim_tf.beam import jobs, tokens
from vim_tf.data.records import tokens as token_records
from vim_tf.data.sources import plan_shards
from vim_tf.data.sources.shards import Plan
from vim_tf.errors import InputError
from vim_tf.stages import saved

SETTINGS = tokens.EncodeSettings("center", 1.125, 4, configs.DataConfig.max_pixels)


def materialized(images, tokenizer, output, **settings):
    settings = {"num_shards": 2, "batch_size": 8} | settings
    data = settings.pop("data", images.config())
    config = configs.MaterializeCommand(tokenizer=tokenizer, data=data, output=str(output), **settings)
    return materialize.run(config)


def files(folder):
    """{relative path: contents} of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def train_shards(images, num_shards=2):
    return plan_shards(images.config(), ("train",), 8, 8, num_shards).shards


def work(tokenizer, folder):
    return tokens.EncodeShard(str(folder), {"train": f"{folder}/train"}, tokenizer, SETTINGS)


@pytest.fixture(scope="module")
def encoded(images, tokenizer, tmp_path_factory):
    """Folder of tokens of both splits."""
    folder = tmp_path_factory.mktemp("tokens")
    materialized(images, tokenizer, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("views", ["center", "flips", "ten_crop"])
def test_tokens_are_those_of_the_command_that_encodes_in_one_process(views, images, tokenizer, tmp_path):
    materialized(images, tokenizer, tmp_path / "beam", views=views, view_scale=1.25)
    command = configs.EncodeCommand(
        tokenizer=tokenizer,
        data=images.config(),
        output=str(tmp_path / "command"),
        num_shards=2,
        batch_size=8,
        views=views,
        view_scale=1.25,
    )
    encode_dataset.run(command)
    for split in configs.SPLITS:
        one, other = (token_records.load_tokens(str(tmp_path / name), split) for name in ("beam", "command"))
        np.testing.assert_array_equal(one.tokens, other.tokens)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.keys == other.keys
        assert one.manifest.views == {"center": 1, "flips": 2, "ten_crop": 10}[views]
        assert one.manifest.class_names == other.manifest.class_names == ["a", "b"]


def test_an_image_that_cannot_be_encoded_ends_as_a_dead_letter_with_its_key(images, encoded):
    manifest = token_records.read_manifest(str(encoded))
    for split, made in (("train", 14), ("validation", 8)):
        shards = manifest.splits[split]["shards"]
        assert sum(shard["num_examples"] + shard.get("num_dead_letters", 0) for shard in shards) == made
        (shard,) = [shard for shard in shards if "dead_letters" in shard]
        (line,) = (encoded / split / shard["dead_letters"]).read_text().splitlines()
        letter = json.loads(line)
        assert (letter["key"], letter["place"]) == ("b/2.jpg", f"{images.folder}/{split}/b/2.jpg")
        assert letter["reason"]
        assert b"b/2.jpg" not in token_records.load_tokens(str(encoded), split).keys


def test_another_run_gives_the_same_files_and_removes_those_of_another_number_of_shards(
    images, tokenizer, encoded, tmp_path
):
    materialized(images, tokenizer, tmp_path, num_shards=3)
    materialized(images, tokenizer, tmp_path)
    assert files(tmp_path) == files(encoded)


def test_too_many_dead_letters_are_refused_and_leave_no_manifest(images, tokenizer, tmp_path):
    with pytest.raises(InputError, match="1 of 14 images can't be read"):
        materialized(images, tokenizer, tmp_path, data=images.config(max_unreadable_fraction=0.0))
    assert not (tmp_path / "manifest.json").exists()


def test_a_second_attempt_at_a_shard_replaces_the_first(images, tokenizer, tmp_path):
    encode = work(tokenizer, tmp_path)
    shard = train_shards(images)[0]
    (first,) = encode.process(shard)
    before = files(tmp_path)
    (second,) = encode.process(shard)
    assert first == second
    assert files(tmp_path) == before


def test_an_attempt_that_dies_in_the_middle_leaves_nothing(images, tokenizer, tmp_path, monkeypatch):
    class Killed(BaseException):
        """An exception that nothing handles."""

    encode_batches = tokens.EncodeShard._batches

    def die_at_the_second(self, *arguments):
        for number, batch in enumerate(encode_batches(self, *arguments)):
            if number:
                raise Killed
            yield batch

    encode = work(tokenizer, tmp_path)
    monkeypatch.setattr(tokens.EncodeShard, "_batches", die_at_the_second)
    with pytest.raises(Killed):
        list(encode.process(train_shards(images)[0]))
    assert files(tmp_path) == {}


def test_a_shard_that_the_runner_hands_over_twice_counts_once(images, tokenizer, tmp_path):
    encode = work(tokenizer, tmp_path)
    results = [result for shard in train_shards(images) for result in encode.process(shard)]
    plan = Plan("x", [], ["a", "b"])
    finish = {"folder": str(tmp_path), "plan": plan, "max_unreadable_fraction": 0.2}
    jobs._finish([*results, results[0]], str(tmp_path), lambda results: tokens._finish(results, **finish))
    assert token_records.read_manifest(str(tmp_path)).splits["train"]["num_examples"] == 13


def test_what_moves_between_workers_is_a_few_numbers(images, tokenizer, tmp_path):
    """A single decoded image of 20 x 20 pixels has 1,200 bytes."""
    shard = train_shards(images)[0]
    (result,) = work(tokenizer, tmp_path).process(shard)
    assert len(pickle.dumps(result)) < 1000
    assert len(pickle.dumps(shard)) < 1500


def test_a_worker_loads_the_tokenizer_once_however_many_shards_it_gets(images, tokenizer, tmp_path, monkeypatch):
    load, loaded = saved.load_tokenizer, []
    monkeypatch.setattr(saved, "load_tokenizer", lambda path: loaded.append(path) or load(path))
    materialized(images, tokenizer, tmp_path, num_shards=4)
    # The command loads it too, before the job, to report problems with it at once.
    assert loaded == [tokenizer, tokenizer]


def test_a_file_that_cannot_be_read_at_all_is_reported_in_one_line(images, tokenizer, tmp_path):
    (tmp_path / "x.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(InputError, match=r"x\.tar can't be read as a tar file") as caught:
        materialized(images, tokenizer, tmp_path / "out", data=images.config(source=f"webdataset:{tmp_path}/x.tar"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.slow
def test_two_processes_write_the_same_files_as_one(images, tokenizer, encoded, tmp_path):
    arguments = ("--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2")
    materialized(images, tokenizer, tmp_path, beam_args=arguments)
    assert files(tmp_path) == files(encoded)


@pytest.mark.slow
def test_dask_writes_the_same_files_as_one_process(images, tokenizer, encoded, tmp_path):
    distributed = pytest.importorskip("dask.distributed", reason="Dask is an optional extra")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        arguments = ("--runner=DaskRunner", f"--dask_client_address={cluster.scheduler_address}")
        materialized(images, tokenizer, tmp_path, beam_args=arguments)
    assert files(tmp_path) == files(encoded)


def write_records(folder, split, labels):
    with tf.io.TFRecordWriter(f"{folder}/{split}.tfrecord") as writer:
        for value, label in enumerate(labels):
            png = tf.io.encode_png(np.full([8, 8, 3], 20 * value, np.uint8)).numpy()
            feature = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))}
            if label >= 0:
                feature["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def test_records_that_are_only_partly_labelled_are_refused_as_in_one_process(images, tokenizer, tmp_path):
    write_records(tmp_path, "train", [0, -1, 2])
    write_records(tmp_path, "validation", [0, 1, 2])
    data = configs.DataConfig(source=f"tfrecord:{tmp_path}/{{split}}.tfrecord")
    message = "labels must be 0 or above in all records or missing in all of them"
    with pytest.raises(InputError, match=message):
        encode_dataset.run(configs.EncodeCommand(tokenizer=tokenizer, data=data, output=str(tmp_path / "command")))
    with pytest.raises(InputError, match=message):
        materialized(images, tokenizer, tmp_path / "beam", data=data)
    assert not (tmp_path / "beam" / "manifest.json").exists()


def test_a_split_that_the_hash_leaves_empty_is_named(images, tokenizer, tmp_path):
    write_records(tmp_path, "all", [0, 1, 2])
    data = configs.DataConfig(source=f"tfrecord:{tmp_path}/all.tfrecord", validation_fraction=0.0)
    with pytest.raises(InputError, match="the validation split is empty; .* --data.validation_fraction divides it"):
        materialized(images, tokenizer, tmp_path / "beam", data=data)


def test_mapped_labels_are_kept_in_the_manifest_by_both_commands(tokenizer, tmp_path):
    with tf.io.TFRecordWriter(f"{tmp_path}/all.tfrecord") as writer:
        for number in range(20):
            image = tf.io.encode_png(np.full((8, 8, 3), number, np.uint8)).numpy()
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[(2006656, 7)[number % 2]])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    data = configs.DataConfig(f"tfrecord:{tmp_path}/all.tfrecord", validation_fraction=0.3, map_labels=True)
    settings = {"tokenizer": tokenizer, "data": data, "num_shards": 1, "batch_size": 8}
    encode_dataset.run(configs.EncodeCommand(output=f"{tmp_path}/command", **settings))
    materialize.run(configs.MaterializeCommand(output=f"{tmp_path}/beam", **settings))
    for split in configs.SPLITS:
        one, other = (token_records.load_tokens(f"{tmp_path}/{name}", split) for name in ("command", "beam"))
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.labels, [1 - int(key.rpartition(b":")[2]) % 2 for key in one.keys])
        for manifest in (one.manifest, other.manifest):
            assert (manifest.class_names, manifest.label_values) == (["7", "2006656"], [7, 2006656])
