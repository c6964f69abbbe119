"""The images that the pipeline accepts: what stops it before anything is trained, and spans."""

import shutil
import sys

import numpy as np
import pytest

from tests.pipelines import chain as chains

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """The tiny pipeline, not run yet."""
    arguments = sys.argv
    try:
        yield chains.Chain(tmp_path_factory.mktemp("images"))
    finally:
        sys.argv = arguments


def write_records(folder, labels, side=8):
    """TFRecord files of noise, one per split, with the labels of each; returns the source's name."""
    import tensorflow as tf

    random = np.random.default_rng(3)
    for split, numbers in labels.items():
        with tf.io.TFRecordWriter(f"{folder}/{split}.tfrecord") as writer:
            for number in numbers:
                pixels = random.integers(0, 256, (side, 8, 3), dtype=np.uint8)
                features = {
                    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.io.encode_png(pixels).numpy()])),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return f"tfrecord:{folder}/{{split}}.tfrecord"


def stopped(chain, name, *flags):
    """The line with which a run stops before anything is trained."""
    from vim_tf.errors import InputError

    with pytest.raises(InputError) as caught:
        chain.run(name, *flags)
    assert "\n" not in str(caught.value)
    states = chains.execution_states(chain.output(name))
    assert "TokenizerTrainer" not in states
    assert states["AnomalyCheck"] == ["FAILED"]
    return str(caught.value)


def test_missing_labels_and_labels_unseen_in_training_stop_the_pipeline(chain, tmp_path):
    source = write_records(tmp_path, {"train": [0, 1, 0, 1, -1], "validation": [0, 1, 5]})
    message = stopped(chain, "labels", f"--data.source={source}")
    assert "train split: 1 of 5 images have no label" in message
    assert "validation split: no training image has the label 5" in message
    assert "train split, feature label: Out-of-range values (Unexpectedly small value: -1.)" in message
    assert "validation split, feature label: Out-of-range values (Unexpectedly large value: 5.)" in message


def test_images_that_are_too_small_stop_the_pipeline(chain, tmp_path):
    source = write_records(tmp_path, {"train": [0, 1, 0, 1], "validation": [0, 1]}, side=7)
    message = stopped(chain, "small", f"--data.source={source}")
    assert "train split, feature height: Out-of-range values (Unexpectedly small value: 7.)" in message
    assert "feature width" not in message


def test_images_in_both_splits_stop_the_pipeline_and_the_line_names_a_pair(chain, tmp_path):
    shutil.copytree(f"{chain.folder}/images", tmp_path / "images")
    shutil.copy(tmp_path / "images/train/dark/3.png", tmp_path / "images/validation/light/copy.png")
    message = stopped(chain, "doubles", f"--data.source=folder:{tmp_path}/images/{{split}}")
    assert (
        "validation split: 1 images are in the training split too, such as light/copy.png, there dark/3.png" in message
    )


def test_a_later_span_is_ingested_under_its_number_and_its_views_are_learned_from(chain, tmp_path):
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    from vim_tf.data.records import tokens as token_records
    from vim_tf.stages import saved

    chains.write_images(f"{tmp_path}/span-07/version-1/train", 4, seed=0)
    shutil.copytree(f"{chain.folder}/images", f"{tmp_path}/span-12/version-3")
    source = f"folder:{tmp_path}/span-{{SPAN:2}}/version-{{VERSION}}/{{split}}"
    finished = chain.run("spans", f"--data.source={source}", "--views=flips")
    assert finished.status == 0
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = f"{chain.output('spans')}/metadata/metadata.sqlite"
    artifacts = metadata_store.MetadataStore(connection).get_artifacts_by_type("Examples")
    assert [(each.properties["span"].int_value, each.properties["version"].int_value) for each in artifacts] == [
        (12, 3),
        (12, 3),
    ]
    output = chain.output("spans")
    resolved = f"folder:{tmp_path}/span-12/version-3/{{split}}"
    assert saved.load_config(f"{output}/tokenizer").data.source == resolved
    tokens = token_records.load_tokens(f"{output}/tokens", "train")
    assert (tokens.tokens.shape, tokens.manifest.source) == ((24, 2, 4), resolved)
