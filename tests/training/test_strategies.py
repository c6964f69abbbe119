"""Which strategy a name gives."""

import tensorflow as tf

from vim_tf.training.strategies import build_strategy


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
