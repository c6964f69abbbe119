"""Decodes image files to uint8, as a viewer shows them.

It consists of TensorFlow graph ops without Python callbacks, so that training, encoding and exported models all use the
same function, and the same file always gives the same tokens.
"""

import functools

import tensorflow as tf

from vim_tf.config import DataConfig
from vim_tf.data.images import headers

NO_FORMAT = "not a JPEG, PNG, GIF, WebP or BMP file"

# Surround the reason for refusing a file in the message of TensorFlow's error.
_REFUSAL_MARKS = ("(", ")")

_WEBP_ALPHA, _WEBP_ANIMATION = 0x10, 0x02
_BYTES = [bytes([value]) for value in range(256)]

# A function that stays one op costs nothing if its branch isn't taken. Inlined, each of its hundreds of ops would be
# skipped individually for every image, which takes longer than decoding a JPEG.
_one_op = functools.partial(tf.function, autograph=False, experimental_attributes={"_noinline": True})


@tf.autograph.experimental.do_not_convert
def decode_image(image_bytes, max_pixels=DataConfig.max_pixels):
    """Decodes a file to the image that a viewer shows on white.

    JPEG (grey, RGB, CMYK), PNG (all kinds; 16 bits are rounded to 8), GIF (first frame), WebP (first frame) and BMP (8,
    24 and 32 bits, uncompressed). An EXIF orientation in JPEG, PNG or WebP is applied; transparency is composited
    over white. A file with an unsound header never reaches a decoder.

    Args:
        image_bytes: string [], the encoded file.
        max_pixels: int or int64 [], limit of height x width according to the file's header.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        InvalidArgumentError: the bytes are none of these, are cut short, or have more pixels; `refusal` returns
            the reason if the header shows it.
    """
    image, problem = try_to_decode_image(image_bytes, max_pixels)
    return tf.cond(problem == "", lambda: image, lambda: _refuse(problem))


@tf.autograph.experimental.do_not_convert
def try_to_decode_image(image_bytes, max_pixels):
    """Like `decode_image`, but returns what is wrong with a header instead of failing.

    Args:
        image_bytes, max_pixels: as in `decode_image`.

    Returns:
        (uint8 [height, width, 3], the image, or any if there is a problem; string [], the problem, "" = none).

    Raises:
        InvalidArgumentError: the header is sound, but the decoder fails; or a JPEG has no header.
    """
    data = headers.to_vector(image_bytes)
    limit = tf.cast(max_pixels, tf.int64)
    image, problem = tf.cond(
        headers.starts_with(data, b"\xff\xd8\xff"),
        lambda: _decode_jpeg(image_bytes, data, limit),
        lambda: _decode_other(image_bytes, data, limit),
    )
    return tf.ensure_shape(image, [None, None, 3]), problem


def refusal(error):
    """str: why `decode_image` refused a file by its header; "" if its decoder failed instead.

    Args:
        error: the exception.
    """
    before, after = _REFUSAL_MARKS
    return str(error).partition(f"string: {before}")[2].partition(after)[0]


def _decode_if_sound(header, limit, decode):
    """(What `decode` returns, "") if the header is sound, else (any image, the reason)."""
    return tf.cond(
        headers.is_sound(header, limit),
        lambda: (decode(), tf.constant("")),
        lambda: (tf.zeros([1, 1, 3], tf.uint8), headers.problem_of(header, limit)),
    )


def _decode_jpeg(image_bytes, data, limit):
    def decode():
        # The fast default of the inverse transform is off by up to 3 levels from what other programs show.
        image = tf.io.decode_jpeg(image_bytes, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.cond(headers.may_have_exif(data), lambda: _turn_jpeg(image, data), lambda: image)

    return _decode_if_sound(headers.jpeg_header(image_bytes), limit, decode)


@_one_op(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([None], tf.uint8)])
def _turn_jpeg(image, data):
    return _turn(image, headers.jpeg_orientation(data))


@_one_op(input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([None], tf.uint8), tf.TensorSpec([], tf.int64)])
def _decode_other(image_bytes, data, limit):
    is_format = [
        headers.starts_with(data, b"\x89PNG\r\n\x1a\n"),
        headers.starts_with(data, b"GIF8"),
        headers.starts_with(data, b"RIFF") & headers.starts_with(data, b"WEBP", 8),
        headers.starts_with(data, b"BM"),
        True,
    ]
    decoders = [_decode_png, _decode_gif, _decode_webp, _decode_bmp]
    branches = [lambda decode=decode: decode(image_bytes, data, limit) for decode in decoders]
    branches.append(lambda: (tf.zeros([1, 1, 3], tf.uint8), tf.constant(NO_FORMAT)))
    return tf.switch_case(tf.argmax(tf.stack(is_format), output_type=tf.int32), branches)


def _decode_png(image_bytes, data, limit):
    def of_channels(channels):
        return tf.cond(
            headers.png_depth(data) == 16,
            lambda: _to_8_bits(tf.io.decode_png(image_bytes, channels, tf.uint16)),
            lambda: tf.io.decode_png(image_bytes, channels),
        )

    def decode():
        # Alpha must not be requested if there is none: below 8 bits, TensorFlow then makes it 1, 3 or 15, not 255.
        has_alpha = headers.png_has_alpha(data)
        image = tf.cond(has_alpha, lambda: _over_white(of_channels(4)), lambda: of_channels(3))
        return _turn(image, headers.png_orientation(data))

    return _decode_if_sound(headers.png_header(data), limit, decode)


def _decode_gif(image_bytes, data, limit):
    # TensorFlow paints transparent pixels black, unpacks all frames, and makes the image as large as the largest frame,
    # regardless of the canvas, cutting off what is outside. So the file is changed: it ends after the first frame, the
    # transparent colour becomes white and opaque, and the frame is moved to the origin. It is moved back to its
    # position afterwards.
    frame = headers.gif_first_frame(data)

    def make_opaque(changed):
        flags = _byte(tf.gather(data, frame["flags"]) - 1)
        return _replace(_replace(changed, frame["flags"], flags), frame["entry"], b"\xff\xff\xff")

    def decode():
        changed = tf.strings.join([tf.strings.substr(image_bytes, 0, tf.cast(frame["end"], tf.int32)), b"\x3b"])
        changed = tf.cond(frame["flags"] >= 0, lambda: make_opaque(changed), lambda: changed)
        changed = _replace(changed, frame["position"], b"\0\0\0\0")
        image = tf.io.decode_image(changed, channels=3, expand_animations=False)
        margins = tf.stack([frame["top"], frame["bottom_margin"], frame["left"], frame["right_margin"]])
        return tf.pad(image, tf.concat([tf.reshape(margins, [2, 2]), [[0, 0]]], 0), constant_values=255)

    return _decode_if_sound(frame["header"], limit, decode)


def _decode_webp(image_bytes, data, limit):
    flags, has_flags = headers.webp_flags(data)

    def decode():
        # For an animation TensorFlow always writes four channels, but into an image of three if the transparency flag
        # isn't set.
        is_animated = has_flags & (flags & _WEBP_ANIMATION > 0)
        changed = tf.cond(
            is_animated, lambda: _replace(image_bytes, 20, _byte(flags | _WEBP_ALPHA)), lambda: image_bytes
        )
        # The number of channels can't be asked for: it must be the file's own.
        image = tf.io.decode_image(changed, channels=0, expand_animations=False)
        image = tf.cond(tf.shape(image)[-1] == 4, lambda: _over_white(image), lambda: image[:, :, :3])
        return _turn(image, headers.webp_orientation(data))

    return _decode_if_sound(headers.webp_header(data), limit, decode)


def _decode_bmp(image_bytes, data, limit):
    header, has_alpha, palette = headers.bmp_layout(data)

    def decode():
        image = tf.io.decode_bmp(image_bytes, channels=0)
        channels = tf.shape(image)[-1]
        # TensorFlow returns the palette's indices as if they were grey levels.
        return tf.cond(
            channels == 1,
            lambda: tf.gather(palette, tf.cast(image[:, :, 0], tf.int32)),
            lambda: tf.cond(has_alpha & (channels == 4), lambda: _over_white(image), lambda: image[:, :, :3]),
        )

    return _decode_if_sound(header, limit, decode)


def _refuse(problem):
    """uint8 [1, 1, 3] that can't be computed: the reason (string []) is in the InvalidArgumentError.

    The number is parsed from the reason, as that op isn't stateful: tf.debugging's would make tf.data decode one image
    at a time where deterministic ops are on. A control dependency doesn't keep an op without state from being pruned.
    """
    before, after = _REFUSAL_MARKS
    number = tf.strings.to_number(tf.strings.join([before, problem, after]), tf.int64)
    return tf.fill([1, 1, 3], tf.cast(number, tf.uint8))


def _to_8_bits(values):
    """uint16 of any shape to uint8: 0..65535 to 0..255, rounded."""
    # uint16 takes half the memory of float32. The largest sum is 65535, and 257 leaves no halves to be rounded.
    return tf.cast((tf.minimum(values, 65535 - 128) + 128) // 257, tf.uint8)


def _over_white(rgba):
    """uint8 [height, width, 4] to uint8 [height, width, 3]: 255 - (255 - colour) alpha / 255, rounded."""
    # uint16 is enough and takes half the memory of float32. There are no halves to be rounded: 255 is odd.
    rgba = tf.ensure_shape(rgba, [None, None, 4])
    darkness = tf.cast(255 - rgba[:, :, :3], tf.uint16) * tf.cast(rgba[:, :, 3:], tf.uint16)
    return 255 - tf.cast((darkness + 127) // 255, tf.uint8)


def _turn(image, orientation):
    """Puts an image upright whose EXIF orientation (int64 [] in 1..8) says how the camera was held."""
    transposed = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    is_upside_down = tf.reduce_any(orientation == [3, 4, 7, 8])
    is_mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
    upright = tf.cond(is_upside_down, lambda: transposed[::-1], lambda: transposed)
    return tf.cond(is_mirrored, lambda: upright[:, ::-1], lambda: upright)


def _byte(value):
    """string [], the byte of an integer []."""
    return tf.gather(_BYTES, tf.cast(value, tf.int32))


def _replace(text, position, replacement):
    """string []: `text` with the bytes from `position` on overwritten."""
    position = tf.cast(position, tf.int32)
    end = position + tf.strings.length(replacement)
    rest = tf.strings.substr(text, end, tf.strings.length(text) - end)
    return tf.strings.join([tf.strings.substr(text, 0, position), replacement, rest])
