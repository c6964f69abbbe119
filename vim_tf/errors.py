"""The one error that means: what the user gave can't be used."""

import zipfile
import zlib

# What NumPy and zipfile raise where an .npz file is damaged. RuntimeError, of which NotImplementedError is one: its
# headers may claim that it is encrypted or packed by an unknown method.
BROKEN_NPZ = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class InputError(ValueError):
    """Unusable flags, files or folders.

    The message is one line: what is wrong, where, and what to do. Commands print it without a traceback and leave
    with status 2.
    """
