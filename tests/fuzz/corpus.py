"""Image files of every accepted format, and broken versions of them that depend only on a seed.

It doesn't need TensorFlow, so that a process without the library can make the same files.
"""

import functools
import io
import random
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, features

HEADER_BYTES = 96
# Values that sizes, offsets and counts are overwritten with.
_EXTREMES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x3FFF,
    0x4000,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
)


class Control(NamedTuple):
    """A sound file.

    Attributes:
        form: str, its format, as Pillow calls it.
        data: bytes.
    """

    form: str
    data: bytes


def seen_on_white(data):
    """uint8 [height, width, 3]: the first frame of a file, upright, as Pillow shows it."""
    opened = Image.open(io.BytesIO(data))
    if opened.mode.startswith("I"):
        grey = np.round(np.asarray(opened) / 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    image = ImageOps.exif_transpose(opened).convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


@functools.cache
def controls():
    """dict from name to Control: every variant of every accepted format."""
    rgb, rgba, opaque = _pictures()
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": opaque[1:]}
    grey16 = Image.fromarray(np.arange(20 * 24, dtype=np.uint16).reshape(20, 24) * 136)
    kinds = {
        "jpeg": (rgb, "JPEG", {}),
        "jpeg progressive": (rgb, "JPEG", {"progressive": True}),
        "jpeg grey": (rgb.convert("L"), "JPEG", {}),
        "jpeg cmyk": (rgb.convert("CMYK"), "JPEG", {}),
        "jpeg turned": (rgb, "JPEG", {"exif": exif}),
        "png": (rgb, "PNG", {}),
        "png alpha": (rgba, "PNG", {}),
        "png palette": (rgb.quantize(16), "PNG", {"transparency": 3}),
        "png 1 bit": (rgb.convert("1"), "PNG", {}),
        "png 16 bits": (grey16, "PNG", {}),
        "png turned": (rgb, "PNG", {"exif": exif}),
        "gif": (rgb, "GIF", {}),
        "gif transparent": (rgb.quantize(16), "GIF", {"transparency": 3, "optimize": False}),
        "gif animated": (opaque[0], "GIF", frames),
        "webp lossy": (rgb, "WEBP", {}),
        "webp lossless": (rgb, "WEBP", {"lossless": True}),
        "webp alpha": (rgba, "WEBP", {}),
        "webp turned": (rgb, "WEBP", {"exif": exif}),
        "webp animated": (opaque[0], "WEBP", frames),
        "webp animated alpha": (rgba, "WEBP", {"lossless": True, "save_all": True, "append_images": [rgba.rotate(90)]}),
        "bmp": (rgb, "BMP", {}),
        "bmp palette": (rgb.convert("P"), "BMP", {}),
        "bmp alpha": (rgba, "BMP", {}),
        "bmp 1 bit": (rgb.convert("1"), "BMP", {}),
        "tiff": (rgb, "TIFF", {}),
        "tiff lzw": (rgba, "TIFF", {"compression": "tiff_lzw"}),
        "tiff deflate": (rgb, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "tiff jpeg": (rgb, "TIFF", {"compression": "jpeg"}),
        "ppm": (rgb, "PPM", {}),
        "jpeg 2000": (rgb, "JPEG2000", {}),
        "jpeg 2000 codestream": (rgb, "JPEG2000", {"no_jp2": True}),
    }
    if features.check("avif"):
        kinds["avif"] = (rgb, "AVIF", {})
    files = {name: Control(form, _encode(image, form, options)) for name, (image, form, options) in kinds.items()}
    files["gif inside its canvas"] = Control("GIF", _on_a_larger_canvas(files["gif transparent"].data))
    return files


def mutated(seed):
    """(name of the control, what was done to it, bytes) of a broken file, a function of the seed."""
    draw = random.Random(seed)
    name = draw.choice(list(controls()))
    data = bytearray(controls()[name].data)
    done = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        change = draw.choice(_CHANGES)
        done.append(change.__name__.strip("_"))
        data = change(data, draw)
    if name.startswith("png") and draw.random() < 0.7:
        data = _with_right_checksums(data)
        done.append("checksums put right")
    return name, ", ".join(done), bytes(data)


def _truncated(data, draw):
    end = draw.randrange(len(data) + 1) if draw.random() < 0.5 else draw.randrange(min(len(data), HEADER_BYTES) + 1)
    return data[:end]


def _header_bits_flipped(data, draw):
    for _ in range(draw.randint(1, 4)):
        if data:
            data[draw.randrange(min(len(data), HEADER_BYTES))] ^= 1 << draw.randrange(8)
    return data


def _bytes_overwritten(data, draw):
    for _ in range(draw.randint(1, 8)):
        if data:
            data[draw.randrange(len(data))] = draw.randrange(256)
    return data


def _number_overwritten(data, draw):
    width = draw.choice((1, 2, 3, 4))
    if len(data) < width:
        return data
    start = draw.randrange(min(len(data), HEADER_BYTES) - width + 1)
    value = draw.choice(_EXTREMES) % 256**width
    data[start : start + width] = value.to_bytes(width, draw.choice(("big", "little")))
    return data


def _bytes_removed(data, draw):
    start = draw.randrange(len(data) + 1)
    del data[start : start + draw.randint(1, 40)]
    return data


def _bytes_repeated(data, draw):
    start = draw.randrange(len(data) + 1)
    return data[: start + draw.randint(1, 60)] + data[start:]


def _bytes_appended(data, draw):
    return data + draw.randbytes(draw.randint(1, 40))


def _other_body(data, draw):
    other = controls()[draw.choice(list(controls()))].data
    cut = draw.randrange(min(len(data), HEADER_BYTES) + 1)
    return data[:cut] + bytearray(other[cut:])


_CHANGES = (
    _truncated,
    _header_bits_flipped,
    _header_bits_flipped,
    _bytes_overwritten,
    _number_overwritten,
    _number_overwritten,
    _bytes_removed,
    _bytes_repeated,
    _bytes_appended,
    _other_body,
)


def _pictures():
    """Smooth RGB and RGBA images of 24 x 20 pixels, and three frames for animations."""
    noise = np.random.default_rng(0)
    coarse = Image.fromarray(noise.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    rgb = coarse.resize((24, 20), Image.Resampling.BICUBIC)
    alpha = noise.integers(0, 256, (20, 24, 1), dtype=np.uint8)
    rgba = Image.fromarray(np.concatenate([np.asarray(rgb), alpha], axis=-1))
    return rgb, rgba, [rgb, rgb.rotate(180), Image.new("RGB", rgb.size, (9, 90, 200))]


def _encode(image, form, options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _on_a_larger_canvas(gif):
    """The GIF with its frame moved right and down on a canvas of 40 x 30 pixels."""
    data = bytearray(gif)
    data[6:10] = struct.pack("<HH", 40, 30)
    frame = data.index(b"\x2c\0\0\0\0\x18\0\x14\0")
    data[frame + 1 : frame + 5] = struct.pack("<HH", 5, 7)
    return bytes(data)


def _with_right_checksums(data):
    """A PNG whose chunks have the checksums of their contents, as far as its chunks can be followed."""
    position = 8
    while position + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, position)
        end = position + 8 + size
        if end + 4 > len(data):
            break
        struct.pack_into(">I", data, end, zlib.crc32(data[position + 4 : end]))
        position = end + 4
    return data
