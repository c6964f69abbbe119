"""A pipeline run with a linear probe measured class by class."""

import re

import numpy as np
import pytest

from tests.pipelines.chain import Chain

pytestmark = pytest.mark.slow
PROBE_FLAGS = """
--task=linear_probe
--probe.features=blocks
--probe.statistics_steps=2
--optimizer.warmup_steps=1
--optimizer.learning_rate=1e-2
--augmentation.crop=center
--noaugmentation.flip
--training.total_steps=20
--training.batch_size=8
--training.log_every_steps=10
--training.validate_every_steps=0
--training.checkpoint_every_steps=10
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    chain = Chain(tmp_path_factory.mktemp("classes"))
    with open(f"{chain.folder}/probe.flags", "w") as file:
        file.write(PROBE_FLAGS)
    outcome = chain.run("out", "--probe_classes", f"--linear_probe_flagfile={chain.folder}/probe.flags")
    assert outcome.status == 0, outcome.errors
    return chain, outcome


def test_each_class_has_its_images_and_accuracy(run):
    chain, outcome = run
    rows = re.findall(r"^  (all|dark|light) +(\d+) images +([0-9.]+)%$", outcome.output, re.MULTILINE)
    counts = {name: int(count) for name, count, _ in rows}
    assert counts == {"all": 12, "dark": 6, "light": 6}
    shares = {name: float(share) for name, _, share in rows}
    assert shares["all"] == pytest.approx((shares["dark"] + shares["light"]) / 2, abs=0.01)


def test_the_accuracy_is_that_of_the_classifier_it_exported(run):
    import tensorflow as tf
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    chain, outcome = run
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = f"{chain.output('out')}/metadata/metadata.sqlite"
    store = metadata_store.MetadataStore(connection)
    (examples,) = store.get_artifacts_by_type("Examples")[:1]
    (model,) = [each for each in store.get_artifacts_by_type("Model") if "LinearProbeTrainer" in each.uri]
    classify = tf.saved_model.load(f"{model.uri}/Format-Serving").signatures["classify_examples"]
    files = tf.io.gfile.glob(f"{examples.uri}/Split-validation/*.gz")
    records = [record.numpy() for record in tf.data.TFRecordDataset(files, "GZIP")]
    probabilities = classify(examples=tf.constant(records))["probabilities"].numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    labels = [tf.train.Example.FromString(record).features.feature["label"].int64_list.value[0] for record in records]
    accuracy = np.mean(probabilities.argmax(axis=1) == labels)
    shown = float(re.search(r"^  all +\d+ images +([0-9.]+)%$", outcome.output, re.MULTILINE)[1])
    assert shown == pytest.approx(100 * accuracy, abs=0.01)
