"""What models run on, where that decides between two forms of the same computation."""

import keras


def on_cpu():
    """Whether there is nothing but CPUs, for which this project has kernels of its own.

    It is asked while a graph is made, and the graph keeps the answer: an exported model computes the same on any
    device, in the form of the device that it was exported on.

    Returns:
        bool.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "cpu"
    import tensorflow as tf

    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())
