"""Checkpoints of a training run."""

import keras
import tensorflow as tf

from vim_tf.errors import InputError


def _trackable(value):
    """A Keras model's weights by path, anything else as it is.

    TensorFlow doesn't see layers that a Keras 3 model keeps in a list, and restoring passes them over in silence.
    """
    if isinstance(value, keras.Model):
        return tf.train.Checkpoint(**{weight.path: weight.value for weight in value.weights})
    return value


class Checkpoints:
    """The last checkpoints of a run, in `<workdir>/checkpoints`.

    A checkpoint counts once its state file names it, which is written last; what a killed process left half-written is
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

    def restore(self):
        """Restores the latest checkpoint.

        Returns:
            int, its step; 0 where there is none.

        Raises:
            InputError: the checkpoint can't be read or is of another model.
        """
        latest = self._manager.latest_checkpoint
        if latest is None:
            return 0
        try:
            self._checkpoint.restore(latest).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise InputError(
                f"{latest} can't be restored ({str(error).splitlines()[0]}); remove it to go on from the one before"
            ) from error
        return int(self._step.numpy())

    def save(self):
        """Writes a checkpoint of the current step, unless there is one."""
        step = int(self._step.numpy())
        if self._manager.latest_checkpoint != f"{self._manager.directory}/ckpt-{step}":
            self._manager.save(checkpoint_number=step)


def restore_model(folder, model):
    """Restores a model alone from the latest checkpoint of a folder.

    Args:
        folder: str, a run's `checkpoints`.
        model: the built model.

    Raises:
        InputError: there is no checkpoint, or it is of another model.
    """
    latest = tf.train.latest_checkpoint(folder)
    if latest is None:
        raise InputError(f"{folder} holds no checkpoint: train the stage first")
    try:
        status = tf.train.Checkpoint(model=_trackable(model)).restore(latest)
        status.assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise InputError(f"{latest} can't be read: {str(error).splitlines()[0]}") from error


def save_model(folder, model):
    """Writes a checkpoint of a model alone, which `restore_model` reads."""
    checkpoint = tf.train.Checkpoint(model=_trackable(model))
    tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1).save(checkpoint_number=0)
