"""What the headers of image files say and TensorFlow's decoders pass over, read in TensorFlow graph ops.

A file is here an int32 vector of its bytes with one zero behind the end; every read is clamped to that zero, so no
header, however broken, can make a read fail.
"""

import tensorflow as tf

# Chunks looked at before a search gives up: it bounds the time that a hostile file can take.
_MAX_CHUNKS = 4096

_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4


def to_vector(image_bytes):
    """Bytes of a file as int32 [size + 1], the last one 0.

    Args:
        image_bytes: string [].
    """
    return tf.cast(tf.concat([tf.io.decode_raw(image_bytes, tf.uint8), [0]], 0), tf.int32)


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

    colour_type = data[25]
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
    """Where the first frame of a GIF lies, and where its transparency is declared.

    Returns:
        dict of int64 []: `width`, `height` of the frame; `left`, `top`, `right_margin`, `bottom_margin`, what surrounds
        it on the canvas; `position`, of the 4 bytes in the file that place it; `flags`, of the byte whose lowest bit
        switches transparency on, and `entry`, of the transparent colour's 3 bytes: both -1 where no colour is
        transparent.
    """
    canvas_flags = unsigned(data, 10, 1)
    table = _select(canvas_flags >= 128, 3 * 2 ** (canvas_flags % 8 + 1), 0)

    def is_before_frame(position, in_sub_blocks, control):
        return (position < _size(data)) & (in_sub_blocks | starts_with(data, b"\x21", position))

    def step(position, in_sub_blocks, control):
        is_control = ~in_sub_blocks & starts_with(data, b"\xf9", position + 1)
        size = unsigned(data, position, 1)
        next_position = _select(in_sub_blocks, position + 1 + size, position + 2)
        return next_position, ~in_sub_blocks | (size > 0), _select(is_control, position, control)

    start = (13 + table, tf.constant(False), tf.constant(-1, tf.int64))
    frame, _, control = tf.while_loop(is_before_frame, step, start, maximum_iterations=_MAX_CHUNKS)
    frame_flags = unsigned(data, frame + 9, 1)
    colour = unsigned(data, control + 6, 1)
    is_local = frame_flags >= 128
    num_colours = 2 ** (_select(is_local, frame_flags, canvas_flags) % 8 + 1)
    is_transparent = (control >= 0) & (unsigned(data, control + 3, 1) % 2 == 1) & (colour < num_colours)
    left, top, width, height = (unsigned(data, frame + offset, 2) for offset in (1, 3, 5, 7))
    return {
        "width": width,
        "height": height,
        "left": left,
        "top": top,
        "right_margin": tf.maximum(unsigned(data, 6, 2) - left - width, 0),
        "bottom_margin": tf.maximum(unsigned(data, 8, 2) - top - height, 0),
        "position": frame + 1,
        "flags": _select(is_transparent, control + 3, -1),
        "entry": _select(is_transparent, _select(is_local, frame + 10, 13) + 3 * colour, -1),
    }


def bmp_layout(data):
    """What a BMP's pixels mean.

    Returns:
        (is_supported bool [], has_alpha bool [], palette uint8 [256, 3] of RGB): supported are 8 bits with a palette,
        24 bits, and 32 bits with or without alpha, all uncompressed.
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
    return (header_size >= 40) & (is_plain | is_masked), has_alpha, tf.cast(entries[:, 2::-1], tf.uint8)


def _select(condition, first, second):
    """int64: `tf.where` that takes plain integers too."""
    return tf.where(condition, tf.cast(first, tf.int64), tf.cast(second, tf.int64))


def _size(data):
    return tf.size(data, tf.int64) - 1


def _read(data, position, size):
    positions = tf.cast(position, tf.int64) + tf.range(size, dtype=tf.int64)
    return tf.gather(data, tf.clip_by_value(positions, 0, _size(data)))


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
    """Orientation in the TIFF header that lies `offset` bytes into a chunk; 1 where `chunk` is -1 or names none."""
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
    # A value shorter than its 4 bytes lies at their start in the file, whichever the byte order.
    short_big = fields[:, 8] * 256 + fields[:, 9]
    short_little = fields[:, 10] * 256 + fields[:, 11]
    short = tf.where(big_endian, short_big, short_little)
    long = tf.reduce_sum(fields[:, 8:] * [256**3, 256**2, 256, 1], axis=1)
    values = tf.where(kind == _SHORT, short, long)
    is_wanted = (tag == _ORIENTATION_TAG) & ((kind == _SHORT) | (kind == _LONG)) & (values >= 1) & (values <= 8)
    return tf.concat([tf.boolean_mask(values, is_wanted), [1]], 0)[0]
