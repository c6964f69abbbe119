"""Image sources whose files can only be read in order: `tfrecord:`, `parquet:`, `webdataset:` and `tfds:`."""

import dataclasses
import weakref

import numpy as np
import tensorflow as tf

from vim_tf.data import order
from vim_tf.data.images import examination
from vim_tf.data.sources import classes, containers, layouts, parquet, shards, tar
from vim_tf.data.sources.base import ImageSource, MemorySource, SourceKind, of_splits
from vim_tf.data.sources.fingerprints import files_below
from vim_tf.errors import InputError
from vim_tf.storage import files

# Files to interleave when shuffling, so that neighbours in a file don't stay neighbours.
_FILES_AT_ONCE = 16

_examined = weakref.WeakValueDictionary()


@dataclasses.dataclass(frozen=True, eq=False)
class _Examples:
    """All examples of some record files, in their order.

    Attributes:
        paths: list of str, the files.
        counts: int array [files], examples in each.
        labels: int64 array [examples].
        has_problem: bool array [examples], examples with a problem, whose label may be unknown too.
        keys: list of bytes [examples].
        class_texts: set of (label, name of its class), from the records.
        examined: examination.Examined, or None if images weren't decoded.
    """

    paths: list[str]
    counts: np.ndarray
    labels: np.ndarray
    has_problem: np.ndarray
    keys: list[bytes]
    class_texts: set
    examined: examination.Examined | None

    @property
    def unreadable(self):
        return self.examined.unreadable

    @property
    def known_labels(self):
        return self.labels[~self.has_problem]


class RecordKind(SourceKind):
    """Images of record files, as `layouts` finds them and their `containers` describe them.

    The splits are those of the files, else a division by a hash of the key.

    Args:
        name: str.
        find_container: as in `layouts.find_files`.
        unused, why_unused: as in SourceKind.
    """

    def __init__(self, name, find_container, unused=(), why_unused=""):
        super().__init__(name)
        self.unused, self.why_unused = unused, why_unused
        self._find_container = find_container

    def find_files(self, place, options):
        """layouts.RecordFiles of a source; arguments as in `open`."""
        return layouts.find_files(self.source_name(place), place, self._find_container, options)

    def open(self, place, split, height, width, options):
        name = self.source_name(place)
        found = self.find_files(place, options)
        container = found.container
        examples = _read_examples(name, found.of(split), container, height, width, options.max_pixels)
        labelled = [examples]
        if options.map_labels or container.class_names is None:
            labelled += [
                _read_examples(name, paths, container, height, width, options.max_pixels, decode=False)
                for each, paths in found.paths.items()
                if each not in (split, "all") and paths
            ]
        of_source = classes.find_classes(
            name,
            np.concatenate([each.known_labels for each in labelled]),
            [text for each in labelled for text in each.class_texts],
            container.class_names,
            options.map_labels,
        )
        examination.check_unreadable(name, examples.unreadable, len(examples.keys), options.max_unreadable_fraction)
        chosen = np.flatnonzero(examples.examined.readable)
        if "all" in found.paths:
            keys = [examples.keys[each] for each in chosen]
            chosen = chosen[order.choose_split(name, keys, split, options.validation_fraction)]
        source = _source(name, split, examples, chosen, of_source, container, height, width, options)
        source.label_values = of_source.values
        return source

    def plan(self, place, splits, height, width, num_shards, options):
        found = self.find_files(place, options)
        is_divided = "all" in found.paths
        limit, names, of_source = None, found.container.class_names, None
        if is_divided:
            (whole,) = containers.container_shards(splits[0], found.container, found.of(splits[0]), 1)
            limit = shards.validation_limit(whole, options.validation_fraction, options.max_pixels)
        if options.map_labels:
            of_source = _mapped_classes(found)
            names = of_source.names
        planned = [
            shard
            for split in splits
            for shard in containers.container_shards(
                split, found.container, found.of(split), num_shards, limit, of_source
            )
        ]
        values = of_source.values if of_source else []
        return shards.Plan(found.name, planned, names if names is None else list(names), is_divided, values)

    def files(self, place, splits):
        return [path for each in of_splits(place, splits) for path in files.glob(each)]


class TfdsKind(RecordKind):
    """Data sets of TensorFlow Datasets."""

    def __init__(self, name):
        super().__init__(name, find_container=None)

    def find_files(self, place, options):
        return layouts.find_tfds(self.source_name(place), place, options.features)

    def files(self, place, splits):
        return files_below(self._builder(place).data_path)

    def versioned_name(self, place):
        return self._builder(place).info.full_name

    def _builder(self, place):
        import tensorflow_datasets as tfds  # not every user of the package has the data sets

        return tfds.builder(place)


def _mapped_classes(found):
    """classes.Classes of the labels that occur in record files, without decoding the images.

    Args:
        found: layouts.RecordFiles.

    Raises:
        InputError: a file is broken, or there is no record.
    """
    told = [
        _read_examples(found.name, paths, found.container, 0, 0, 0, decode=False)
        for paths in found.paths.values()
        if paths
    ]
    labels = np.concatenate([examples.known_labels for examples in told])
    texts = [text for examples in told for text in examples.class_texts]
    return classes.find_classes(found.name, labels, texts, found.container.class_names, map_labels=True)


class _StreamedSource(ImageSource):
    """Record files too large for memory: shuffled by the order of the files and a buffer of undecoded records.

    Args:
        examples: _Examples.
        chosen: int array, the examples that belong to the split.
        of_source: classes.Classes.
        container: how the files are read, as in `containers`.
    """

    def __init__(self, name, split, examples, chosen, of_source, container, height, width, options):
        labels = of_source.number(examples.labels)
        super().__init__(name, split, of_source.names, labels[chosen], examples)
        is_chosen = np.zeros(len(examples.keys), bool)
        is_chosen[chosen] = True
        with tf.device("CPU:0"):
            self._paths = tf.constant(examples.paths)
            self._offsets = tf.constant(np.cumsum(examples.counts) - examples.counts, tf.int64)
            self._is_chosen = tf.constant(is_chosen)
            self._is_converted = tf.constant(examples.examined.converted)
            self._of_examples = {"label": tf.constant(labels), "key": tf.constant(examples.keys)}
        self._container = container
        self._size = (height, width)
        self._max_pixels = options.max_pixels
        self._shuffle_buffer = options.shuffle_buffer

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
            numbers = tf.data.Dataset.from_tensor_slices(order.permutation(num_files, seed, epoch))
            records = numbers.interleave(self._records, cycle_length=min(num_files, _FILES_AT_ONCE), block_length=1)
            buffer_seed = order.random_integers(1, seed, epoch, np.iinfo(np.int64).max)[0]
            # Affects only this function's graph. `shuffle` mixes in the global seed, and fails if that is 0.
            tf.random.set_seed(1)
            return records.shuffle(self._shuffle_buffer, buffer_seed, reshuffle_each_iteration=False)

        records = order.endless_epochs(first_epoch).flat_map(epoch_records).skip(position)
        if augment is None:
            return self._decode(order.select_rows(records, share))
        return self._augment(order.select_rows(records.enumerate(start), share), seed, augment)

    def _records(self, file):
        """Dataset of (number of the example, encoded image) of the split's examples in one file."""
        numbered = self._container.images(self._paths[file]).enumerate(self._offsets[file])
        return numbered.filter(lambda number, record: self._is_chosen[number])

    def _decode(self, records):
        decode = examination.compiled_decoder(*self._size, self._max_pixels)
        return records.map(
            lambda number, record: self._element(number, record, decode),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def _augment(self, placed_records, seed, augment):
        """Augmented elements of (position in the endless order, (number of the example, record))."""
        decode = self._decoder_for(augment)

        def element(position, numbered):
            number, record = numbered
            fields = self._element(number, record, decode)
            example_seed = order.example_seed(seed, position // self.num_examples, number)
            return {**fields, "image": augment(fields["image"], example_seed)}

        return placed_records.map(element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _decoder_for(self, change):
        if change.takes_original:
            return examination.original_decoder(self._max_pixels)
        return examination.compiled_decoder(*self._size, self._max_pixels)

    def _element(self, number, image_bytes, decode):
        image = decode(examination.convert_if(self._is_converted[number], image_bytes, self._max_pixels))
        return {"image": image, **{name: values[number] for name, values in self._of_examples.items()}}


def _source(name, split, examples, chosen, of_source, container, height, width, options):
    if examples.examined.images is None:
        return _StreamedSource(name, split, examples, chosen, of_source, container, height, width, options)
    rows = examples.examined.rows(chosen)
    with tf.device("CPU:0"):
        encoded_rows = tf.constant(rows, tf.int64)

    def fetch_original(index):
        decode = examination.original_decoder(options.max_pixels)
        return decode(tf.gather(examples.examined.encoded, tf.gather(encoded_rows, index)))

    return MemorySource(
        name,
        split,
        class_names=of_source.names,
        labels=of_source.number(examples.labels[chosen]),
        keys=[examples.keys[index] for index in chosen],
        images=examples.examined.images,
        rows=rows,
        fetch_original=fetch_original,
        examined=examples,
    )


def _read_examples(name, paths, container, height, width, max_pixels, decode=True):
    """_Examples of record files; without `decode`, only labels and keys.

    Raises:
        InputError: a file is broken, or there are no examples.
    """
    place = (height, width, max_pixels, container, decode, tuple(paths))
    examples = _examined.get(place)
    if examples is not None:
        return examples
    counts, labels, problems, keys, class_texts = [], [], [], [], set()
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
                    if record.class_name:
                        class_texts.add((record.label, record.class_name))
                    place = f"{path}:{counts[-1]}"
                    counts[-1] += 1
                    yield place, lambda record=record: containers.image_of(record)
            except InputError as error:
                raise InputError(f"--data.source={name}: {error}") from error

    if decode:
        examined = examination.examine(name, walk(), height, width, max_pixels, keep_encoded=True)
    else:
        examined = None
        for _ in walk():
            pass
    if not keys:
        raise InputError(f"--data.source={name}: there is no record in {paths[0]} or the files like it")
    labels, problems = np.array(labels, np.int64), np.array(problems)
    examples = _Examples(list(paths), np.array(counts), labels, problems, keys, class_texts, examined)
    _examined[place] = examples
    return examples


TFRECORD = RecordKind("tfrecord", containers.find_tfrecords)
PARQUET = RecordKind("parquet", parquet.find_parquet)
WEBDATASET = RecordKind("webdataset", tar.find_webdataset, ("key",), "the key is the sample's name")
TFDS = TfdsKind("tfds")
