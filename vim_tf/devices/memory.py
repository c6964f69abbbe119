"""How the process returns freed memory to the system."""

import ctypes
import sys

# glibc's numbers for malloc's options (malloc.h): free bytes at the top of the heap before they are returned, bytes by
# which the heap grows beyond what is requested, and how many allocations may be separate mappings.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory():
    """Makes the C library keep freed memory for the next step instead of returning it to the system.

    Every training step allocates and frees large activations; whenever that memory comes from the system, each of its
    pages is cleared and mapped again. The process never shrinks from its largest size.

    Returns:
        Whether the C library accepted the options; only glibc has them.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # A threshold of -1 is never reached.
    taken = [mallopt(*option) for option in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 256 * 2**20))]
    return all(taken)
