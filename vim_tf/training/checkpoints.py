"""Checkpoints of a training run."""

import keras
import tensorflow as tf

from vim_tf.errors import InputError, one_line

# TensorFlow's reader raises any of these for a damaged file.
_READ_ERRORS = (AssertionError, ValueError, IndexError, RuntimeError, tf.errors.OpError)


def _trackable(value):
    """A Keras model's weights by path, anything else unchanged.

    TensorFlow doesn't track layers that a Keras 3 model keeps in a list, and restoring silently skips them.
    """
    if isinstance(value, keras.Model):
        return tf.train.Checkpoint(**{weight.path: weight.value for weight in value.weights})
    return value


class Checkpoints:
    """The last checkpoints of a run, in `<workdir>/checkpoints`.

    A checkpoint counts once the state file, which is written last, names it; what a killed process left half-written is
    overwritten by the next one.

    Args:
        folder: str.
        objects: dict from name to Keras model or trackable; `model` is what the other commands load.
        step: int variable that counts training steps.
        keep: int, checkpoints kept.
    """

    def __init__(self, folder, objects, step, keep):
        self._step = step
        self._checkpoint = tf.train.Checkpoint(**{name: _trackable(value) for name, value in objects.items()})
        self._manager = tf.train.CheckpointManager(self._checkpoint, folder, max_to_keep=keep)

    def restore(self, folder=None):
        """Restores the latest checkpoint.

        Args:
            folder: str, another folder to restore from than the one that is written to.

        Returns:
            int, its step; 0 where there is no checkpoint.

        Raises:
            InputError: the checkpoint can't be read or is of another model.
        """
        latest = _latest(folder or self._manager.directory)
        if latest is None:
            return 0
        try:
            self._checkpoint.restore(latest).assert_consumed()
        except _READ_ERRORS as error:
            raise _unreadable(latest, error) from error
        return int(self._step.numpy())

    def save(self):
        """Writes a checkpoint of the current step, unless there is one.

        Raises:
            OSError: it can't be written; earlier ones are unchanged.
        """
        step = int(self._step.numpy())
        if _latest(self._manager.directory) != f"{self._manager.directory}/ckpt-{step}":
            _save(self._manager, step)


def restore_model(folder, model):
    """Restores only a model from a folder's latest checkpoint: the moving average of its weights if there is one.

    Args:
        folder: str, a run's `checkpoints`.
        model: the built model.

    Raises:
        InputError: there is no checkpoint, or it is of another model.
    """
    latest = _latest(folder)
    if latest is None:
        raise InputError(f"{folder} holds no checkpoint: train the stage first")
    try:
        names = tf.train.load_checkpoint(latest).get_variable_to_shape_map()
        kept_as = "ema" if any(name.startswith("ema/") for name in names) else "model"
        status = tf.train.Checkpoint(**{kept_as: _trackable(model)}).restore(latest)
        status.assert_existing_objects_matched().expect_partial()
    except _READ_ERRORS as error:
        raise _unreadable(latest, error) from error


def _latest(folder):
    """Path of the latest checkpoint that the folder's state file names and whose files exist, or None."""
    state = tf.train.get_checkpoint_state(folder)
    paths = state.all_model_checkpoint_paths if state else []
    return next((path for path in reversed(paths) if tf.io.gfile.exists(f"{path}.index")), None)


def _remove_half_written(path):
    for leftover in tf.io.gfile.glob([f"{path}.*", f"{path}_temp*"]):
        if tf.io.gfile.isdir(leftover):
            tf.io.gfile.rmtree(leftover)
        else:
            tf.io.gfile.remove(leftover)


def _unreadable(path, error):
    return InputError(
        f"checkpoint {path} can't be read ({one_line(error, lines=1)}); if there is an earlier one, remove {path}.* to "
        "resume from that"
    )


def save_model(folder, model):
    """Writes a checkpoint of only a model, which `restore_model` reads.

    Raises:
        OSError: it can't be written.
    """
    checkpoint = tf.train.Checkpoint(model=_trackable(model))
    _save(tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1), 0)


def _save(manager, number):
    path = f"{manager.directory}/ckpt-{number}"
    try:
        manager.save(checkpoint_number=number)
    except (OSError, tf.errors.OpError) as error:
        _remove_half_written(path)
        raise OSError(
            f"checkpoint {path} can't be written ({one_line(error, lines=1)}); free some space or make the path "
            "writable, and run the same command again: it resumes from the latest complete checkpoint"
        ) from error
