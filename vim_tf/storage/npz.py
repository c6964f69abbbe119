"""Reading and writing arrays in .npz files; reading runs no code from them."""

import contextlib
import io
import zipfile

import numpy as np
import tensorflow as tf

from vim_tf.errors import InputError, one_line
from vim_tf.storage.files import read_file, write_whole

# How many characters of NumPy's message about a damaged file are shown, and how many wrong arrays are named.
_REASON_LENGTH = 200
_ARRAYS_SHOWN = 5


def write(path, arrays, compressed=False):
    """Writes a file that appears whole or not at all.

    Args:
        path: str.
        arrays: dict from name to array.
        compressed: bool.
    """
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, **arrays)
    write_whole(path, content.getvalue())


def read(path, name="", advice=""):
    """All arrays of a file: dict from name to array.

    Args:
        path: str.
        name: str, what messages call the file, such as its flag and value; empty = its path.
        advice: str, what to do about a file that can't be read, for messages; may be empty.

    Raises:
        InputError: it is missing or damaged, or holds Python objects or something other than arrays.
    """
    with _refusals(name or path, advice):
        content = read_file(path)
        # NumPy takes any other file for a pickle, and its message advises loading it as one.
        if not content.startswith(b"PK"):
            raise ValueError("it isn't a zip archive")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = dict(archive)
        for member, values in arrays.items():
            if not isinstance(values, np.ndarray):
                raise ValueError(f"{member} in it isn't an array")
    return arrays


def check_shapes(arrays, shapes, what):
    """Refuses arrays that aren't exactly the expected ones.

    Args:
        arrays: dict from name to array.
        shapes: dict from name to tuple of int.
        what: str, where the arrays come from; the message starts with it.

    Raises:
        InputError: an array is missing or unknown, has another shape, or isn't numeric.
    """
    wrong = [f"{name} is missing" for name in shapes if name not in arrays]
    wrong += [f"{name} is unknown" for name in arrays if name not in shapes]
    for name, shape in shapes.items():
        if name not in arrays:
            continue
        if tuple(arrays[name].shape) != shape:
            wrong.append(f"{name} is {tuple(arrays[name].shape)}, not {shape}")
        elif not np.issubdtype(arrays[name].dtype, np.number):
            wrong.append(f"{name} is of type {arrays[name].dtype}, which isn't numeric")
    if wrong:
        more = f"; and {len(wrong) - _ARRAYS_SHOWN} more" if len(wrong) > _ARRAYS_SHOWN else ""
        raise InputError(f"{what} doesn't hold the expected weights: {'; '.join(wrong[:_ARRAYS_SHOWN])}{more}")


def names(path, name=""):
    """Names of the arrays in a file, without reading them: set of str. Arguments and errors as in `read`."""
    with _refusals(name or path), tf.io.gfile.GFile(path, "rb") as file, zipfile.ZipFile(file) as archive:
        return {member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")}


class Rows:
    """One array of a file, opened for reading in blocks along its first axis.

    Attributes:
        shape: tuple of int.
        dtype: numpy dtype.
    """

    def __init__(self, member, shape, dtype, name):
        self.shape = shape
        self.dtype = dtype
        self._member = member
        self._name = name

    def blocks(self, size):
        """Yields arrays of the next `size` rows; the last one has the rest.

        Raises:
            InputError: the file is damaged.
        """
        for start in range(0, self.shape[0], size):
            count = min(size, self.shape[0] - start)
            with _refusals(self._name):
                content = self._member.read(count * _row_bytes(self.shape, self.dtype))
                rows = np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])
            yield rows


@contextlib.contextmanager
def open_rows(path, array, name=""):
    """Context manager for one array of a file, which may be too large for memory.

    Args:
        path: str.
        array: str, name of an array with at least one axis.
        name: as in `read`.

    Yields:
        Rows.

    Raises:
        InputError: as in `read`; or the array is stored in column order, or is cut off.
    """
    name = name or path
    # The caller's block may raise any error for its own reasons, which must not be taken for a damaged file.
    with contextlib.ExitStack() as stack:
        with _refusals(name):
            file = stack.enter_context(tf.io.gfile.GFile(path, "rb"))
            archive = stack.enter_context(zipfile.ZipFile(file))
            member = stack.enter_context(archive.open(f"{array}.npy"))
            shape, by_columns, dtype = _read_header(member)
            available = archive.getinfo(f"{array}.npy").file_size - member.tell()
            if by_columns or not shape or dtype.hasobject:
                raise ValueError(f"{array} is {dtype} {shape}, which can't be read row by row")
        if available < shape[0] * _row_bytes(shape, dtype):
            whole = available // _row_bytes(shape, dtype)
            raise InputError(f"{name}: {array} is cut off after {whole} of {shape[0]} rows")
        yield Rows(member, shape, dtype, name)


def _row_bytes(shape, dtype):
    return int(np.prod(shape[1:], dtype=object)) * dtype.itemsize


def _read_header(member):
    """(shape, whether it is in Fortran order, dtype) of an array file."""
    version = np.lib.format.read_magic(member)
    known = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in known:
        raise ValueError(f"it holds an array of the unknown format {version}")
    return known[version](member)


@contextlib.contextmanager
def _refusals(name, advice=""):
    """Turns what a missing or damaged file raises into an InputError."""
    advice = f"; {advice}" if advice else ""
    try:
        yield
    except Exception as error:  # damaged bytes make NumPy, zipfile and the decompressors raise unrelated classes
        raise InputError(f"{name} can't be read as an .npz file: {one_line(error, _REASON_LENGTH)}{advice}") from error
