"""The kind of device that models run on, which decides between two forms of the same computation."""

import keras


def on_cpu():
    """Whether there are only CPUs, for which this project has its own kernels.

    Called while a graph is traced, and the graph keeps the answer: an exported model computes the same on any device,
    in the form of the device that it was exported on.

    Returns:
        bool.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "cpu"
    import tensorflow as tf

    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())
