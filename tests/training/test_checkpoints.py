"""Checkpoints: whole or not at all, and the moving average before the weights."""

import contextlib
import pathlib
import resource
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from vim_tf.errors import InputError
from vim_tf.training.checkpoints import Checkpoints, restore_model, save_model


def dense(value):
    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(300, name="layer")], name="model")
    model.set_weights([np.full(weight.shape, value, "float32") for weight in model.weights])
    return model


def checkpoints(folder, keep=3, **models):
    step = tf.Variable(0, dtype=tf.int64)
    return Checkpoints(str(folder), {**models, "step": step}, step, keep), step


def save_at(saver, step, *steps):
    for number in steps:
        step.assign(number)
        saver.save()


def value_of(model):
    return float(np.asarray(model.weights[0])[0, 0])


def test_the_latest_of_the_kept_checkpoints_comes_back(tmp_path):
    model = dense(0.0)
    saver, step = checkpoints(tmp_path, keep=2, model=model)
    for number in (1, 2, 3):
        model.set_weights(dense(float(number)).get_weights())
        save_at(saver, step, number)
    assert {path.name for path in tmp_path.glob("*.index")} == {"ckpt-2.index", "ckpt-3.index"}
    fresh = dense(9.0)
    assert checkpoints(tmp_path, model=fresh)[0].restore() == 3
    assert value_of(fresh) == 3


def test_a_truncated_checkpoint_is_refused_with_its_path_and_removing_it_resumes_from_the_one_before(tmp_path):
    saver, step = checkpoints(tmp_path, model=dense(1.0))
    save_at(saver, step, 1, 2)
    data = next(tmp_path.glob("ckpt-2.data*"))
    data.write_bytes(data.read_bytes()[:1000])
    for read in (checkpoints(tmp_path, model=dense(0.0))[0].restore, lambda: restore_model(str(tmp_path), dense(0.0))):
        with pytest.raises(InputError, match=r"ckpt-2 can't be read .*remove .*ckpt-2\.\*"):
            read()
    for path in tmp_path.glob("ckpt-2.*"):
        path.unlink()
    assert checkpoints(tmp_path, model=dense(0.0))[0].restore() == 1


def test_what_a_kill_left_half_written_is_skipped(tmp_path):
    saver, step = checkpoints(tmp_path, model=dense(1.0))
    save_at(saver, step, 1)
    (tmp_path / "ckpt-2_temp").mkdir()
    (tmp_path / "ckpt-2_temp" / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"half")
    (tmp_path / "ckpt-2.data-00000-of-00001").write_bytes(b"half")
    again, step = checkpoints(tmp_path, model=dense(0.0))
    assert again.restore() == 1
    save_at(again, step, 2)
    assert checkpoints(tmp_path, model=dense(0.0))[0].restore() == 2


@contextlib.contextmanager
def nearly_full_disk():
    """Files of over 100,000 bytes can't be written."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_fails_with_one_line_and_the_checkpoint_before_stays(tmp_path):
    model = dense(1.0)
    saver, step = checkpoints(tmp_path, model=model)
    save_at(saver, step, 1)
    with nearly_full_disk(), pytest.raises(OSError, match="ckpt-2 can't be written .*free some space") as failure:
        save_at(saver, step, 2)
    assert "\n" not in str(failure.value)
    assert not list(tmp_path.glob("*ckpt-2*"))
    fresh = dense(0.0)
    assert checkpoints(tmp_path, model=fresh)[0].restore() == 1
    assert value_of(fresh) == 1
    save_at(saver, step, 3)
    assert checkpoints(tmp_path, model=fresh)[0].restore() == 3


def test_saving_only_a_model_fails_with_one_line_on_a_full_disk_too(tmp_path):
    with nearly_full_disk(), pytest.raises(OSError, match="can't be written .*free some space") as failure:
        save_model(str(tmp_path), dense(1.0))
    assert "\n" not in str(failure.value)


def test_an_optimizer_that_scales_its_loss_comes_back_with_its_scale(tmp_path):
    def build():
        model = dense(1.0)
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(0.1), initial_scale=64.0)
        optimizer.build(model.trainable_variables)
        return model, optimizer

    model, optimizer = build()
    for value in (1.0, np.inf):  # the second halves the scale and does nothing else
        optimizer.apply([tf.fill(weight.shape, value) for weight in model.weights], model.trainable_variables)
    saver, step = checkpoints(tmp_path, model=model, optimizer=optimizer)
    save_at(saver, step, 2)

    fresh, fresh_optimizer = build()
    assert checkpoints(tmp_path, model=fresh, optimizer=fresh_optimizer)[0].restore() == 2
    assert float(fresh_optimizer.dynamic_scale) == 32
    pairs = zip(optimizer.inner_optimizer.variables, fresh_optimizer.inner_optimizer.variables, strict=True)
    for saved, restored in pairs:
        np.testing.assert_array_equal(saved, restored, err_msg=saved.path)


def test_the_moving_average_is_what_is_loaded_where_there_is_one(tmp_path):
    saver, step = checkpoints(tmp_path, model=dense(1.0), ema=dense(2.0))
    save_at(saver, step, 1)
    model = dense(0.0)
    restore_model(str(tmp_path), model)
    assert value_of(model) == 2


def test_a_model_without_a_training_comes_back_and_another_one_is_refused(tmp_path):
    save_model(str(tmp_path), dense(3.0))
    model = dense(0.0)
    restore_model(str(tmp_path), model)
    assert value_of(model) == 3
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="other")])
    with pytest.raises(InputError, match="can't be read"):
        restore_model(str(tmp_path), other)


def test_a_folder_without_checkpoints_says_what_to_do(tmp_path):
    assert checkpoints(tmp_path, model=dense(0.0))[0].restore() == 0
    with pytest.raises(InputError, match="no checkpoint: train the stage first"):
        restore_model(str(pathlib.Path(tmp_path)), dense(0.0))
