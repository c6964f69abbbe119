"""Which files can be read, and what Pillow adds to TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vim_tf.config import DataConfig
from vim_tf.data.images import examination
from vim_tf.data.images.fit import decode_and_fit
from vim_tf.errors import InputError

LIMIT = DataConfig.max_pixels


def through_pillow(image_bytes, decode):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(image_bytes)
    return decode(examination.convert_to_png(image_bytes, LIMIT))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK"])
def test_tiff_files_are_converted(mode, pictures, decode):
    image = pictures.rgb.convert(mode)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(through_pillow(pictures.encode(image, "TIFF"), decode), expected)


def test_alpha_of_a_tiff_is_composited_over_white(pictures, decode):
    decoded = through_pillow(pictures.encode(pictures.rgba, "TIFF"), decode)
    np.testing.assert_array_equal(decoded, decode(pictures.encode(pictures.rgba, "PNG")))


@pytest.mark.parametrize("form", ["TIFF", "PPM"])
def test_16_bits_are_scaled_to_8(form, pictures, decode):
    levels = np.arange(0, 65536, 257 * 5, dtype=np.uint16)[None]
    decoded = through_pillow(pictures.encode(Image.fromarray(levels), form), decode)
    np.testing.assert_array_equal(decoded[0, :, 0], np.arange(0, 256, 5))


def test_the_orientation_of_a_tiff_is_applied_once(pictures, decode):
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = through_pillow(pictures.encode(pictures.rgb, "TIFF", exif=exif), decode)
    np.testing.assert_array_equal(decoded, np.rot90(np.asarray(pictures.rgb), -1))


def test_bmp_kinds_that_tensorflow_refuses_are_converted(pictures, decode):
    image = pictures.rgb.convert("1")
    np.testing.assert_array_equal(
        through_pillow(pictures.encode(image, "BMP"), decode), np.asarray(image.convert("RGB"))
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_truncated_file_stays_unreadable(form, pictures):
    image = pictures.rgb.convert("1") if form == "BMP" else pictures.rgb
    image_bytes = pictures.encode(image, form)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(ValueError):
            examination.convert_to_png(image_bytes[: int(len(image_bytes) * share)], LIMIT)


def test_a_png_without_its_end_stays_unreadable_though_pillow_shows_it(pictures):
    with pytest.raises(ValueError, match="damaged PNG"):
        examination.convert_to_png(pictures.encode(pictures.rgb, "PNG")[:-12], LIMIT)


@pytest.mark.parametrize(
    ("image_bytes", "reason"),
    [(b"", "empty"), (b"some text", "not an image"), (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an")],
)
def test_the_reason_is_one_line(image_bytes, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        examination.convert_to_png(image_bytes, LIMIT)
    assert "\n" not in str(caught.value)


def test_float_pixels_are_refused_since_they_have_no_range(pictures):
    image = Image.fromarray(np.linspace(0, 3000, 12, dtype=np.float32).reshape(3, 4))
    with pytest.raises(ValueError, match="range"):
        examination.convert_to_png(pictures.encode(image, "TIFF"), LIMIT)


def test_convert_if_converts_inside_a_graph(pictures):
    tiff = pictures.encode(pictures.rgb, "TIFF")
    png = pictures.encode(pictures.flat(7), "PNG")
    data = tf.data.Dataset.from_tensor_slices(([True, False], [tiff, png]))
    data = data.map(lambda needed, encoded: decode_and_fit(examination.convert_if(needed, encoded, LIMIT), 40, 50))
    converted, plain = data.as_numpy_iterator()
    np.testing.assert_array_equal(converted, np.asarray(pictures.rgb))
    np.testing.assert_array_equal(plain, np.full((40, 50, 3), 7))


def mixed_examples(pictures):
    files = {
        "a.png": pictures.encode(pictures.flat(1), "PNG"),
        "b.jpg": pictures.encode(pictures.rgb, "JPEG")[:-50],
        "c.tif": pictures.encode(pictures.flat(3), "TIFF"),
        "d.png": b"text",
        "e.gif": pictures.encode(pictures.flat(5), "GIF"),
    }
    return [(name, lambda image_bytes=image_bytes: image_bytes) for name, image_bytes in files.items()]


def kept_files(pictures):
    """What is kept of them: the TIFF as PNG."""
    images = dict(mixed_examples(pictures))
    return [images["a.png"](), examination.convert_to_png(images["c.tif"](), LIMIT), images["e.gif"]()]


def test_examine_finds_what_can_be_read(pictures, warnings_logged):
    examined = examination.examine("mixed", mixed_examples(pictures), 4, 4, LIMIT)
    assert examined.readable.tolist() == [True, False, True, False, True]
    assert examined.converted.tolist() == [False, False, True, False, False]
    np.testing.assert_array_equal(examined.images[:, 0, 0, 0], [1, 3, 5])
    assert [line.partition(":")[0] for line in examined.unreadable] == ["b.jpg", "d.png"]
    assert [line.partition(":")[0] for line in warnings_logged] == ["mixed", "mixed"]
    assert "b.jpg: image file is truncated" in warnings_logged[0]
    assert "d.png: not an image" in warnings_logged[1]


def test_examine_keeps_files_that_tensorflow_reads_where_asked(pictures, decode):
    examined = examination.examine("mixed", mixed_examples(pictures), 4, 4, LIMIT, keep_encoded=True)
    images = [decode(image_bytes) for image_bytes in examined.encoded.numpy()]
    np.testing.assert_array_equal(images, [np.full((8, 8, 3), level) for level in (1, 3, 5)])
    assert examination.examine("mixed", mixed_examples(pictures), 4, 4, LIMIT).encoded is None


@pytest.mark.parametrize("keep_encoded", [False, True])
def test_examine_keeps_no_images_beyond_the_limit(keep_encoded, pictures, monkeypatch):
    examples = mixed_examples(pictures)
    size = 3 * 4 * 4 * 3  # of what is fitted
    if keep_encoded:
        size += sum(len(image_bytes) for image_bytes in kept_files(pictures))
    for limit, is_kept in ((size, True), (size - 1, False)):
        monkeypatch.setattr(examination, "MEMORY_LIMIT_BYTES", limit)
        examined = examination.examine("mixed", examples, 4, 4, LIMIT, keep_encoded=keep_encoded)
        assert (examined.images is not None) is is_kept
        assert (examined.encoded is not None) is (is_kept and keep_encoded)
    assert examined.readable.tolist() == [True, False, True, False, True]


def test_examine_keeps_the_order_of_many_examples(pictures):
    examples = [(str(i), lambda i=i: pictures.encode(pictures.flat(i), "PNG")) for i in range(200)]
    np.testing.assert_array_equal(examination.examine("many", examples, 2, 2, LIMIT).images[:, 0, 0, 0], range(200))


def test_a_file_that_cant_be_opened_is_unreadable():
    def load():
        raise tf.errors.NotFoundError(None, None, "gone;\n no such file")

    examined = examination.examine("lost", [("a.png", load)], 4, 4, LIMIT)
    assert examined.unreadable == ["a.png: gone; no such file"]


def test_too_many_unreadable_files_are_named():
    unreadable = [f"{name}.png: not an image" for name in "abcdefg"]
    with pytest.raises(InputError) as caught:
        examination.check_unreadable("folder:/x", unreadable, 100, 0.05)
    message = str(caught.value)
    assert "7 of 100" in message
    assert "0.05" in message
    assert "--data.max_unreadable_fraction" in message
    assert "e.png: not an image; and 2 more" in message
    assert "f.png" not in message
    assert "\n" not in message


def test_the_limit_itself_is_allowed():
    examination.check_unreadable("folder:/x", ["a", "b"], 100, 0.02)


def test_nothing_left_is_refused_regardless_of_the_limit():
    with pytest.raises(InputError, match="nothing is left"):
        examination.check_unreadable("folder:/x", ["a", "b"], 2, 1.0)
