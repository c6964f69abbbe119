"""The image files of a request: read as the library reads them, or refused by their row."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fuzz import corpus
from vim_tf.data.images.fit import decode_and_fit
from vim_tf.data.images.pixels import to_uint8
from vim_tf.serving.request_images import read_images

MAX_PIXELS = 40 * 30  # as many as the largest valid file
SERVED = [name for name in corpus.controls() if name.split()[0] in ("jpeg", "png", "gif", "webp", "bmp")]
SERVED = [name for name in SERVED if "2000" not in name and name != "bmp 1 bit"]  # these need Pillow


@pytest.fixture(scope="module")
def read():
    """`read_images` compiled, as arrays."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def compiled(image_bytes):
        return read_images(image_bytes, 10, 12, MAX_PIXELS)

    return lambda image_bytes: compiled(tf.constant(image_bytes, tf.string)).numpy()


def test_every_row_is_what_the_library_reads_from_the_file(read):
    files = [corpus.controls()[name].data for name in SERVED] * 2
    images = read(files)
    assert images.dtype == np.float32
    for image, data in zip(images, files, strict=True):
        np.testing.assert_array_equal(to_uint8(image), decode_and_fit(data, 10, 12))


def test_a_request_without_rows_has_no_images(read):
    assert read([]).shape == (0, 10, 12, 3)


SOUND = corpus.controls()["png"].data
BAD = {
    "no image": (b"no image", "not a JPEG, PNG, GIF, WebP or BMP file"),
    "empty": (b"", "not a JPEG, PNG, GIF, WebP or BMP file"),
    "other bytes": (b"\xff\xfe\xc3", "not a JPEG, PNG, GIF, WebP or BMP file"),
    "TIFF": (corpus.controls()["tiff"].data, "not a JPEG, PNG, GIF, WebP or BMP file"),
    "cut GIF": (b"GIF89a" + b"\xff" * 4, "damaged GIF file: its first frame is missing, empty or cut short"),
    "cut PNG": (SOUND[:-20], "it is damaged or cut short"),
    "JPEG without a header": (b"\xff\xd8\xff", "it is damaged or cut short"),
    "unusual BMP": (corpus.controls()["bmp 1 bit"].data, "BMP files of this kind can't be decoded"),
    "bomb": (
        SOUND[:16] + b"\0\0\x4e\x20\0\0\x4e\x20" + SOUND[24:],
        f"20000 x 20000 pixels are more than max_pixels = {MAX_PIXELS}",
    ),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("row", [0, 2])
def test_a_file_that_cant_be_read_fails_the_request_with_its_row_and_reason(name, row, read):
    data, reason = BAD[name]
    files = [SOUND] * 3
    files[row] = data
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        read(files)
    # TensorFlow escapes apostrophes.
    assert f"row {row} of image_bytes: {reason}" in caught.value.message.replace("\\'", "'")


def test_the_first_of_several_bad_rows_is_named(read):
    with pytest.raises(tf.errors.InvalidArgumentError, match="row 1 of image_bytes: not a JPEG"):
        read([SOUND, b"", SOUND[:-20], SOUND])
