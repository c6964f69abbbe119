"""Steps in one execution, means of metrics, and replicas; test_tokenizer_trainer.py has what a step computes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.testing import assert_equal_weights
from tests.training import replica_training, workers
from tests.training.test_language_model_trainer import BATCH, build_trainer


def fit(trainer, num_steps, steps_per_execution):
    """Trains on batches that differ; returns the values at the end of each execution: list of (step, metrics)."""
    import keras

    seen = []
    trainer.compile(optimizer=trainer.optimizer, steps_per_execution=steps_per_execution)
    batches = tf.data.Dataset.range(num_steps).map(
        lambda step: BATCH | {"tokens": (BATCH["tokens"] + tf.cast(step, tf.int32)) % 16}
    )
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append((batch + 1, {k: float(v) for k, v in logs.items()}))
    )
    trainer.fit(batches.repeat(), steps_per_epoch=num_steps, shuffle=False, verbose=0, callbacks=[record])
    return seen


@pytest.mark.parametrize("jit_compile", [False, True])
def test_several_steps_in_one_execution_equal_separate_executions_bit_for_bit(jit_compile):
    single, three = (build_trainer(None, jit_compile) for _ in range(2))

    one_by_one, together = fit(single, 6, 1), fit(three, 6, 3)

    assert int(single.step) == int(three.step) == 6
    assert_equal_weights(single.language_model, three.language_model)
    for mine, other in zip(single.optimizer.variables, three.optimizer.variables, strict=True):
        np.testing.assert_array_equal(mine, other, err_msg=mine.path)
    # The means are over all steps since the last reset, and are seen only at the ends of executions.
    assert together == [one_by_one[2], one_by_one[5]]


def test_metrics_are_means_over_the_steps_since_the_last_reset():
    trainer = build_trainer()
    names = ("language_model/loss", "language_model/bits_per_token", "language_model/gradient_norm")
    for loss, norm in ((1.0, (4.0, 1.0)), (2.0, (0.0, 0.0)), (6.0, (8.0, 1.0))):
        trainer.update_means(dict(zip(names, (loss, tf.constant(2.0), norm), strict=True)))
    means = {name: float(value) for name, value in trainer.means().items()}
    assert means == dict(zip(names, (3.0, 2.0, 6.0), strict=True))  # a value without weight doesn't count

    trainer.reset_metrics()
    assert [float(value) for value in trainer.means().values()] == [0.0] * 3


def test_a_metric_that_is_missing_or_unknown_is_refused():
    trainer = build_trainer()
    with pytest.raises(ValueError, match="not \\['language_model/loss', 'loss'\\]"):
        trainer.update_means({"language_model/loss": 1.0, "loss": 1.0})


# Replicas sum float32 in another order; a moment in int8 can round to the next of its 126 levels.
TOLERANCE = {"adamw": 2e-6, "factored_adam": 1e-4}


def check_equal_with_one_reduction(found, num_replicas):
    assert found["replicas"] == num_replicas
    assert len(found["cases"]) == len(replica_training.CASES)
    for case, result in found["cases"].items():
        assert result["weights"] < TOLERANCE[case.split("/")[1]], (case, result)
        assert result["metrics"] < 1e-4, (case, result)
        assert result.get("together", 0.0) == 0.0, (case, result)
        if num_replicas > 1:
            assert result["collectives"] == {"CollectiveReduceV2": 1, "reductions": 1}, (case, result)
        else:
            assert result["collectives"].get("CollectiveReduceV2", 0) == 0, (case, result)


@pytest.mark.slow
@pytest.mark.parametrize("num_replicas", [1, 2, 3])
def test_replicas_train_like_one_device_with_the_whole_batch_and_reduce_once(tmp_path, num_replicas):
    command = [sys.executable, replica_training.__file__, str(tmp_path / "found.json"), str(num_replicas)]
    subprocess.run(command, check=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    check_equal_with_one_reduction(json.loads((tmp_path / "found.json").read_text()), num_replicas)


@pytest.mark.slow
def test_two_workers_train_like_one_device_with_the_whole_batch_and_reduce_once(tmp_path):
    statuses, errors = workers.run_two(replica_training.__file__, tmp_path, tmp_path / "found.json", "workers")
    assert statuses == [0, 0], errors
    check_equal_with_one_reduction(json.loads((tmp_path / "found.json").read_text()), 2)
