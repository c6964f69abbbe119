"""Files made to crash a decoder, to fill all memory or to raise unexpected errors."""

import dataclasses
import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.data.sources.container_files import write_tar
from tests.fuzz import corpus
from vim_tf.config import DataConfig
from vim_tf.data.images import decode as decoding
from vim_tf.data.images import examination, headers
from vim_tf.data.records import tokens
from vim_tf.data.sources import containers, tar
from vim_tf.errors import InputError
from vim_tf.storage.digests import digest_of_file

LIMIT = DataConfig.max_pixels


@tf.function(input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int64)])
def decode(image_bytes, max_pixels):
    return decoding.decode_image(image_bytes, max_pixels)


def read(image_bytes, max_pixels=LIMIT):
    """(pixels or None, problem or None) of a file, as every source finds them out."""
    decoded = examination.decode_once(
        lambda: image_bytes, lambda data: decode(tf.constant(data), max_pixels).numpy(), max_pixels
    )
    return decoded.value, decoded.problem


def encode(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


ANIMATION = """
import io, sys
import PIL.Image
import numpy as np
import tensorflow as tf
from vim_tf.data.images.decode import decode_image

frames = [PIL.Image.new("RGB", (200, 200), (v, v, v)) for v in (40, 90, 200)]
file = io.BytesIO()
frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
decode = tf.function(decode_image, input_signature=[tf.TensorSpec([], tf.string)])
for _ in range(200):
    image = decode(tf.constant(file.getvalue())).numpy()
    assert image.shape == (200, 200, 3) and (image == 40).all()
"""


@pytest.mark.slow
def test_an_opaque_animated_webp_is_its_first_frame_time_and_again():
    # In a separate process, since it corrupted the heap.
    done = subprocess.run([sys.executable, "-c", ANIMATION], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    "image_bytes",
    [b"GIF89a" + b"\xff" * 4, b"GIF8", b"GIF89a" + b"\xff" * 500, *(b"GIF89a" + b"\xc3" * n for n in range(20))],
)
def test_a_gif_that_is_cut_anywhere_is_named(image_bytes):
    assert read(image_bytes) == (None, "damaged GIF file: its first frame is missing, empty or cut short")


def test_every_beginning_of_a_gif_is_named_or_its_first_frame():
    image_bytes = corpus.controls()["gif animated"].data
    expected = corpus.seen_on_white(image_bytes)
    read_lengths = []
    lengths = range(0, len(image_bytes), 7)
    for length in lengths:
        pixels, problem = read(image_bytes[:length])
        if problem is None:
            read_lengths.append(length)
            np.testing.assert_array_equal(pixels, expected)
    # From the end of the first frame on, regardless of the others.
    assert read_lengths == [length for length in lengths if length >= read_lengths[0]]
    assert 0 < len(read_lengths) < len(lengths)


def test_a_later_frame_of_a_gif_takes_no_memory():
    image_bytes = bytearray(corpus.controls()["gif animated"].data)
    expected = corpus.seen_on_white(bytes(image_bytes))
    end = int(headers.gif_first_frame(headers.to_vector(bytes(image_bytes)))["end"])
    second = image_bytes.index(b"\x2c", end)
    assert image_bytes[end] == 0x21 and second == end + 8  # behind its control block
    image_bytes[second + 5 : second + 9] = b"\xff" * 4
    pixels, problem = read(bytes(image_bytes), max_pixels=24 * 20)
    assert problem is None
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("size", [1, 7, 254, 255])
def test_a_gif_may_have_any_number_of_blocks_of_any_size(size):
    gif = corpus.controls()["gif transparent"].data
    table_end = 13 + 3 * 2 ** (gif[10] % 8 + 1)
    # A comment, in which nothing is what it looks like.
    blocks = (bytes([size]) + (b"\x21\xf9\x04\0\x2c\xff\x01" * 37)[:size]) * (1_000_000 // size)
    pixels, problem = read(gif[:table_end] + b"\x21\xfe" + blocks + b"\0" + gif[table_end:])
    assert problem is None
    np.testing.assert_array_equal(pixels, corpus.seen_on_white(gif))


def test_the_end_of_a_gifs_blocks_is_found_as_by_following_them():
    random = np.random.default_rng(0)
    for length in (0, 1, 2, 255, 256, 4095, 4096, 4097, 4098, 9000):
        for largest in (1, 2, 30, 256):
            data = random.integers(1, largest + 1, length).clip(0, 255).astype(np.uint8)
            if length:
                data[random.integers(0, length, 3)] = 0
            vector = headers.to_vector(tf.constant(data.tobytes()))
            position = 0
            while position < length and data[position]:
                position += 1 + int(data[position])
            assert int(headers._end_of_blocks(vector, tf.constant(0, tf.int64))) == position


def png_of(width, height):
    """A grey PNG whose pixels are all 0 and take hardly a byte."""

    def chunk(name, payload):
        return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))

    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(b"\0" * (width + 1)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_a_png_of_few_bytes_and_many_pixels_is_refused_by_its_header():
    image_bytes = png_of(20_000, 20_000)
    assert len(image_bytes) < 400_000
    assert read(image_bytes) == (None, "20000 x 20000 pixels are more than max_pixels = 89478485")


# Offset and format of width and height, and what they are less than the number of pixels.
SIZE_FIELDS = {
    "jpeg": None,
    "png": (16, ">II", 0),
    "gif": (6, "<HH", 0),
    "webp lossy": (26, "<HH", 0),
    "webp lossless": (21, "<I", 1),
    "webp animated": (24, "<I", 1),
    "bmp": (18, "<ii", 0),
}


def claiming(name, width, height):
    """A sound file of 24 x 20 pixels whose header says another size."""
    data = bytearray(corpus.controls()[name].data)
    if name == "jpeg":
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = struct.pack(">HH", height, width)
    elif name == "webp lossless":
        data[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    elif name == "webp animated":
        data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    else:
        start, form, _ = SIZE_FIELDS[name]
        struct.pack_into(form, data, start, width, height)
    return bytes(data)


@pytest.mark.parametrize("name", SIZE_FIELDS)
def test_the_header_of_every_format_says_how_many_pixels_there_are(name):
    data = headers.to_vector(tf.constant(claiming(name, 12_345, 9_876)))
    header = {
        "jpeg": lambda: headers.jpeg_header(tf.constant(claiming(name, 12_345, 9_876))),
        "png": lambda: headers.png_header(data),
        "gif": lambda: headers.gif_first_frame(data)["header"],
        "webp": lambda: headers.webp_header(data),
        "bmp": lambda: headers.bmp_layout(data)[0],
    }[name.split()[0]]()
    assert (header.problem.numpy(), int(header.width), int(header.height)) == (b"", 12_345, 9_876)


@pytest.mark.parametrize("name", SIZE_FIELDS)
def test_a_file_of_any_format_that_claims_too_many_pixels_is_refused(name):
    assert read(claiming(name, 10_000, 9_000)) == (None, "10000 x 9000 pixels are more than max_pixels = 89478485")


@pytest.mark.parametrize("name", corpus.controls())
def test_the_limit_itself_is_allowed_and_a_pixel_less_is_not(name):
    data = corpus.controls()[name].data
    height, width, _ = corpus.seen_on_white(data).shape
    assert read(data, max_pixels=height * width)[1] is None
    problem = read(data, max_pixels=height * width - 1)[1]
    assert problem.endswith(f"pixels are more than max_pixels = {height * width - 1}")
    assert f"{width} x {height}" in problem or f"{height} x {width}" in problem


def test_a_bmp_of_negative_height_is_read_from_the_top_and_its_limit_holds():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8))
    data = bytearray(encode(image, "BMP"))
    struct.pack_into("<i", data, 22, -6)
    pixels, problem = read(bytes(data), max_pixels=48)
    assert problem is None
    np.testing.assert_array_equal(pixels, np.asarray(image)[::-1])
    for height in (-(1 << 31), -100_000_000, (1 << 31) - 1):
        struct.pack_into("<i", data, 22, height)
        assert read(bytes(data))[1] == f"8 x {abs(height)} pixels are more than max_pixels = 89478485"
    struct.pack_into("<ii", data, 18, -8, 6)
    assert "not an image" in read(bytes(data))[1]


def test_a_tiff_with_tiles_larger_than_its_image_is_refused():
    directory = [
        *((256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1), (277, 3, 1, 1)),
        *((322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 8), (325, 4, 1, 8)),
    ]
    entries = b"".join(struct.pack("<HHII", *entry) for entry in directory)
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(directory)) + entries + bytes(20)
    assert read(data) == (None, "60000 x 60000 pixels are more than max_pixels = 89478485")


@pytest.mark.parametrize("strips", [1, 3])
def test_a_tiff_whose_jpeg_leaves_rows_out_is_refused_since_they_would_be_what_memory_holds(strips):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8))
    data = bytearray(encode(image, "TIFF", compression="jpeg", tiffinfo={278: 48 // strips}))
    assert read(bytes(data))[1] is None
    opened = Image.open(io.BytesIO(data))
    assert len(opened.tag_v2[273]) == strips
    frame = data.index(b"\xff\xc0\0\x11\x08", opened.tag_v2[273][-1])
    assert struct.unpack(">HH", data[frame + 5 : frame + 9]) == (48 // strips, 40)
    for size in ((2, 40), (48 // strips, 2)):
        struct.pack_into(">HH", data, frame + 5, *size)
        assert read(bytes(data)) == (None, "damaged TIFF file: a part of its image is missing")


def test_a_jpeg_2000_whose_codestream_is_larger_than_its_box_is_refused():
    data = bytearray(corpus.controls()["jpeg 2000"].data)
    start = data.index(b"\xff\x4f\xff\x51")
    struct.pack_into(">II", data, start + 8, 50_000, 40_000)
    assert read(bytes(data)) == (None, "50000 x 40000 pixels are more than max_pixels = 89478485")


def test_no_decoder_of_pillows_sees_a_file_that_its_header_condemns(monkeypatch):
    monkeypatch.setattr(examination, "convert_to_png", None)
    for name in SIZE_FIELDS:
        assert "more than" in read(claiming(name, 10_000, 9_000))[1]


def test_a_png_whose_header_is_not_its_first_chunk_is_refused():
    png = corpus.controls()["png"].data
    chunk = struct.pack(">I", 4) + b"abCdWXYZ" + struct.pack(">I", zlib.crc32(b"abCdWXYZ"))
    assert read(png[:8] + chunk + png[8:]) == (None, "damaged PNG file: it doesn't begin with its header")


def test_colours_of_16_bits_and_transparency_are_rounded_exactly():
    values = np.arange(65536, dtype=np.uint16)
    expected = np.round(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(decoding._to_8_bits(tf.constant(values)), expected)
    colour, alpha = np.meshgrid(np.arange(256), np.arange(256))
    rgba = np.stack([colour, colour, colour, alpha], axis=-1).astype(np.uint8)
    expected = np.round(255 - (255 - colour) * alpha / 255).astype(np.uint8)
    np.testing.assert_array_equal(decoding._over_white(tf.constant(rgba))[:, :, 1], expected)


def test_a_record_that_is_not_an_example_is_an_input_error_for_any_bytes(tmp_path):
    path = str(tmp_path / "x.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"\xff\xfe\xc3\x28" * 9)
    with pytest.raises(InputError, match="record 0 of") as caught:
        list(containers.TFRecords().records(path))
    assert "Could not parse example input" in str(caught.value)
    assert "{{" not in str(caught.value)


def test_a_name_in_a_tar_that_is_not_text_still_becomes_a_key(tmp_path):
    image = corpus.controls()["png"].data
    path = str(tmp_path / "x.tar")
    write_tar(path, [("a\udcff.png", image), ("a\udcff.cls", b"1"), ("b.png", image), ("b.cls", b"0")])
    records = list(tar.WebDataset().records(path))
    assert [(record.key, record.label, record.problem) for record in records] == [(rb"a\xff", 1, ""), (b"b", 0, "")]


def test_invalid_token_records_are_an_input_error_for_any_bytes(tmp_path):
    path = tmp_path / "train" / "x.tfrecord.gz"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        writer.write(b"\xff\xfe\xc3\x28" * 9)
    shard = {"file": path.name, "num_examples": 1, "sha256": digest_of_file(str(path))}
    facts = {field.name: 1 for field in dataclasses.fields(tokens.Manifest)}
    facts |= {"codebook_size": 9, "num_classes": 0, "class_names": [], "tokenizer_checksum": "x", "source": "x"}
    manifest = tokens.Manifest(**facts | {"splits": {"train": {"num_examples": 1, "shards": [shard]}}})
    tokens.write_manifest(str(tmp_path), manifest)
    with pytest.raises(InputError, match="holds no token records"):
        tokens.load_tokens(str(tmp_path), "train")
