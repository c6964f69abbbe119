"""Finds the files of a source that can't be read: each file is decoded once when the source is opened.

A decoding error inside a tf.data graph can't be caught and doesn't name the file, so it has to be found beforehand.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import io
import os
import struct
import time
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging
from PIL import Image, ImageOps

from vim_tf.data.images import headers
from vim_tf.data.images.decode import NO_FORMAT, decode_image, refusal
from vim_tf.data.images.fit import decode_and_fit
from vim_tf.errors import InputError, one_line
from vim_tf.storage.files import FAILURES, message_of

# A set is kept in memory if it takes less than this, decoded and fitted, including its encoded files if they are kept.
MEMORY_LIMIT_BYTES = 1 << 30

# Formats that `decode_image` reads. If it refuses such a file, the file is damaged, even if Pillow can read it.
_FORMATS_OF_TENSORFLOW = ("JPEG", "MPO", "PNG", "GIF", "WEBP")
# Reasons of `decode_image` for files that Pillow may be able to read.
_FOR_PILLOW = (NO_FORMAT, headers.UNUSUAL_BMP)
# Formats tried for the rest. BMP is among them because TensorFlow reads only its most common kinds.
_FORMATS_OF_PILLOW = ("BMP", "TIFF", "PPM", "JPEG2000", "AVIF")

# Tags of TIFF.
_IMAGE_WIDTH, _IMAGE_LENGTH, _STRIP_OFFSETS, _ROWS_PER_STRIP = 256, 257, 273, 278
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS = 322, 323, 324
_JPEG2000_START = b"\xff\x4f\xff\x51"

_PROGRESS_SECONDS = 10
_FILES_NAMED = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Examined:
    """Result of decoding every example of a source.

    Attributes:
        readable: bool array [examples].
        converted: bool array [examples], those that TensorFlow can't read but Pillow can.
        images: uint8 tensor [readable examples, height, width, 3], or None where they would take too much memory.
        encoded: string tensor [readable examples], files that `decode_image` reads, or None for the same reason or if
            they weren't to be kept.
        unreadable: list of "<path>: <reason>".
    """

    readable: np.ndarray
    converted: np.ndarray
    images: tf.Tensor | None
    encoded: tf.Tensor | None
    unreadable: list[str]

    def rows(self, indices):
        """int array: rows of `images` and `encoded` that hold the readable examples of the given numbers."""
        return (np.cumsum(self.readable) - 1)[indices]


def examine(name, examples, height, width, max_pixels, total=None, keep_encoded=False):
    """Decodes examples, several at a time, and determines which can be read.

    Args:
        name: str, of the source, for the log.
        examples: iterable of (path str, function without arguments that returns the encoded file, or raises a
            ValueError that says in one line why there is none).
        height, width: int, pixels.
        max_pixels: int, as in `decode_image`.
        total: int, number of examples if known, for the log.
        keep_encoded: bool, whether the files themselves are wanted too, as they can't be read in any order again.

    Returns:
        Examined.
    """
    decode = compiled_decoder(height, width, max_pixels)
    readable, converted, images, encoded, unreadable = [], [], [], [], []
    memory_left = MEMORY_LIMIT_BYTES
    last_progress = time.monotonic()
    for path, (image, image_bytes, is_converted, reason) in decode_in_threads(
        examples, lambda image_bytes: decode(tf.constant(image_bytes)).numpy(), max_pixels
    ):
        readable.append(reason is None)
        converted.append(is_converted)
        if reason is not None:
            unreadable.append(f"{path}: {reason}")
            logging.warning("%s: left out %s", name, unreadable[-1])
        elif memory_left >= 0:
            memory_left -= image.nbytes + keep_encoded * len(image_bytes)
            images.append(image)
            encoded.extend([image_bytes] * keep_encoded)
        if memory_left < 0:
            images.clear()
            encoded.clear()
        if time.monotonic() - last_progress > _PROGRESS_SECONDS:
            last_progress = time.monotonic()
            logging.info("%s: checked %d%s images", name, len(readable), f" of {total}" if total else "")
    stacked = files = None
    if images:
        array = np.stack(images)
        images.clear()  # they may take a gigabyte
        with tf.device("CPU:0"):
            stacked = tf.constant(array)
            files = tf.constant(encoded) if keep_encoded else None
    return Examined(np.array(readable, bool), np.array(converted, bool), stacked, files, unreadable)


def check_unreadable(name, unreadable, total, max_fraction):
    """Refuses a source with too many unreadable files.

    Raises:
        InputError: there are more than the fraction of `total`, or no readable one is left; names the first few.
    """
    if len(unreadable) == total:
        limit = "so nothing is left"
    elif len(unreadable) > max_fraction * total:
        limit = f"more than the share {max_fraction:g} that --data.max_unreadable_fraction allows"
    else:
        return
    named = "; ".join(unreadable[:_FILES_NAMED])
    more = f"; and {len(unreadable) - _FILES_NAMED} more" if len(unreadable) > _FILES_NAMED else ""
    raise InputError(
        f"{name}: {len(unreadable)} of {total} images can't be read, {limit} ({named}{more}); "
        "fix or remove them, or raise --data.max_unreadable_fraction"
    )


def convert_to_png(image_bytes, max_pixels):
    """Turns a file that only Pillow can read into a PNG that `decode_image` reads.

    Args:
        image_bytes: bytes.
        max_pixels: int, limit of what a file's headers may claim; read before anything is decoded.

    Returns:
        bytes.

    Raises:
        ValueError: Pillow can't read it either, it has too many pixels, or they have no known range; the message is one
            line.
    """
    try:
        with Image.open(io.BytesIO(image_bytes), formats=_known_formats()) as opened:
            for width, height in _claimed_sizes(opened, image_bytes):
                if width * height > max_pixels:
                    raise ValueError(f"{width} x {height} pixels are more than max_pixels = {max_pixels}")
            if opened.info.get("compression") == "jpeg":
                _check_jpeg_parts(opened, image_bytes)
            opened.load()
            if opened.format in _FORMATS_OF_TENSORFLOW:
                raise ValueError(f"damaged {opened.format} file")
            image = _to_png_mode(ImageOps.exif_transpose(opened))
    except Image.UnidentifiedImageError:
        raise ValueError("not an image of a known format" if image_bytes else "empty file") from None
    except Exception as error:
        # Parsing a broken file can make Pillow's readers raise any exception.
        raise ValueError(one_line(error)) from error
    image.info.clear()  # it has been applied already
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def convert_if(is_needed, image_bytes, max_pixels):
    """Graph form of `convert_to_png`, applied where `is_needed` (bool []) says so; not for exported models."""

    def convert():
        to_png = functools.partial(convert_to_png, max_pixels=max_pixels)
        return tf.ensure_shape(tf.numpy_function(to_png, [image_bytes], tf.string, stateful=False), [])

    return tf.cond(is_needed, convert, lambda: image_bytes)


@functools.lru_cache(maxsize=4)
def compiled_decoder(height, width, max_pixels):
    """`decode_and_fit` for one size as a tf.function, traced once: that takes about a second."""
    return tf.function(
        lambda image_bytes: decode_and_fit(image_bytes, height, width, max_pixels),
        input_signature=[tf.TensorSpec([], tf.string)],
    )


@functools.cache
def original_decoder(max_pixels):
    """`decode_image` as a tf.function, traced once."""
    return tf.function(
        lambda image_bytes: decode_image(image_bytes, max_pixels),
        input_signature=[tf.TensorSpec([], tf.string)],
    )


class Decoded(NamedTuple):
    """Result of decoding an encoded image.

    Attributes:
        value: what `decode` made of it; None where it can't be read.
        encoded: bytes, a file that `decode_image` reads.
        is_converted: bool, whether TensorFlow couldn't read it and `encoded` is a PNG that Pillow made of it.
        problem: str, why it can't be read, in one line; None = it can.
    """

    value: Any
    encoded: bytes
    is_converted: bool
    problem: str | None


def decode_in_threads(examples, decode, max_pixels):
    """Decodes several examples at a time, in order, and a bounded number ahead.

    Args:
        examples: iterable of (anything, function that returns the encoded file), as in `examine`.
        decode: function from an encoded file, bytes, to anything; raises OpError where it can't be read.
        max_pixels: int, as `decode` knows it too, for files that Pillow reads.

    Yields:
        (the first part of the example, Decoded).
    """
    return _in_threads(lambda load: decode_once(load, decode, max_pixels), examples)


def decode_once(load, decode, max_pixels):
    """Decoded of what `load` returns; arguments as in `decode_in_threads`."""
    try:
        image_bytes = load()
    except (*FAILURES, ValueError) as error:
        return _unreadable(error)
    try:
        return Decoded(decode(image_bytes), image_bytes, False, None)
    except FAILURES as error:
        if refusal(error) not in ("", *_FOR_PILLOW):
            return _unreadable(error)
    try:
        image_bytes = convert_to_png(image_bytes, max_pixels)
        return Decoded(decode(image_bytes), image_bytes, True, None)
    except (*FAILURES, ValueError) as error:
        return _unreadable(error)


def _unreadable(error):
    """Decoded of a file that raised an OpError or ValueError, the reason in one line."""
    reason = one_line(message_of(error) if isinstance(error, FAILURES) else error)
    return Decoded(None, b"", False, refusal(error) or reason)


def _claimed_sizes(opened, image_bytes):
    """Yields each (width, height) for which a file's headers make a decoder allocate memory.

    Args:
        opened: Pillow's image, not loaded.
        image_bytes: bytes, the file.
    """
    yield opened.size
    if opened.format == "TIFF" and {_TILE_WIDTH, _TILE_LENGTH} <= set(opened.tag_v2):
        yield tuple(int(opened.tag_v2[tag]) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    if opened.format == "JPEG2000":
        # The box before the codestream, which Pillow reads, may give a different size than the codestream.
        start = image_bytes.find(_JPEG2000_START)
        if start >= 0 and len(image_bytes) >= start + 24:
            right, bottom, left, top = struct.unpack(">4I", image_bytes[start + 8 : start + 24])
            yield max(right - left, 0), max(bottom - top, 0)


def _check_jpeg_parts(opened, image_bytes):
    """Refuses a TIFF with a strip or tile whose JPEG is smaller than that: the decoder leaves the rest as it finds it.

    Args:
        opened, image_bytes: as in `_claimed_sizes`.

    Raises:
        ValueError: there is such a part.
    """
    tags = opened.tag_v2
    width, rows = tags[_IMAGE_WIDTH], min(tags.get(_ROWS_PER_STRIP, tags[_IMAGE_LENGTH]), tags[_IMAGE_LENGTH])
    starts, per_plane = tags.get(_STRIP_OFFSETS), -(-tags[_IMAGE_LENGTH] // max(rows, 1))
    is_tiled = _TILE_WIDTH in tags
    if is_tiled:
        width, rows, starts = tags[_TILE_WIDTH], tags[_TILE_LENGTH], tags.get(_TILE_OFFSETS)
    for index, start in enumerate(starts or ()):
        left = rows if is_tiled else tags[_IMAGE_LENGTH] - index % per_plane * rows
        height_found, width_found = _jpeg_size(image_bytes, start)
        if width_found < width or height_found < min(rows, left):
            raise ValueError("damaged TIFF file: a part of its image is missing")


def _jpeg_size(data, position):
    """(height, width) in the frame header of a JPEG at a position of a file; (0, 0) where there is none."""
    position += 2  # the marker of its start
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return struct.unpack(">HH", data[position + 5 : position + 9])
        if marker == 0xFF:  # a fill byte
            position += 1
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return 0, 0


def _in_threads(work, named_inputs):
    """Yields (name, work(input)) in order, a bounded number of inputs ahead."""
    workers = os.cpu_count() or 1
    waiting = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for name, value in named_inputs:
            waiting.append((name, pool.submit(work, value)))
            if len(waiting) >= 8 * workers:
                done, future = waiting.popleft()
                yield done, future.result()
        for name, future in waiting:
            yield name, future.result()


def _known_formats():
    Image.init()
    return [each for each in _FORMATS_OF_TENSORFLOW + _FORMATS_OF_PILLOW if each in Image.OPEN]


def _to_png_mode(image):
    """The image in a mode that a PNG file can hold without loss, where there is one."""
    if image.mode in ("1", "L", "LA", "RGB", "RGBA", "I;16"):
        return image
    if image.mode in ("I", "I;16B", "I;16L", "I;16N"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("integer pixels outside 0..65535 have no known range")
        return Image.fromarray(values.astype(np.uint16))
    if image.mode == "F":
        raise ValueError("float pixels have no known range")
    has_alpha = image.mode in ("PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if has_alpha else "RGB")
