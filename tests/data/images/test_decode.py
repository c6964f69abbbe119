"""Decoding, fitting and range changes."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from tensorflow.python.framework import op_def_registry

from vim_tf.data.images.decode import decode_image
from vim_tf.data.images.fit import decode_and_fit


def seen_on_white(image_bytes):
    """What Pillow shows."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(image_bytes))).convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


def over_white(rgba):
    """The definition of compositing, in float64."""
    rgba = np.asarray(rgba, np.float64)
    alpha = rgba[..., 3:] / 255
    return np.round(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


KINDS = {
    "RGB JPEG": lambda p: p.encode(p.rgb, "JPEG"),
    "RGB JPEG without chroma subsampling": lambda p: p.encode(p.rgb, "JPEG", subsampling=0, quality=95),
    "progressive JPEG": lambda p: p.encode(p.rgb, "JPEG", progressive=True),
    "grey JPEG": lambda p: p.encode(p.rgb.convert("L"), "JPEG"),
    "CMYK JPEG": lambda p: p.encode(p.rgb.convert("CMYK"), "JPEG"),
    "RGB PNG": lambda p: p.encode(p.rgb, "PNG"),
    "RGB PNG with a transparent colour": lambda p: p.encode(p.rgb, "PNG", transparency=p.rgb.getpixel((3, 4))),
    "RGBA PNG": lambda p: p.encode(p.rgba, "PNG"),
    "grey PNG": lambda p: p.encode(p.rgb.convert("L"), "PNG"),
    "grey PNG with alpha": lambda p: p.encode(p.rgba.convert("LA"), "PNG"),
    "black and white PNG": lambda p: p.encode(p.rgb.convert("1"), "PNG"),
    "palette PNG": lambda p: p.encode(p.rgb.convert("P"), "PNG"),
    "palette PNG with a transparent entry": lambda p: p.encode(p.rgb.convert("P"), "PNG", transparency=30),
    "palette PNG with an alpha for each entry": lambda p: p.encode(
        p.rgb.quantize(16), "PNG", transparency=bytes(range(0, 256, 16))
    ),
    "palette PNG of 4 bits": lambda p: p.encode(p.rgb.quantize(16), "PNG", bits=4),
    "palette PNG of 1 bit": lambda p: p.encode(p.rgb.quantize(2), "PNG", bits=1),
    "GIF": lambda p: p.encode(p.rgb, "GIF"),
    "grey GIF": lambda p: p.encode(p.rgb.convert("L"), "GIF"),
    "animated GIF": lambda p: p.encode(p.rgb, "GIF", save_all=True, append_images=[p.noise(0, (50, 40))]),
    "lossy WebP": lambda p: p.encode(p.rgb, "WEBP"),
    "lossless WebP": lambda p: p.encode(p.rgb, "WEBP", lossless=True),
    "lossless WebP with alpha": lambda p: p.encode(p.rgba, "WEBP", lossless=True),
    "lossy WebP with alpha": lambda p: p.encode(p.rgba, "WEBP"),
    "animated WebP": lambda p: p.encode(
        p.rgba, "WEBP", lossless=True, save_all=True, append_images=[p.noise(0, (50, 40))]
    ),
    "RGB BMP": lambda p: p.encode(p.rgb, "BMP"),
    "RGBA BMP": lambda p: p.encode(p.rgba, "BMP"),
    "palette BMP": lambda p: p.encode(p.rgb.convert("P"), "BMP"),
    "grey BMP": lambda p: p.encode(p.rgb.convert("L"), "BMP"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_looks_as_pillow_shows_it_on_white(kind, pictures, decode):
    image_bytes = KINDS[kind](pictures)
    decoded = decode(image_bytes)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, seen_on_white(image_bytes))


@pytest.mark.parametrize("kind", ["CMYK JPEG", "RGBA PNG", "GIF", "lossless WebP with alpha", "palette BMP"])
def test_eager_and_compiled_decoding_agree(kind, pictures, decode):
    image_bytes = KINDS[kind](pictures)
    np.testing.assert_array_equal(decode_image(tf.constant(image_bytes)), decode(image_bytes))


def test_grey_png_of_16_bits_is_scaled_to_8(pictures, decode):
    levels = [0, 128, 129, 256, 257, 32767, 32896, 65406, 65407, 65535]
    image_bytes = pictures.png(16, 0, [struct.pack(">10H", *levels)], 10)
    # 65535 / 255 = 257 levels for each of the 8 bits, so 129 is the first that is nearer to 1 than to 0.
    expected = [0, 0, 1, 1, 1, 127, 128, 254, 255, 255]
    np.testing.assert_array_equal(decode(image_bytes)[0], np.repeat(np.array(expected)[:, None], 3, 1))


def test_rgba_png_of_16_bits_is_scaled_and_composited(pictures, decode):
    values = np.random.default_rng(0).integers(0, 65536, (6, 7, 4))
    image_bytes = pictures.png(16, 6, [row.astype(">u2").tobytes() for row in values], 7)
    difference = decode(image_bytes).astype(int) - over_white(values / 257).astype(int)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits_has_its_full_range_and_its_transparent_colour(bits, pictures, decode):
    count = 2**bits
    packed = int("".join(f"{value:0{bits}b}" for value in range(count)).ljust(8, "0"), 2)
    row = packed.to_bytes(max(count * bits // 8, 1), "big")
    grey = np.arange(count) * 255 // (count - 1)
    np.testing.assert_array_equal(decode(pictures.png(bits, 0, [row], count))[0, :, 0], grey)
    transparent = pictures.chunk(b"tRNS", struct.pack(">H", 0))
    grey[0] = 255
    np.testing.assert_array_equal(decode(pictures.png(bits, 0, [row], count, transparent))[0, :, 1], grey)


def gif_blocks(image_bytes):
    """Positions of the colour table, its end, and the image descriptor of a GIF that Pillow wrote."""
    table_end = 13 + 3 * 2 ** (image_bytes[10] % 8 + 1)
    descriptor = table_end
    while image_bytes[descriptor] == 0x21:  # the control extension and the like: sub-blocks after two bytes
        descriptor += 2
        while image_bytes[descriptor]:
            descriptor += 1 + image_bytes[descriptor]
        descriptor += 1
    assert image_bytes[descriptor] == 0x2C
    return 13, table_end, descriptor


def with_local_table(image_bytes):
    """The GIF with its global colour table turned into one of the frame."""
    table, table_end, descriptor = gif_blocks(image_bytes)
    flags = image_bytes[10]
    screen = image_bytes[:10] + bytes([flags & 0x7F]) + image_bytes[11:13]
    frame = image_bytes[descriptor : descriptor + 9] + bytes([image_bytes[descriptor + 9] | 0x80 | flags % 8])
    return (
        screen
        + image_bytes[table_end:descriptor]
        + frame
        + image_bytes[table:table_end]
        + image_bytes[descriptor + 10 :]
    )


@pytest.mark.parametrize("rewrite", [lambda gif: gif, with_local_table], ids=["global table", "local table"])
@pytest.mark.parametrize("entry", [0, 5, 15])
def test_transparent_pixels_of_a_gif_are_white(rewrite, entry, pictures, decode):
    image = pictures.rgb.quantize(16)
    image_bytes = rewrite(
        pictures.encode(image, "GIF", transparency=entry, optimize=False, comment=b"21 f9 04 01 are no control block")
    )
    expected = np.asarray(image.convert("RGB")).copy()
    expected[np.asarray(image) == entry] = 255
    assert (np.asarray(image) == entry).any()
    np.testing.assert_array_equal(decode(image_bytes), expected)


def test_the_canvas_around_a_gifs_frame_is_white(pictures, decode):
    image_bytes = bytearray(pictures.encode(pictures.rgb, "GIF"))
    descriptor = gif_blocks(image_bytes)[2]
    image_bytes[6:10] = struct.pack("<HH", 70, 60)
    image_bytes[descriptor + 1 : descriptor + 5] = struct.pack("<HH", 12, 7)
    expected = np.full((60, 70, 3), 255, np.uint8)
    expected[7:47, 12:62] = seen_on_white(pictures.encode(pictures.rgb, "GIF"))
    np.testing.assert_array_equal(decode(bytes(image_bytes)), expected)


def test_a_gif_that_claims_a_huge_canvas_is_refused(pictures, decode):
    image_bytes = bytearray(pictures.encode(pictures.rgb, "GIF"))
    image_bytes[6:10] = b"\xff" * 4
    with pytest.raises(tf.errors.InvalidArgumentError, match="65535 x 65535 pixels"):
        decode(bytes(image_bytes))


def test_later_frames_of_a_gif_dont_change_the_first(pictures, decode):
    frames = [pictures.noise(seed, (20, 30)).quantize(64) for seed in range(2)]
    image_bytes = pictures.encode(frames[0], "GIF", save_all=True, append_images=frames[1:], transparency=3)
    expected = np.asarray(frames[0].convert("RGB")).copy()
    expected[np.asarray(frames[0]) == 3] = 255
    np.testing.assert_array_equal(decode(image_bytes), expected)


def bmp(bits, pixels, header_size=40, compression=0, masks=()):
    """BMP of 2 x 1 pixels."""
    header = struct.pack("<IiiHHIIiiII", header_size, 2, 1, 1, bits, compression, 0, 0, 0, 0, 0)
    header += struct.pack(f"<{len(masks)}I", *masks)
    header = header.ljust(max(header_size, 40 + 4 * len(masks)), b"\0")
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + pixels


def test_bmp_of_32_bits_without_an_alpha_mask_is_opaque(decode):
    pixels = bytes([1, 2, 3, 0, 4, 5, 6, 128])  # blue, green, red, unused
    np.testing.assert_array_equal(decode(bmp(32, pixels)), [[[3, 2, 1], [6, 5, 4]]])
    masks = (0xFF0000, 0xFF00, 0xFF)
    np.testing.assert_array_equal(decode(bmp(32, pixels, 40, 3, masks)), [[[3, 2, 1], [6, 5, 4]]])


def test_bmp_of_32_bits_with_an_alpha_mask_is_composited(decode):
    pixels = bytes([1, 2, 3, 0, 4, 5, 6, 128])
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    np.testing.assert_array_equal(decode(bmp(32, pixels, 56, 3, masks)), over_white([[[3, 2, 1, 0], [6, 5, 4, 128]]]))


@pytest.mark.parametrize(
    "image_bytes",
    [
        bmp(32, bytes(8), 40, 3, (0xFF, 0xFF00, 0xFF0000)),
        bmp(8, bytes(4), 40, 1),
        bmp(16, bytes(4)),
        bmp(24, bytes(8), 12),
    ],
    ids=["other masks", "run-length", "16 bits", "old header"],
)
def test_an_unusual_bmp_is_refused(image_bytes, decode):
    with pytest.raises(tf.errors.InvalidArgumentError, match="BMP"):
        decode(image_bytes)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied(form, orientation, pictures, decode):
    exif = Image.Exif()
    exif[0x010E] = "a description that comes first and lies outside the directory"
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    image_bytes = pictures.encode(pictures.rgb, form, exif=exif, **options)
    np.testing.assert_array_equal(decode(image_bytes), seen_on_white(image_bytes))


def with_segments(jpeg, *segments):
    """The JPEG with raw bytes after its first marker."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def app1(payload):
    return b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload


def test_a_comment_is_not_taken_for_an_orientation(pictures, decode):
    exif = pictures.exif(6)
    commented = pictures.encode(pictures.rgb, "JPEG", comment=b"Exif\0\0" + exif)
    np.testing.assert_array_equal(decode(commented), decode(pictures.encode(pictures.rgb, "JPEG")))
    turned = pictures.encode(pictures.rgb, "JPEG", comment=b"Exif\0\0", exif=b"Exif\0\0" + exif)
    np.testing.assert_array_equal(decode(turned), np.rot90(decode(commented), -1))


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("orientation", [3, 6])
def test_both_byte_orders_and_integer_kinds_of_exif_are_read(order, kind, orientation, pictures, decode):
    plain = pictures.encode(pictures.rgb, "JPEG")
    exif = pictures.exif(orientation, order, kind, offset=20)
    image_bytes = with_segments(
        plain, app1(b"http://ns.adobe.com/xap/1.0/\0<x/>"), b"\xff\xff", app1(b"Exif\0\0" + exif)
    )
    turned = np.rot90(decode(plain), {3: 2, 6: -1}[orientation])
    np.testing.assert_array_equal(decode(image_bytes), turned)


@pytest.mark.parametrize(
    "exif",
    [
        lambda p: p.exif(0),
        lambda p: p.exif(9),
        lambda p: p.exif(6)[:20],
        lambda p: p.exif(6)[:4] + b"\xff\xff\xff\xff" + p.exif(6)[8:],
        lambda p: b"II\0\0" + p.exif(6)[4:],
        lambda p: p.exif(6, kind=2),
        lambda p: b"",
    ],
    ids=["0", "9", "cut", "directory far away", "no TIFF", "no integer", "empty"],
)
def test_a_broken_orientation_is_ignored(exif, pictures, decode):
    plain = pictures.encode(pictures.rgb, "JPEG")
    image_bytes = with_segments(plain, app1(b"Exif\0\0" + exif(pictures)))
    np.testing.assert_array_equal(decode(image_bytes), decode(plain))


TRUNCATED_KINDS = [kind for kind in KINDS if "animated" not in kind]


@pytest.mark.parametrize("kind", TRUNCATED_KINDS)
def test_a_truncated_file_is_an_invalid_argument(kind, pictures, decode):
    image_bytes = KINDS[kind](pictures)
    for share in (0.05, 0.3, 0.6, 0.9, 0.97):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(image_bytes[: int(len(image_bytes) * share)])


def test_an_animated_gif_cut_inside_its_first_frame_is_refused(pictures, decode):
    frames = [pictures.noise(seed, (40, 40)) for seed in range(3)]
    image_bytes = pictures.encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    for share in (0.1, 0.2, 0.3):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(image_bytes[: int(len(image_bytes) * share)])


@pytest.mark.parametrize(
    "image_bytes", [b"", b"\xff", b"BM", b"GIF8", b"no image at all", b"RIFF....WEBP", b"II*\0", b"\xff\xd8\xff" * 9]
)
def test_bytes_that_are_not_an_image_are_an_invalid_argument(image_bytes, decode):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(image_bytes)


def test_the_error_names_the_formats_that_can_be_read(decode):
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a JPEG, PNG, GIF, WebP or BMP file"):
        decode(b"no image at all")


def test_decoding_is_pure_graph():
    function = tf.function(lambda data: decode_and_fit(data, 8, 8))
    graph = function.get_concrete_function(tf.TensorSpec([], tf.string)).graph.as_graph_def()
    operations = {node.op for part in graph.library.function for node in part.node_def} | {n.op for n in graph.node}
    assert "DecodeJpeg" in operations
    # No Python, so that it can be exported; no state, so that tf.data may run it in parallel under op determinism.
    assert not [name for name in operations if "Py" in name]
    definitions = {name: op_def_registry.get(name) for name in operations}
    assert not [name for name, definition in definitions.items() if definition and definition.is_stateful]
