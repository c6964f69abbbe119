"""Computations in a special form for CPUs: attention with its own gradient, products of a few rows."""

from vim_tf.models.cpu.attention import attend
from vim_tf.models.cpu.packed_kernels import PackedKernels

__all__ = ["PackedKernels", "attend"]
