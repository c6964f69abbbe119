"""Reads the headers of image files with TensorFlow graph ops, before a native decoder sees the bytes.

The decoders ignore some fields, and trust others that can't be trusted. Here, a file is a uint8 vector of its bytes,
followed by one zero; every read is clamped to that zero, so even a broken header can't make a read fail.
"""

from typing import NamedTuple

import tensorflow as tf

# Chunks to look at before a search gives up, which bounds the time that a hostile file can take.
_MAX_CHUNKS = 4096
# Bytes to look at in one step of the search for the end of a GIF's blocks: a power of 2.
_WINDOW = 1 << 12

UNUSUAL_BMP = "BMP files of this kind can't be decoded: compressed, or unusual bits or masks"

_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4


class Header(NamedTuple):
    """What a file's header says about its image.

    Attributes:
        problem: string [], why the file can't be read; "" = its header is sound.
        width, height: int64 [], pixels of the image before it is turned upright; undefined if there is a problem.
    """

    problem: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor


def to_vector(image_bytes):
    """Bytes of a file as uint8 [size + 1], the last one 0.

    Args:
        image_bytes: string [].
    """
    return tf.concat([tf.io.decode_raw(image_bytes, tf.uint8), tf.zeros([1], tf.uint8)], 0)


def starts_with(data, prefix, position=0):
    """bool []: whether the bytes at a position are `prefix` (bytes)."""
    return tf.reduce_all(tf.equal(_read(data, position, len(prefix)), list(prefix)))


def unsigned(data, position, size, big_endian=False):
    """int64 []: the unsigned integer of `size` bytes at a position; `big_endian` is a bool or bool []."""
    values = tf.cast(_read(data, position, size), tf.int64)
    scales = [256**i for i in range(size)]
    little = tf.reduce_sum(values * scales)
    big = tf.reduce_sum(values * scales[::-1])
    return tf.where(big_endian, big, little)


def is_sound(header, max_pixels):
    """bool []: whether a file may be decoded: its header has no problem and the image's size is allowed.

    Args:
        header: Header.
        max_pixels: int64 [].
    """
    # By a division, since the product of two wrong numbers may overflow.
    is_small = header.height <= max_pixels // tf.maximum(header.width, 1)
    return (header.problem == "") & (header.width >= 1) & (header.height >= 1) & is_small


def problem_of(header, max_pixels):
    """string []: why a file isn't sound, in one line; arguments as in `is_sound`."""
    size = tf.strings.join([tf.strings.as_string(header.width), " x ", tf.strings.as_string(header.height), " pixels"])
    limit = tf.strings.join([" are more than max_pixels = ", tf.strings.as_string(max_pixels)])
    is_empty = (header.width < 1) | (header.height < 1)
    problem = tf.strings.join([size, tf.where(is_empty, " are not an image", limit)])
    return tf.where(header.problem == "", problem, header.problem)


def jpeg_header(image_bytes):
    """Header of a JPEG, read by the decoder itself.

    Args:
        image_bytes: string [].

    Raises:
        InvalidArgumentError: it has none.
    """
    shape = tf.cast(tf.io.extract_jpeg_shape(image_bytes), tf.int64)
    return Header(tf.constant(""), shape[1], shape[0])


def png_header(data):
    """Header of a PNG."""
    # libpng skips unknown chunks before the header.
    is_first = starts_with(data, b"\0\0\0\rIHDR", 8)
    width, height = (unsigned(data, position, 4, big_endian=True) for position in (16, 20))
    return Header(_unless(is_first, "damaged PNG file: it doesn't begin with its header"), width, height)


def png_depth(data):
    """int64 []: bits for each channel of a PNG."""
    return unsigned(data, 24, 1)


def webp_header(data):
    """Header of a WebP."""
    kinds = [b"VP8 ", b"VP8L", b"VP8X"]
    is_kind = [starts_with(data, kind, 12) for kind in kinds]
    is_sound = [starts_with(data, b"\x9d\x01\x2a", 23), starts_with(data, b"\x2f", 20), tf.constant(True)]
    bits = unsigned(data, 21, 4)
    lossy = [unsigned(data, position, 2) % (1 << 14) for position in (26, 28)]
    lossless = [bits % (1 << 14) + 1, bits // (1 << 14) % (1 << 14) + 1]
    canvas = [unsigned(data, position, 3) + 1 for position in (24, 27)]
    width, height = (
        _select(is_kind[0], of_lossy, _select(is_kind[1], of_lossless, of_canvas))
        for of_lossy, of_lossless, of_canvas in zip(lossy, lossless, canvas, strict=True)
    )
    is_known = tf.reduce_any(tf.stack(is_kind) & tf.stack(is_sound))
    return Header(_unless(is_known, "damaged WebP file: it has no image where one must be"), width, height)


def webp_flags(data):
    """(flags int64 [], whether they are there bool []) of an extended WebP, byte 20 of the file."""
    return unsigned(data, 20, 1), starts_with(data, b"VP8X", 12)


def may_have_exif(data):
    """bool []: whether the bytes `Exif` occur anywhere in a file, which takes a fraction of a search by chunks."""
    letters = [data[i : -4 + i] == letter for i, letter in enumerate(b"Exif")]
    return tf.reduce_any(letters[0] & letters[1] & letters[2] & letters[3])


def jpeg_orientation(data):
    """int64 [] in 1..8: the EXIF orientation of a JPEG; 1 where there is none."""

    def step(position):
        marker = unsigned(data, position + 1, 1)
        length = unsigned(data, position + 2, 2, big_endian=True)
        is_exif = (marker == 0xE1) & starts_with(data, b"Exif\0\0", position + 4)
        is_last = (unsigned(data, position, 1) != 0xFF) | (marker == 0xDA) | (marker == 0xD9)
        is_bare = (marker == 0x01) | ((marker >= 0xD0) & (marker <= 0xD7))
        # A marker may be preceded by any number of fill bytes 0xFF.
        size = _select(marker == 0xFF, 1, _select(is_bare, 2, 2 + tf.maximum(length, 2)))
        return is_exif, is_last, position + size

    return _tiff_orientation(data, _find(data, 2, step), 10)


def png_orientation(data):
    """int64 [] in 1..8: the orientation in a PNG's eXIf chunk; 1 where there is none."""

    def step(position):
        size = unsigned(data, position, 4, big_endian=True)
        return starts_with(data, b"eXIf", position + 4), starts_with(data, b"IEND", position + 4), position + size + 12

    return _tiff_orientation(data, _find(data, 8, step), 8)


def png_has_alpha(data):
    """bool []: whether a PNG has an alpha channel or a transparent colour."""

    def step(position):
        size = unsigned(data, position, 4, big_endian=True)
        return starts_with(data, b"tRNS", position + 4), starts_with(data, b"IDAT", position + 4), position + size + 12

    colour_type = unsigned(data, 25, 1)
    return (colour_type == 4) | (colour_type == 6) | (_find(data, 8, step) >= 0)


def webp_orientation(data):
    """int64 [] in 1..8: the orientation in a WebP's EXIF chunk; 1 where there is none."""

    def step(position):
        size = unsigned(data, position + 4, 4)
        return starts_with(data, b"EXIF", position), tf.constant(False), position + 8 + size + size % 2

    found = _find(data, 12, step)
    # Some writers keep the prefix that JPEG needs.
    return _tiff_orientation(data, found, _select(starts_with(data, b"Exif\0\0", found + 8), 14, 8))


def gif_first_frame(data):
    """Position of the first frame of a GIF and of the declaration of its transparency.

    Returns:
        dict of int64 []: `width`, `height` of the frame; `left`, `top`, `right_margin`, `bottom_margin`, what surrounds
        it on the canvas; `position`, of the 4 bytes in the file with its offset; `end`, of the byte after the frame;
        `flags`, of the byte whose lowest bit switches transparency on, and `entry`, of the transparent colour's 3
        bytes: both -1 where no colour is transparent; and `header`, the Header of the canvas. Where that has a problem
        the rest means nothing.
    """
    canvas_flags = unsigned(data, 10, 1)
    table = _select(canvas_flags >= 128, 3 * 2 ** (canvas_flags % 8 + 1), 0)

    def is_before_frame(position, control):
        return starts_with(data, b"\x21", position)

    def step(position, control):
        is_control = starts_with(data, b"\xf9", position + 1)
        return _end_of_blocks(data, position + 2) + 1, _select(is_control, position, control)

    start = (13 + table, tf.constant(-1, tf.int64))
    frame, control = tf.while_loop(is_before_frame, step, start, maximum_iterations=_MAX_CHUNKS)
    frame_flags = unsigned(data, frame + 9, 1)
    colour = unsigned(data, control + 6, 1)
    is_local = frame_flags >= 128
    local_table = _select(is_local, 3 * 2 ** (frame_flags % 8 + 1), 0)
    num_colours = 2 ** (_select(is_local, frame_flags, canvas_flags) % 8 + 1)
    is_transparent = (control >= 0) & (unsigned(data, control + 3, 1) % 2 == 1) & (colour < num_colours)
    left, top, width, height = (unsigned(data, frame + offset, 2) for offset in (1, 3, 5, 7))
    right_margin = tf.maximum(unsigned(data, 6, 2) - left - width, 0)
    bottom_margin = tf.maximum(unsigned(data, 8, 2) - top - height, 0)
    # After the descriptor and its colours come the size of a code, the blocks, and an empty block.
    last_block = _end_of_blocks(data, frame + 11 + local_table)
    is_whole = starts_with(data, b"\x2c", frame) & (last_block < _size(data))
    is_sound = is_whole & (width > 0) & (height > 0)
    problem = _unless(is_sound, "damaged GIF file: its first frame is missing, empty or cut short")
    return {
        "width": width,
        "height": height,
        "left": left,
        "top": top,
        "right_margin": right_margin,
        "bottom_margin": bottom_margin,
        "position": frame + 1,
        "end": last_block + 1,
        "flags": _select(is_transparent, control + 3, -1),
        "entry": _select(is_transparent, _select(is_local, frame + 10, 13) + 3 * colour, -1),
        "header": Header(problem, left + width + right_margin, top + height + bottom_margin),
    }


def bmp_layout(data):
    """How a BMP's pixels are to be interpreted.

    Returns:
        (Header, has_alpha bool [], palette uint8 [256, 3] of RGB): the problem is `UNUSUAL_BMP` but for 8 bits with a
        palette, 24 bits, and 32 bits with or without alpha, all uncompressed.
    """
    header_size = unsigned(data, 14, 4)
    bits = unsigned(data, 28, 2)
    compression = unsigned(data, 30, 4)
    masks = [unsigned(data, 54 + 4 * i, 4) for i in range(4)]
    is_plain = (compression == 0) & ((bits == 8) | (bits == 24) | (bits == 32))
    is_masked = (compression == 3) & (bits == 32)
    is_masked &= (masks[0] == 0xFF0000) & (masks[1] == 0xFF00) & (masks[2] == 0xFF)
    has_alpha = is_masked & (header_size >= 56) & (masks[3] == 0xFF000000)
    entries = tf.reshape(_read(data, 14 + header_size, 1024), [256, 4])  # blue, green, red, unused
    is_usual = (header_size >= 40) & (is_plain | is_masked)
    width, height = (_signed(unsigned(data, position, 4)) for position in (18, 22))
    # A negative height means that rows go from top to bottom.
    header = Header(_unless(is_usual, UNUSUAL_BMP), width, tf.abs(height))
    return header, has_alpha, tf.cast(entries[:, 2::-1], tf.uint8)


def _select(condition, first, second):
    """int64: `tf.where` that takes plain integers too."""
    return tf.where(condition, tf.cast(first, tf.int64), tf.cast(second, tf.int64))


def _signed(value):
    """int64 [] of a number of 4 bytes read as `unsigned`."""
    return _select(value >= 1 << 31, value - (1 << 32), value)


def _unless(condition, problem):
    """string []: `problem` where the condition, bool [], doesn't hold, else ""."""
    return tf.where(condition, "", problem)


def _size(data):
    return tf.size(data, tf.int64) - 1


def _read(data, position, size):
    positions = tf.cast(position, tf.int64) + tf.range(size, dtype=tf.int64)
    return tf.cast(tf.gather(data, tf.clip_by_value(positions, 0, _size(data))), tf.int32)


def _end_of_blocks(data, start):
    """int64 []: position of the empty block that ends a GIF's blocks from `start` on, or the end of the file or more.

    A block is its number of bytes, followed by the bytes. As there may be a million blocks, they aren't followed one by
    one: a table of where each byte of a window would lead is applied to itself until nothing changes.
    """

    def is_inside(position):
        return (position < _size(data)) & (unsigned(data, position, 1) > 0)

    def step(position):
        sizes = tf.cast(data[position : position + _WINDOW], tf.int32)
        here = tf.range(tf.size(sizes))
        beyond = tf.size(sizes) + tf.range(256)  # where the last block may end; they lead to themselves
        leads_to = tf.concat([tf.where(sizes == 0, here, here + 1 + sizes), beyond], 0)
        for _ in range(_WINDOW.bit_length() - 1):
            leads_to = tf.gather(leads_to, leads_to)
        return (position + tf.cast(leads_to[0], tf.int64),)

    return tf.while_loop(is_inside, step, (start,))[0]


def _find(data, start, step):
    """Position of the first chunk that `step(position) -> (is_wanted, is_last, next position)` wants, or -1."""

    def is_searching(position, found, is_over):
        return ~is_over & (found < 0) & (position < _size(data))

    def look(position, found, is_over):
        is_wanted, is_last, next_position = step(position)
        return next_position, tf.where(is_wanted, position, found), is_last

    start_state = (tf.constant(start, tf.int64), tf.constant(-1, tf.int64), tf.constant(False))
    return tf.while_loop(is_searching, look, start_state, maximum_iterations=_MAX_CHUNKS)[1]


def _tiff_orientation(data, chunk, offset):
    """Orientation in the TIFF header at `offset` bytes into a chunk; 1 if `chunk` is -1 or has none."""
    start = chunk + tf.cast(offset, tf.int64)
    big_endian = starts_with(data, b"MM\0\x2a", start)
    is_tiff = (chunk >= 0) & (big_endian | starts_with(data, b"II\x2a\0", start))
    directory = start + unsigned(data, start + 4, 4, big_endian)
    count = tf.where(is_tiff, unsigned(data, directory, 2, big_endian), 0)
    entries = directory + 2 + 12 * tf.range(count)  # each: tag, type, number of values, value
    positions = tf.clip_by_value(entries[:, None] + tf.range(12, dtype=tf.int64), 0, _size(data))
    fields = tf.cast(tf.gather(data, positions), tf.int64)  # [count, 12]
    fields = tf.where(big_endian, fields, tf.gather(fields, [1, 0, 3, 2, 7, 6, 5, 4, 11, 10, 9, 8], axis=1))
    tag = fields[:, 0] * 256 + fields[:, 1]
    kind = fields[:, 2] * 256 + fields[:, 3]
    # A value shorter than its 4 bytes is stored at their start, in either byte order.
    short_big = fields[:, 8] * 256 + fields[:, 9]
    short_little = fields[:, 10] * 256 + fields[:, 11]
    short = tf.where(big_endian, short_big, short_little)
    long = tf.reduce_sum(fields[:, 8:] * [256**3, 256**2, 256, 1], axis=1)
    values = tf.where(kind == _SHORT, short, long)
    is_wanted = (tag == _ORIENTATION_TAG) & ((kind == _SHORT) | (kind == _LONG)) & (values >= 1) & (values <= 8)
    return tf.concat([tf.boolean_mask(values, is_wanted), [1]], 0)[0]
