"""What all sources have in common: augmented images, and the rows of a batch for one of several workers."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from vim_tf.data import augmentation, order, sources
from vim_tf.data.images import examination
from vim_tf.data.images.decode import decode_image
from vim_tf.data.images.fit import fit_image
from vim_tf.data.sources.base import IndexedSource
from vim_tf.data.views import make_views

SIZE = 6
COUNT = 23
AUGMENT = augmentation.RandomSquare(SIZE, SIZE, 1.125, 1.5, flip=True)


def take(dataset, count):
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def rows_of(batches):
    return [
        {name: values[row] for name, values in batch.items()} for batch in batches for row in range(len(batch["key"]))
    ]


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.fixture(scope="module")
def files(pictures):
    """Key to file: images of several sizes."""
    images = {f"{i:02d}.jpg": pictures.noise(i, (12 + i % 5, 10 + i % 3)) for i in range(COUNT)}
    return {key: pictures.encode(image, "JPEG") for key, image in images.items()}


@pytest.fixture(scope="module", params=["folder", "tfrecord", "tfrecord in memory"])
def source(request, files, pictures, tmp_path_factory):
    """The files as a folder or as records, kept in memory or not."""
    place = tmp_path_factory.mktemp("images")
    if request.param == "folder":
        name = f"folder:{place}"
        for key, file in files.items():
            (place / key).write_bytes(file)
    else:
        name = f"tfrecord:{place}/x.tfrecord"
        pictures.examples(f"{place}/x.tfrecord", list(files.values()), keys=[key.encode() for key in files])
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "tfrecord in memory":
            patch.setattr(examination, "MEMORY_LIMIT_BYTES", 0)
        return sources.open_source(name, "train", SIZE, SIZE, validation_fraction=0.0, shuffle_buffer=10)


@pytest.fixture(scope="module")
def plain(source):
    """Two epochs and a bit."""
    return take(source.shuffled(3), 2 * COUNT + 10)


@pytest.fixture(scope="module")
def augmented(source):
    """The same, varied."""
    return take(source.shuffled(3, augment=AUGMENT), 2 * COUNT + 10)


@pytest.mark.slow
def test_views_are_made_of_the_originals_by_the_seed_of_example_and_epoch(augmented, files):
    numbers = {key.encode(): number for number, key in enumerate(files)}
    for position, element in list(enumerate(augmented))[::6]:
        seed = order.example_seed(3, tf.constant(position // COUNT, tf.int64), numbers[element["key"]])
        original = tf.io.decode_jpeg(files[element["key"].decode()], dct_method="INTEGER_ACCURATE")
        np.testing.assert_array_equal(element["image"], AUGMENT(original, seed))


def test_augmented_examples_come_in_the_same_order(plain, augmented):
    assert [(e["key"], e["label"]) for e in augmented] == [(e["key"], e["label"]) for e in plain]


def test_every_epoch_shows_another_view(augmented):
    epochs = augmented[:COUNT], augmented[COUNT : 2 * COUNT]
    views = [{e["key"]: e["image"].tobytes() for e in epoch} for epoch in epochs]
    assert sum(views[0][key] != views[1][key] for key in views[0]) > 0.8 * COUNT


def test_augmented_examples_resume_from_start_with_any_batch_size(source, augmented):
    batches = take(source.shuffled_batches(7, 3, start=17, augment=AUGMENT), 5)
    assert_same(rows_of(batches), augmented[17 : 17 + 35])


def test_flipped_images_are_the_fitted_ones(source, plain):
    flipped = take(source.shuffled(3, augment=augmentation.Flip()), COUNT)
    is_flipped = [not np.array_equal(a["image"], b["image"]) for a, b in zip(flipped, plain[:COUNT], strict=True)]
    for element, fitted, turned in zip(flipped, plain[:COUNT], is_flipped, strict=True):
        np.testing.assert_array_equal(element["image"], fitted["image"][:, ::-1] if turned else fitted["image"])
    assert 0 < sum(is_flipped) < COUNT


@pytest.mark.slow
@pytest.mark.parametrize("augment", [None, AUGMENT], ids=["plain", "augmented"])
def test_workers_share_a_batch_by_rows(source, plain, augmented, augment):
    part = source.shuffled_batches(8, 3, start=4, augment=augment, rows=(3, 2))
    assert part.element_spec["image"].shape == (2, SIZE, SIZE, 3)
    whole = plain if augment is None else augmented
    expected = [whole[4 + 8 * batch + row] for batch in range(5) for row in (3, 4)]
    assert_same(rows_of(take(part, 5)), expected)


@pytest.mark.slow
def test_files_that_only_pillow_reads_are_augmented_from_memory(pictures, tmp_path):
    image = pictures.noise(1, (12, 12))
    pictures.examples(f"{tmp_path}/x.tfrecord", [pictures.encode(image, "TIFF")])
    source = sources.open_source(f"tfrecord:{tmp_path}/x.tfrecord", "train", SIZE, SIZE, validation_fraction=0.0)
    seed = order.example_seed(3, tf.constant(0, tf.int64), 0)
    element = take(source.shuffled(3, augment=AUGMENT), 1)[0]
    np.testing.assert_array_equal(element["image"], AUGMENT(np.asarray(image), seed))


@pytest.mark.parametrize("name", ["digits", "photos"])
def test_embedded_sources_share_batches_by_rows_too(name):
    source = sources.open_source(name, "validation", 8, 8)
    for augment in (None, augmentation.RandomSquare(8, 8, 1.125, 1.5, flip=True)):
        whole = take(source.shuffled_batches(10, 3, augment=augment), 2)
        part = take(source.shuffled_batches(10, 3, augment=augment, rows=(4, 3)), 2)
        assert_same(part, [{name: values[4:7] for name, values in batch.items()} for batch in whole])


def test_rows_of_other_workers_are_not_decoded():
    fetched = []

    def note(index):
        fetched.append(int(index))
        return np.zeros((2, 2, 3), np.uint8)

    def fetch(index):
        return tf.ensure_shape(tf.numpy_function(note, [index], tf.uint8), [2, 2, 3])

    source = IndexedSource("counted", "train", [], np.zeros(640), [str(i).encode() for i in range(640)], fetch)
    places = [int(index) for _, index in take(order.endless_order(640, seed=1), 640)]
    wanted = {index for place, index in enumerate(places) if 2 <= place % 8 < 5}
    take(source.shuffled_batches(8, 1, rows=(2, 3)), 10)
    assert len(fetched) >= 30
    assert set(fetched) <= wanted


def test_digits_are_enlarged_from_their_scans():
    source = sources.open_source("digits", "validation", 16, 16)
    fitted = {e["key"]: e["image"] for e in take(source.ordered(), 359)}
    augment = augmentation.RandomSquare(16, 16, 1.125, 1.5, flip=False)
    for element in take(source.shuffled(0, augment=augment), 20):
        np.testing.assert_array_equal(element["image"], fitted[element["key"]])


def test_views_of_photos_are_squares_of_the_region():
    source = sources.open_source("photos", "validation", 128, 128)
    augment = augmentation.RandomSquare(128, 128, 2.0, 2.0, flip=False)  # 256 x 256, the width of the region
    element = take(source.shuffled(0, augment=augment), 1)[0]
    from sklearn import datasets

    photo = datasets.load_sample_images().images[element["label"]][:, 384:]
    windows = np.lib.stride_tricks.sliding_window_view(photo, (128, 128, 3))[:, :, 0]
    places = np.argwhere((windows[:, :, 0, 0] == element["image"][0, 0]).all(-1))
    assert any(np.array_equal(windows[row, column], element["image"]) for row, column in places)


def test_an_original_is_the_image_itself_if_there_is_no_other():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    source = IndexedSource("one", "train", [], [0], [b"key"], lambda index: tf.constant(image))
    augment = augmentation.RandomSquare(4, 4, 1.0, 1.0, flip=False)
    np.testing.assert_array_equal(take(source.shuffled(0, augment=augment), 1)[0]["image"], image)
    np.testing.assert_array_equal(fit_image(image, 4, 4), image)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flips", "ten_crop"])
def test_views_are_made_of_what_they_take_in_the_fixed_order(kind, source, files):
    views = make_views(kind, SIZE, SIZE, 1.125)
    found, plain = take(source.ordered(views), COUNT + 1), take(source.ordered(), COUNT)
    assert [each["key"] for each in found] == [each["key"] for each in plain]
    for each, image in zip(found, plain, strict=True):
        original = decode_image(files[each["key"].decode()])
        np.testing.assert_array_equal(each["image"], views(original if views.takes_original else image["image"]))
    batches = take(source.ordered_batches(10, views), 4)
    assert [len(batch["image"]) for batch in batches] == [10, 10, 3]
    np.testing.assert_array_equal(batches[0]["image"], np.stack([each["image"] for each in found[:10]]))
