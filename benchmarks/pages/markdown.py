"""Helpers shared by the benchmarks' Markdown pages."""

import os
import platform


def line(cells):
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def minutes(seconds):
    """A duration as people read it."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d} minutes"


def machine():
    """Processor and versions, in a sentence."""
    import tensorflow as tf

    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        name = names[0] if names else name
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {name}; TensorFlow {tf.__version__}, Python {platform.python_version()}."
