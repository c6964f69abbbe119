"""Whether a computation is compiled with XLA.

XLA's kernels and TensorFlow's own round differently, so the choice determines the bits of a result. It is fixed, never
based on a timing, and callers record it.
"""

import functools
import pathlib

import tensorflow as tf

# Whether XLA is faster, by device and precision.
_XLA_IS_FASTER = {
    ("cpu", "float32"): True,
    ("cpu", "mixed_bfloat16"): True,
    ("cpu", "mixed_float16"): True,
    # Here XLA widens the operands of products, while TensorFlow uses instructions for bfloat16.
    ("cpu_bfloat16", "float32"): True,
    ("cpu_bfloat16", "mixed_bfloat16"): False,
    ("cpu_bfloat16", "mixed_float16"): True,
}


def choose(setting, precision):
    """What a setting means on the devices of the current tf.distribute strategy.

    Args:
        setting: auto, on or off.
        precision: float32, mixed_bfloat16 or mixed_float16.

    Returns:
        on or off; on accelerators, auto is always on.
    """
    if setting != "auto":
        return setting
    return "on" if _XLA_IS_FASTER.get((device_kind(), precision), True) else "off"


def compiles_parts(choice):
    """Whether parts of a step should be compiled on their own: under TPUStrategy, the whole step is compiled."""
    return choice == "on" and device_kind() != "tpu"


def device_kind():
    """What the current strategy runs on: tpu, gpu, cpu_bfloat16 (with instructions for products of bfloat16) or cpu."""
    if isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
        return "tpu"
    if tf.config.list_logical_devices("GPU"):
        return "gpu"
    return "cpu_bfloat16" if _has_bfloat16_products() else "cpu"


@functools.cache
def _has_bfloat16_products():
    try:
        described = pathlib.Path("/proc/cpuinfo").read_text().split()
    except OSError:  # not Linux
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(described)
