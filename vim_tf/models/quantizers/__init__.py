"""Latents to tokens and back: six kinds of quantizers behind one interface, `Quantizer`."""

from vim_tf.models.quantizers.base import Quantized, Quantizer, normalize
from vim_tf.models.quantizers.gumbel import GumbelQuantizer
from vim_tf.models.quantizers.residual import ResidualQuantizer
from vim_tf.models.quantizers.scalar import FiniteScalarQuantizer, LookupFreeQuantizer
from vim_tf.models.quantizers.vector import EMAVectorQuantizer, VectorQuantizer

__all__ = [
    "QUANTIZERS",
    "EMAVectorQuantizer",
    "FiniteScalarQuantizer",
    "GumbelQuantizer",
    "LookupFreeQuantizer",
    "Quantized",
    "Quantizer",
    "ResidualQuantizer",
    "VectorQuantizer",
    "make_quantizer",
    "normalize",
]

QUANTIZERS = {
    "vq": VectorQuantizer,
    "ema": EMAVectorQuantizer,
    "gumbel": GumbelQuantizer,
    "residual": ResidualQuantizer,
    "fsq": FiniteScalarQuantizer,
    "lfq": LookupFreeQuantizer,
}


def make_quantizer(kind, **arguments):
    """The quantizer of a kind, not yet built.

    Args:
        kind: one of QUANTIZERS.
        **arguments: those of its constructor.

    Raises:
        ValueError: the kind is unknown, or its constructor refuses an argument.
    """
    if kind not in QUANTIZERS:
        raise ValueError(f"quantizer must be one of {', '.join(QUANTIZERS)}, not {kind!r}")
    return QUANTIZERS[kind](**arguments)
