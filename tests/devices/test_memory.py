"""`keep_freed_memory`, in a separate process, since it can't be undone."""

import subprocess
import sys

import pytest

# Allocates and frees 64 MB ten times; prints how many page faults that takes.
_SCRIPT = """
import ctypes, resource, sys
from vim_tf.devices.memory import keep_freed_memory
assert sys.argv[1] == "plain" or keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def take():
    block = libc.malloc(ctypes.c_size_t(64 * 2**20))
    ctypes.memset(block, 1, 64 * 2**20)
    libc.free(block)
take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _page_faults(mode):
    return int(subprocess.run([sys.executable, "-c", _SCRIPT, mode], capture_output=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has these options")
def test_freed_memory_is_reused_without_page_faults():
    assert _page_faults("kept") < 100 < _page_faults("plain")
