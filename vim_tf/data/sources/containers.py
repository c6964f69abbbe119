"""Files that hold many images each and can only be read in order: the base class, and TFRecords.

The other kinds are in `parquet` and `tar`.
"""

import abc
import dataclasses
import functools
import itertools
import os
from typing import NamedTuple

import tensorflow as tf
from google.protobuf.message import DecodeError

from vim_tf.data import order
from vim_tf.data.records import images as image_records
from vim_tf.data.sources import feature_names, shards
from vim_tf.errors import InputError, one_line
from vim_tf.storage.files import FAILURES, message_of

# Maximum length of an error message, which may quote a whole record.
_REASON_LENGTH = 300
# Records of a file to look at to find its features.
_RECORDS_SEEN = 64
# Feature with the class's name for each feature with its label.
_CLASS_TEXTS = {"image/class/label": "image/class/text"}


class Record(NamedTuple):
    """An example as it is stored in a file.

    Attributes:
        image: bytes, the encoded image; empty if there is none.
        label: int, -1 = none.
        key: bytes; empty if the file has none.
        problem: str, why the example can't be used; empty = no known problem.
        class_name: str, what the file calls the label's class; empty = nothing.
    """

    image: bytes
    label: int
    key: bytes
    problem: str = ""
    class_name: str = ""


class Container(abc.ABC):
    """A kind of record file whose features are known.

    Attributes:
        class_names: tuple of str, names of all classes by label; None = the files don't say.
    """

    class_names = None

    @abc.abstractmethod
    def records(self, path):
        """Yields the Records of a file.

        Raises:
            InputError: the file is broken.
        """

    def images(self, path):
        """tf.data.Dataset of the images of a file, encoded, string []; "" where it has none.

        Args:
            path: str or string [].
        """
        signature = tf.TensorSpec([], tf.string)
        return tf.data.Dataset.from_generator(self._images, output_signature=signature, args=(path,))

    def key_of(self, record, relative, index):
        """Key of a record over all files, bytes: its own, else one made from its position.

        Args:
            record: Record.
            relative: str, path of its file below the folder that all files share.
            index: int, number of the record in its file.
        """
        return record.key or f"{relative}:{index}".encode()

    def _images(self, path):
        for record in self.records(path.decode()):
            yield record.image


@dataclasses.dataclass(frozen=True)
class ContainerShard:
    """Files that hold many images each.

    Attributes:
        split, index, count: as every shard has them.
        container: Container, how the files are read.
        paths: tuple of str.
        relatives: tuple of str, the paths below the folder that all files of the split share.
        validation_limit: float, records whose key has a hash below it belong to the validation split, if the files
            are shared by both splits; None = all records belong to this split.
        of_source: classes.Classes, whose numbers the entries have as labels; None = the labels as they are.
    """

    split: str
    index: int
    count: int
    container: Container
    paths: tuple
    relatives: tuple
    validation_limit: float | None = None
    of_source: object = None

    def entries(self):
        """Yields the Entries in order.

        Raises:
            InputError: a file is broken.
        """
        for path, relative in zip(self.paths, self.relatives, strict=True):
            for number, record in enumerate(self.container.records(path)):
                key = self.container.key_of(record, relative, number)
                if self._is_wanted(key):
                    label = -1 if record.problem else record.label
                    if self.of_source:
                        label = int(self.of_source.number(label))
                    load = functools.partial(image_of, record)
                    yield shards.Entry(f"{path}:{number}", key, label, load, record.class_name)

    def _is_wanted(self, key):
        if self.validation_limit is None:
            return True
        return (order.hash_of(key) < self.validation_limit) == (self.split == "validation")


def container_shards(split, container, paths, num_shards, validation_limit=None, of_source=None):
    """List of ContainerShards of a split; arguments as in ContainerShard and `SourceKind.plan`."""
    common = common_folder(paths)
    parts = shards.parts(len(paths), num_shards)
    return [
        ContainerShard(
            split,
            index,
            len(parts),
            container,
            tuple(paths[part]),
            tuple(path[common:] for path in paths[part]),
            validation_limit,
            of_source,
        )
        for index, part in enumerate(parts)
    ]


@dataclasses.dataclass(frozen=True)
class TFRecords(Container):
    """TFRecord files of tf.train.Example; those that end in .gz are decompressed.

    Args:
        image, label, key: names of the features; `label` and `key` may be "".
        text: name of the feature with the class's name; "" = none.
        has_integer_keys: bool.
        class_names: as in Container.
    """

    image: str = "image"
    label: str = "label"
    key: str = "key"
    text: str = ""
    has_integer_keys: bool = False
    class_names: tuple | None = None

    @property
    def contents(self):
        """What a file has to hold, for messages."""
        return f"a tf.train.Example with {self.image} (bytes) and {self.label or 'no label'} (int64)"

    def images(self, path):
        """As in Container."""
        return self._parsed(path).map(lambda image, label, key, text: image)

    def records(self, path):
        """As in Container; an error names the record."""
        count = 0
        try:
            for image, label, key, text in self._parsed(path).as_numpy_iterator():
                problem = "" if image else f"no bytes in feature {self.image}"
                yield Record(image, int(label), key, problem, text.decode("utf-8", "replace"))
                count += 1
        except FAILURES as error:
            reason = one_line(message_of(error), _REASON_LENGTH)
            raise InputError(f"record {count} of {path} can't be read as {self.contents}: {reason}") from error

    def _parsed(self, path):
        """tf.data.Dataset of (image string [], label int64 [], key string [], text string [])."""
        return _raw_records(path).map(self._parse)

    def _parse(self, record):
        text = tf.io.FixedLenFeature([], tf.string, "")
        number = tf.io.FixedLenFeature([], tf.int64, -1)
        kinds = {
            self.image: text,
            self.label: number,
            self.key: number if self.has_integer_keys else text,
            self.text: text,
        }
        kinds.pop("", None)
        parsed = tf.io.parse_single_example(record, kinds)
        parsed[""] = tf.constant("")
        label = parsed[self.label] if self.label else tf.constant(-1, tf.int64)
        key = parsed[self.key]
        return parsed[self.image], label, tf.strings.as_string(key) if self.has_integer_keys else key, parsed[self.text]


def find_tfrecords(paths, given):
    """Determines the TFRecords features of files from their first records.

    Args:
        paths: list of str.
        given: feature_names.FeatureNames.

    Raises:
        InputError: the features can't be determined, or have the wrong types.
    """
    path, kinds = _kinds_of_features(paths)
    if not kinds:  # no record, or an unreadable one, which reading it will report
        return TFRecords(given.image or "image")
    found = feature_names.find(path, given, list(kinds))
    for name, allowed, what in (
        (found.image, ("bytes",), "the image must be an encoded file, bytes"),
        (found.label, ("int64",), "labels are integers"),
        (found.key, ("bytes", "int64"), "keys are bytes or integers"),
    ):
        if name and kinds[name] not in allowed:
            raise InputError(f"{path}: feature {name} is {kinds[name]}; {what}")
    text = _CLASS_TEXTS.get(found.label, "")
    names = image_records.class_names_of(paths)
    # A feature that the first records lack may appear later.
    label = found.label or ("" if given.label else "label")
    key = found.key or ("" if given.key else "key")
    return TFRecords(
        found.image, label, key, text if text in kinds else "", kinds.get(key) == "int64", names and tuple(names)
    )


def _kinds_of_features(paths):
    """(file, {feature: bytes, int64 or float}) of the first file that has records; else of the last."""
    for path in paths:
        kinds = {}
        try:
            for record in itertools.islice(_raw_records(path).as_numpy_iterator(), _RECORDS_SEEN):
                for name, feature in tf.train.Example.FromString(record).features.feature.items():
                    if feature.WhichOneof("kind"):
                        kinds[name] = feature.WhichOneof("kind").removesuffix("_list")
        except (*FAILURES, DecodeError):
            return path, kinds
        if kinds:
            return path, dict(sorted(kinds.items()))
    return paths[-1], {}


def _raw_records(path):
    compression = tf.where(tf.strings.regex_full_match(path, r"(?s).*\.gz"), "GZIP", "")
    return tf.data.TFRecordDataset(path, compression)


def image_of(record):
    """The encoded image of a Record.

    Raises:
        ValueError: it has a problem.
    """
    if record.problem:
        raise ValueError(record.problem)
    return record.image


def checked_label(label):
    """A label, int.

    Raises:
        ValueError: it has more than 64 bits.
    """
    if not -(2**63) <= label < 2**63:
        raise ValueError(f"label {label} has more than 64 bits")
    return label


def common_folder(paths):
    """Length of the folder, with its slash, that all paths begin with."""
    return os.path.commonprefix(paths).rfind("/") + 1 if len(paths) > 1 else paths[0].rfind("/") + 1
