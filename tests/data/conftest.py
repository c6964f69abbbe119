"""Small images, encoded in many ways."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vim_tf.data.images.decode import decode_image


class Pictures:
    """Makes test images and says what they look like.

    Attributes:
        rgb, rgba: smooth PIL images of 50 x 40 pixels, without symmetry; alpha is random.
    """

    def __init__(self):
        random = np.random.default_rng(0)
        coarse = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        self.rgb = coarse.resize((50, 40), Image.Resampling.BICUBIC)
        alpha = random.integers(0, 256, (40, 50, 1), dtype=np.uint8)
        self.rgba = Image.fromarray(np.concatenate([np.asarray(self.rgb), alpha], axis=-1))

    def flat(self, value, size=(8, 8)):
        """An image of one grey."""
        return Image.new("RGB", size, (value, value, value))

    def noise(self, seed, size=(12, 10)):
        """RGB noise, different for every seed."""
        random = np.random.default_rng(seed)
        return Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))

    def encode(self, image, form, **options):
        """File of a PIL image."""
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        return buffer.getvalue()

    def png(self, bits, colour_type, rows, width, chunks=b""):
        """PNG of given rows of bytes, for the kinds that Pillow can't write."""
        header = struct.pack(">IIBBBBB", width, len(rows), bits, colour_type, 0, 0, 0)
        pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
        parts = self.chunk(b"IHDR", header) + chunks + self.chunk(b"IDAT", pixels) + self.chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + parts

    def chunk(self, name, payload):
        """A PNG chunk."""
        return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))

    def exif(self, orientation, order="II", kind=3, other_tags=3, offset=8):
        """TIFF structure with an orientation among other tags; kind 3 is SHORT, 4 is LONG."""
        mark = {"II": "<", "MM": ">"}[order]
        value = struct.pack(mark + ("HH" if kind == 3 else "I"), *((orientation, 0) if kind == 3 else (orientation,)))
        entries = b"".join(struct.pack(mark + "HHII", 0x0100 + i, 4, 1, 7) for i in range(other_tags))
        entries += struct.pack(mark + "HHI", 0x0112, kind, 1) + value
        head = order.encode() + struct.pack(mark + "HI", 42, offset) + b"\0" * (offset - 8)
        return head + struct.pack(mark + "H", other_tags + 1) + entries + b"\0\0\0\0"

    def examples(self, path, images, labels=None, keys=None):
        """Writes tf.train.Examples of encoded images to a TFRecord file."""
        options = tf.io.TFRecordOptions(compression_type="GZIP" if path.endswith(".gz") else "")
        with tf.io.TFRecordWriter(path, options) as writer:
            for index, image in enumerate(images):
                features = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))}
                if labels is not None:
                    features["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[labels[index]]))
                if keys is not None:
                    features["key"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[keys[index]]))
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


@pytest.fixture(scope="session")
def pictures():
    return Pictures()


@pytest.fixture(scope="session")
def decode():
    """`decode_image` compiled, as arrays."""
    compiled = tf.function(decode_image, input_signature=[tf.TensorSpec([], tf.string)])
    return lambda image_bytes: compiled(tf.constant(image_bytes)).numpy()


@pytest.fixture
def warnings_logged(monkeypatch):
    """Lines that the data code logs as warnings."""
    from absl import logging

    lines = []
    monkeypatch.setattr(logging, "warning", lambda message, *arguments: lines.append(message % arguments))
    return lines
