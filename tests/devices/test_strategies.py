"""Which strategy a name gives, and how batches reach replicas; test_multi_worker.py runs several processes."""

import json

import pytest
import tensorflow as tf

from vim_tf.devices import strategies
from vim_tf.devices.strategies import build_strategy, check_cluster
from vim_tf.errors import InputError


def test_mirrored_takes_every_logical_cpu_where_there_is_no_gpu():
    assert build_strategy("mirrored").num_replicas_in_sync == len(tf.config.list_logical_devices("CPU")) == 2


def test_a_process_has_one_mirrored_strategy_for_all_its_trainings():
    # A second one would number its collectives like the first, and TensorFlow would mix them up.
    assert build_strategy("mirrored") is build_strategy("mirrored")


def test_trainings_of_different_size_reduce_one_after_the_other():
    for size in (3, 5):
        strategy = build_strategy("mirrored")

        @tf.function
        def reduce(strategy=strategy, size=size):
            def add(context):
                return context.all_reduce("sum", tf.ones([size]))

            return strategy.run(lambda: add(tf.distribute.get_replica_context()))

        assert [value.numpy().tolist() for value in reduce().values] == [[2.0] * size] * 2


def test_one_and_auto_without_gpu_are_a_single_replica():
    assert build_strategy("one").num_replicas_in_sync == 1
    assert build_strategy("auto").num_replicas_in_sync == 1


def test_one_device_needs_no_strategy_for_several(monkeypatch):
    first, *_ = tf.config.list_logical_devices("CPU")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: [first] if kind == "CPU" else [])
    assert build_strategy("mirrored") is tf.distribute.get_strategy()


@pytest.mark.parametrize("jobs", [{"worker": ["a:1"]}, {"chief": ["a:1"]}])
def test_a_cluster_of_one_worker_is_a_process_that_trains_by_itself(monkeypatch, jobs):
    monkeypatch.setenv("TF_CONFIG", cluster(*jobs, **jobs))
    strategies._multi_worker.cache_clear()
    try:
        assert build_strategy("multi_worker") is tf.distribute.get_strategy()
        assert strategies.is_chief_of_cluster("multi_worker")
    finally:
        strategies._multi_worker.cache_clear()


def cluster(kind="worker", index=0, **jobs):
    return json.dumps({"cluster": jobs or {"worker": ["a:1", "b:1"]}, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    "text", [cluster(), cluster(index=1), cluster("chief", chief=["a:1"], worker=["b:1"]), cluster(worker=["a:1"])]
)
def test_a_cluster_of_workers_with_this_process_among_them_is_accepted(text):
    check_cluster(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs the environment variable TF_CONFIG; it must look like"),
        ("{", "TF_CONFIG is broken"),
        ("[]", "TF_CONFIG is broken"),
        ('{"cluster": {"worker": ["a:1"]}}', "TF_CONFIG is broken .KeyError..task"),
        ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}', "worker isn't a list of addresses"),
        (cluster(worker=[1, 2]), "worker isn't a list of addresses"),
        (cluster(["worker"]), "isn't in its cluster"),
        (cluster(index=2), "'index': 2} isn't in its cluster"),
        (cluster(index="0"), "'index': '0'} isn't in its cluster"),
        (cluster("ps"), "'type': 'ps', 'index': 0} isn't in its cluster"),
        (cluster(ps=["a:1"], worker=["b:1"]), "cluster has tasks ps, but only workers can train"),
        (cluster(chief=["a:1", "b:1"], worker=["c:1"]), "cluster has 2 chiefs"),
    ],
)
def test_any_other_cluster_is_refused_in_one_line_that_shows_the_form(text, message):
    with pytest.raises(InputError, match=message) as refusal:
        check_cluster(text)
    assert '"task": {"type": "worker", "index": 0}}' in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_multi_worker_without_tf_config_is_refused(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(InputError, match="TF_CONFIG"):
        build_strategy("multi_worker")


def test_multi_worker_must_come_before_tensorflow_has_done_anything(monkeypatch):
    tf.constant(0)
    monkeypatch.setenv("TF_CONFIG", cluster(worker=["127.0.0.1:1", "127.0.0.1:2"]))
    with pytest.raises(InputError, match="a process in which TensorFlow hasn't run anything yet"):
        build_strategy("multi_worker")


def test_a_batch_is_cut_into_neighbouring_rows_in_their_order():
    batches = tf.data.Dataset.from_tensor_slices({"x": tf.reshape(tf.range(16), [2, 4, 2])})
    parts = [part["x"].numpy().tolist() for part in strategies.split_batches(batches, 2)]
    assert parts == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11]], [[12, 13], [14, 15]]]


def test_replicas_of_one_process_share_the_whole_batch():
    strategy = build_strategy("mirrored")
    wanted = []

    def make_batches(rows=None):
        wanted.append(rows)
        return tf.data.Dataset.from_tensors(tf.range(8))

    batch = next(iter(strategies.distribute(strategy, make_batches, 8)))
    assert [values.numpy().tolist() for values in batch.values] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert wanted == [None]


@pytest.mark.parametrize("name", ["one", "mirrored"])
def test_a_process_that_trains_alone_is_the_chief_and_agrees_with_itself(name, tmp_path):
    strategy = build_strategy(name)
    assert strategies.is_chief(strategy)
    assert [strategies.any_worker(strategy)(flag) for flag in (False, True)] == [False, True]
    strategies.check_same_step(strategy, 7)
    with strategies.output_folder(strategy, str(tmp_path)) as folder:
        assert folder == str(tmp_path)


def test_rows_at_once_are_those_of_a_microbatch_on_every_replica_of_the_process():
    assert strategies.rows_at_once(24, 1) == 24
    assert strategies.rows_at_once(24, 4) == 6
    with build_strategy("mirrored").scope():
        assert strategies.rows_at_once(24, 1) == 24
        assert strategies.rows_at_once(24, 4) == 6


def test_replicas_share_the_rows_of_a_nest_and_get_the_models_whole():
    @tf.function
    def times(factor, batch):
        return factor * batch["x"] + batch["y"][:, 0]

    batch = {"x": tf.range(3), "y": tf.range(6)[:, None][::2]}
    found = strategies.replicated(build_strategy("mirrored"), times)(10, batch)
    assert found.numpy().tolist() == [0, 12, 24]


@pytest.mark.parametrize("num_rows", [1, 2, 5])
def test_replicas_share_the_rows_of_a_batch_and_give_them_back_in_order(num_rows):
    seen = []

    @tf.function
    def doubled(rows):
        seen.append(tf.distribute.get_replica_context().num_replicas_in_sync)
        return {"twice": 2 * rows, "sum": tf.reduce_sum(rows, axis=1)}

    rows = tf.reshape(tf.range(3 * num_rows), [num_rows, 3])
    results = strategies.replicated(build_strategy("mirrored"), doubled)(rows)
    assert results["twice"].numpy().tolist() == (2 * rows).numpy().tolist()
    assert results["sum"].numpy().tolist() == tf.reduce_sum(rows, axis=1).numpy().tolist()
    assert set(seen) == {2}
