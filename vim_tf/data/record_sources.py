"""Image sources whose files can only be read in order.

`tfrecord:<glob>`, `parquet:<glob>`, `webdataset:<glob>` and `tfds:<name>`.
"""

import dataclasses
import os
import weakref

import numpy as np
import tensorflow as tf
from absl import logging

from vim_tf.config import SPLITS
from vim_tf.data import containers, ingestion, order
from vim_tf.data.image_source import ImageSource, MemorySource
from vim_tf.errors import InputError

# Files that are read in turns when shuffling, so that neighbours in a file don't stay neighbours.
_FILES_AT_ONCE = 16

_VALIDATION_NAMES = ("validation", "valid", "val", "test")

CONTAINERS = {
    "tfrecord": containers.TFRecords(),
    "parquet": containers.Parquet(),
    "webdataset": containers.WebDataset(),
}

_examined = weakref.WeakValueDictionary()


@dataclasses.dataclass(frozen=True, eq=False)
class _Examples:
    """All examples of some record files, in their order.

    Attributes:
        paths: list of str, the files.
        counts: int array [files], examples in each.
        labels: int64 array [examples].
        has_problem: bool array [examples], those whose label may be unknown as well.
        keys: list of bytes [examples].
        examined: ingestion.Examined, or None where images weren't decoded.
    """

    paths: list[str]
    counts: np.ndarray
    labels: np.ndarray
    has_problem: np.ndarray
    keys: list[bytes]
    examined: ingestion.Examined | None

    @property
    def unreadable(self):
        return self.examined.unreadable

    @property
    def known_labels(self):
        return self.labels[~self.has_problem]


def open_tfrecord(
    place, split, height, width, max_pixels, validation_fraction, max_unreadable_fraction, shuffle_buffer
):
    """TFRecord files of tf.train.Example with `image` (encoded file), `label` (int64) and `key` (bytes); the last two
    are optional. Files that end in .gz are unpacked.

    The splits are the files that a {split} in the glob names, else a division by a hash of the key.

    Raises:
        InputError: no file matches, one is no TFRecord file, or too many images can't be read.
    """
    options = (validation_fraction, max_unreadable_fraction, shuffle_buffer)
    return _open_glob("tfrecord", place, split, height, width, max_pixels, *options)


def open_parquet(place, split, height, width, max_pixels, validation_fraction, max_unreadable_fraction, shuffle_buffer):
    """Parquet files as `containers.Parquet` describes them; otherwise as `open_tfrecord`."""
    options = (validation_fraction, max_unreadable_fraction, shuffle_buffer)
    return _open_glob("parquet", place, split, height, width, max_pixels, *options)


def open_webdataset(
    place, split, height, width, max_pixels, validation_fraction, max_unreadable_fraction, shuffle_buffer
):
    """Tar files as `containers.WebDataset` describes them; otherwise as `open_tfrecord`."""
    options = (validation_fraction, max_unreadable_fraction, shuffle_buffer)
    return _open_glob("webdataset", place, split, height, width, max_pixels, *options)


def _open_glob(
    kind, place, split, height, width, max_pixels, validation_fraction, max_unreadable_fraction, shuffle_buffer
):
    name, container = f"{kind}:{place}", CONTAINERS[kind]
    files = split_files(name, place)
    wanted = split if split in files else "all"
    if not files[wanted]:
        raise InputError(f"--data.source={name}: no file matches {place.replace('{split}', split)}")
    examples = _read_examples(name, files[wanted], container, height, width, max_pixels)
    others = [
        _read_examples(name, paths, container, height, width, max_pixels, decode=False)
        for each, paths in files.items()
        if each != wanted and paths
    ]
    chosen = _choose(name, examples, wanted, split, validation_fraction, max_unreadable_fraction)
    labels = np.concatenate([each.known_labels for each in [examples, *others]])
    check_labels(name, labels)
    class_names = [str(label) for label in range(labels.max() + 1)]
    return _source(name, split, examples, chosen, class_names, container, height, width, max_pixels, shuffle_buffer)


def split_files(name, place):
    """{split: sorted paths} of a glob with {split}, else {"all": sorted paths}."""
    if "{split}" in place:
        return {split: _glob(place.replace("{split}", split)) for split in SPLITS}
    return {"all": _glob(place)}


def open_tfds(place, split, height, width, max_pixels, validation_fraction, max_unreadable_fraction, shuffle_buffer):
    """A TensorFlow Datasets data set with an image and, if it has one, a class label.

    The validation split is the data set's own (`validation`, else `test`), or a part of `train`, divided by a hash.

    Raises:
        InputError: the data set is unknown, can't be prepared, or has no images that can be read.
    """
    name = f"tfds:{place}"
    files, container, class_names = tfds_files(name, place)
    wanted = split if split in files else "all"
    examples = _read_examples(name, files[wanted], container, height, width, max_pixels)
    check_labels(name, examples.labels)
    chosen = _choose(name, examples, wanted, split, validation_fraction, max_unreadable_fraction)
    return _source(name, split, examples, chosen, class_names, container, height, width, max_pixels, shuffle_buffer)


def tfds_files(name, place):
    """({split or "all": paths}, containers.TFRecords, class names) of a TensorFlow Datasets data set.

    Args:
        name: str, of the source, for messages.
        place: str, name of the data set.

    Raises:
        InputError: as in `open_tfds`.
    """
    builder = _prepared_builder(name, place)
    image, label, class_names = _tfds_features(name, builder.info)
    own = builder.info.splits
    if "train" not in own:
        raise InputError(f"--data.source={name} has no split train, only {', '.join(sorted(own)) or 'none'}")
    validation = [each for each in _VALIDATION_NAMES if each in own]
    splits = {"train": "train", "validation": validation[0]} if validation else {"all": "train"}
    files = {split: [os.fspath(path) for path in own[each].filepaths] for split, each in splits.items()}
    return files, containers.TFRecords(image, label, key=""), class_names


class _StreamedSource(ImageSource):
    """Record files too large for memory: shuffled by the order of the files and a buffer of undecoded records.

    Args:
        examples: _Examples.
        chosen: int array, the examples that belong to the split.
        container: how the files are read, as in `containers`.
    """

    def __init__(
        self, name, split, examples, chosen, class_names, container, height, width, max_pixels, shuffle_buffer
    ):
        super().__init__(name, split, len(chosen), class_names, examples)
        is_chosen = np.zeros(len(examples.keys), bool)
        is_chosen[chosen] = True
        with tf.device("CPU:0"):
            self._paths = tf.constant(examples.paths)
            self._offsets = tf.constant(np.cumsum(examples.counts) - examples.counts, tf.int64)
            self._is_chosen = tf.constant(is_chosen)
            self._is_converted = tf.constant(examples.examined.converted)
            self._keys = tf.constant(examples.keys)
        self._container = container
        self._size = (height, width)
        self._max_pixels = max_pixels
        self._shuffle_buffer = shuffle_buffer

    def ordered(self, views=None):
        records = tf.data.Dataset.range(len(self._paths)).flat_map(self._records)
        if views is None:
            return self._decode(records)
        decode = self._decoder_for(views)

        def element(number, record):
            fields = self._element(number, record, decode)
            return {**fields, "image": views(fields["image"])}

        return records.map(element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def shuffled(self, seed, start=0, augment=None, share=None):
        first_epoch, position = divmod(start, self.num_examples)
        num_files = len(self._paths)

        def epoch_records(epoch):
            files = tf.data.Dataset.from_tensor_slices(order.permutation(num_files, seed, epoch))
            records = files.interleave(self._records, cycle_length=min(num_files, _FILES_AT_ONCE), block_length=1)
            buffer_seed = order.random_integers(1, seed, epoch, np.iinfo(np.int64).max)[0]
            # Of this function's graph alone. `shuffle` mixes the global seed in, and fails where that is 0.
            tf.random.set_seed(1)
            return records.shuffle(self._shuffle_buffer, buffer_seed, reshuffle_each_iteration=False)

        records = order.endless_epochs(first_epoch).flat_map(epoch_records).skip(position)
        if augment is None:
            return self._decode(order.select_rows(records, share))
        return self._augment(order.select_rows(records.enumerate(start), share), seed, augment)

    def _records(self, file):
        """Dataset of (number of the example, (image, label, key)) of the split's examples in one file."""
        numbered = self._container.dataset(self._paths[file]).enumerate(self._offsets[file])
        return numbered.filter(lambda number, record: self._is_chosen[number])

    def _decode(self, records):
        decode = ingestion.compiled_decoder(*self._size, self._max_pixels)
        return records.map(
            lambda number, record: self._element(number, record, decode),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def _augment(self, placed_records, seed, augment):
        """Augmented elements of (place in the endless order, (number of the example, record))."""
        decode = self._decoder_for(augment)

        def element(place, numbered):
            number, record = numbered
            fields = self._element(number, record, decode)
            example_seed = order.example_seed(seed, place // self.num_examples, number)
            return {**fields, "image": augment(fields["image"], example_seed)}

        return placed_records.map(element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _decoder_for(self, change):
        if change.takes_original:
            return ingestion.original_decoder(self._max_pixels)
        return ingestion.compiled_decoder(*self._size, self._max_pixels)

    def _element(self, number, record, decode):
        image_bytes, label, _ = record
        image = decode(ingestion.convert_if(self._is_converted[number], image_bytes, self._max_pixels))
        return {"image": image, "label": label, "key": self._keys[number]}


def _source(name, split, examples, chosen, class_names, container, height, width, max_pixels, shuffle_buffer):
    if examples.examined.images is None:
        return _StreamedSource(
            name, split, examples, chosen, class_names, container, height, width, max_pixels, shuffle_buffer
        )
    rows = examples.examined.rows(chosen)
    with tf.device("CPU:0"):
        encoded_rows = tf.constant(rows, tf.int64)

    def fetch_original(index):
        decode = ingestion.original_decoder(max_pixels)
        return decode(tf.gather(examples.examined.encoded, tf.gather(encoded_rows, index)))

    return MemorySource(
        name,
        split,
        class_names=class_names,
        labels=examples.labels[chosen],
        keys=[examples.keys[index] for index in chosen],
        images=examples.examined.images,
        rows=rows,
        fetch_original=fetch_original,
        examined=examples,
    )


def _choose(name, examples, wanted, split, validation_fraction, max_unreadable_fraction):
    """Numbers of the readable examples of a split."""
    ingestion.check_unreadable(name, examples.unreadable, len(examples.keys), max_unreadable_fraction)
    chosen = np.flatnonzero(examples.examined.readable)
    if wanted == "all":
        keys = [examples.keys[index] for index in chosen]
        chosen = chosen[order.is_validation(keys, validation_fraction) == (split == "validation")]
        if not len(chosen):
            raise InputError(
                f"--data.source={name}: the {split} split is empty, as {len(keys)} images were divided with "
                f"--data.validation_fraction={validation_fraction:g}"
            )
    return chosen


def _read_examples(name, paths, container, height, width, max_pixels, decode=True):
    """_Examples of record files; without `decode` only labels and keys.

    Raises:
        InputError: a file is broken or empty of examples.
    """
    place = (height, width, max_pixels, container, decode, tuple(paths))
    examples = _examined.get(place)
    if examples is not None:
        return examples
    counts, labels, problems, keys = [], [], [], []
    common = containers.common_folder(paths)

    def walk():
        for path in paths:
            counts.append(0)
            relative = path[common:]
            try:
                for record in container.records(path):
                    labels.append(record.label)
                    problems.append(bool(record.problem))
                    keys.append(container.key_of(record, relative, counts[-1]))
                    place = f"{path}:{counts[-1]}"
                    counts[-1] += 1
                    yield place, lambda record=record: containers.image_of(record)
            except InputError as error:
                raise InputError(f"--data.source={name}: {error}") from error

    if decode:
        examined = ingestion.examine(name, walk(), height, width, max_pixels, keep_encoded=True)
    else:
        examined = None
        for _ in walk():
            pass
    if not keys:
        raise InputError(f"--data.source={name}: there is no record in {paths[0]} and its like")
    examples = _Examples(list(paths), np.array(counts), np.array(labels, np.int64), np.array(problems), keys, examined)
    _examined[place] = examples
    return examples


def check_labels(name, labels):
    """Refuses a source of which only a part has labels.

    Args:
        name: str, of the source.
        labels: int array, every label that occurs; -1 = none.

    Raises:
        InputError: it does.
    """
    if labels.min() < -1 or (labels.min() == -1 and labels.max() > -1):
        raise InputError(f"--data.source={name}: labels must be 0 or above in all records or missing in all of them")


def _glob(pattern):
    return sorted(path for path in tf.io.gfile.glob(pattern) if not tf.io.gfile.isdir(path))


def _prepared_builder(name, place):
    import tensorflow_datasets as tfds  # only this source needs it

    try:
        # tfds itself reads the variable when it is imported, which may have been long ago.
        builder = tfds.builder(place, data_dir=os.environ.get("TFDS_DATA_DIR"))
        if not builder.is_prepared():
            logging.info("%s: preparing the data set in %s", name, builder.data_dir)
            builder.download_and_prepare()
    except Exception as error:
        # Builders raise whatever their downloads and parsers run into.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"--data.source={name} can't be prepared: {reason[:300]}") from error
    if builder.info.file_format is not tfds.core.FileFormat.TFRECORD:
        raise InputError(f"--data.source={name} is stored as {builder.info.file_format.value}; prepare it as tfrecord")
    return builder


def _tfds_features(name, info):
    """Names of the image and the label feature ("" = none), and the class names."""
    import tensorflow_datasets as tfds

    features = dict(info.features.items())
    supervised = info.supervised_keys or ("image", "label")
    image, label = supervised if len(supervised) == 2 else ("image", "label")
    has_images = isinstance(features.get(image), tfds.features.Image)
    if not has_images or features[image].np_dtype not in (np.uint8, np.uint16):
        raise InputError(f"--data.source={name} has no feature {image} of encoded images: {', '.join(features)}")
    if isinstance(features.get(label), tfds.features.ClassLabel):
        return image, label, features[label].names
    return image, "", []
