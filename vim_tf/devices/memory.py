"""How the process gives freed memory back."""

import ctypes
import sys

# glibc's numbers of malloc's options (malloc.h): bytes free at the top of the heap before they are returned, bytes by
# which the heap grows beyond what is asked for, and how many allocations may be mappings of their own.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory():
    """Lets the C library keep freed memory for the next step instead of giving it back to the system.

    A training step frees and takes large activations again and again; each time that they come from the system, every
    page of them is cleared and mapped anew. The process stays as large as it was at its largest.

    Returns:
        Whether the C library took it; only glibc can.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # A threshold of -1 is never reached.
    taken = [mallopt(*option) for option in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 256 * 2**20))]
    return all(taken)
