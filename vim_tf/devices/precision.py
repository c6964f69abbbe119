"""The dtype in which activations are computed."""

import contextlib

import keras


@contextlib.contextmanager
def precision(name):
    """Context manager in which layers are created with a dtype policy.

    Args:
        name: float32, mixed_bfloat16 or mixed_float16.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
