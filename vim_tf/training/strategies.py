"""Where a training step runs."""

import functools

import tensorflow as tf

from vim_tf.errors import InputError


def build_strategy(name, tpu=""):
    """A tf.distribute strategy.

    Args:
        name: auto (every GPU that TensorFlow sees, else the CPU), one (a single device), mirrored (every GPU, or every
            logical CPU where there is no GPU) or tpu.
        tpu: name or address of the TPU; empty = the local one.

    Raises:
        InputError: the TPU can't be reached.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return _mirrored(tuple(device.name for device in devices))
    if name == "tpu":
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(tpu)
        except (ValueError, tf.errors.OpError) as error:
            raise InputError(f"no TPU at {tpu or 'this machine'}; --tpu=<name> says which one: {error}") from error
        return tf.distribute.TPUStrategy(resolver)
    return tf.distribute.get_strategy()


@functools.cache
def _mirrored(devices):
    """The process's one MirroredStrategy on these devices.

    Each one counts its collectives from the same number, and TensorFlow would take those of a second strategy for
    further members of the first one's: a pipeline that trains two stages in one process fails or hangs.
    """
    return tf.distribute.MirroredStrategy(list(devices))
