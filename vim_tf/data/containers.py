"""Files that hold many images each: TFRecord, Parquet and WebDataset tars. Every kind is read in its own order only."""

import dataclasses
import io
import json
import os
import tarfile
from typing import NamedTuple

import tensorflow as tf

from vim_tf.data.files import FAILURES, reason_of
from vim_tf.errors import InputError

# Extensions of the members of a tar that are images; the first one that a sample has is taken.
_IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "jp2", "avif")
_ROWS_AT_ONCE = 64
# Characters that are shown of an error that may quote a whole record.
_REASON_LENGTH = 300


class Record(NamedTuple):
    """An example as it lies in a file.

    Attributes:
        image: bytes, the encoded image; empty where there is none.
        label: int, -1 = none.
        key: bytes; empty where the file has none.
        problem: str, why the example can't be used; empty = nothing is known against it.
    """

    image: bytes
    label: int
    key: bytes
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class TFRecords:
    """TFRecord files of tf.train.Example; those that end in .gz are unpacked.

    Args:
        image, label, key: names of the features; `label` and `key` may be "".
    """

    image: str = "image"
    label: str = "label"
    key: str = "key"

    @property
    def contents(self):
        """What a file has to hold, for messages."""
        return f"a tf.train.Example with {self.image} (bytes) and {self.label or 'no label'} (int64)"

    def dataset(self, path):
        """tf.data.Dataset of (image string [], label int64 [], key string []) of a file; "", -1 and "" where it has
        none.

        Args:
            path: str or string [].
        """
        compression = tf.where(tf.strings.regex_full_match(path, r"(?s).*\.gz"), "GZIP", "")
        return tf.data.TFRecordDataset(path, compression).map(self._parse)

    def key_of(self, record, relative, index):
        """Key of a record over all files, bytes: its own, else made up of its place.

        Args:
            record: Record.
            relative: str, path of its file below the folder that all files share.
            index: int, number of the record in its file.
        """
        return record.key or f"{relative}:{index}".encode()

    def records(self, path):
        """Yields the Records of a file.

        Raises:
            InputError: the file is broken; names the record.
        """
        count = 0
        try:
            for image, label, key in self.dataset(path).as_numpy_iterator():
                yield Record(image, int(label), key)
                count += 1
        except FAILURES as error:
            reason = reason_of(error)[:_REASON_LENGTH]
            raise InputError(f"record {count} of {path} can't be read as {self.contents}: {reason}") from error

    def _parse(self, record):
        features = {self.image: tf.io.FixedLenFeature([], tf.string, "")}
        if self.label:
            features[self.label] = tf.io.FixedLenFeature([], tf.int64, -1)
        if self.key:
            features[self.key] = tf.io.FixedLenFeature([], tf.string, "")
        parsed = tf.io.parse_single_example(record, features)
        label = parsed[self.label] if self.label else tf.constant(-1, tf.int64)
        return parsed[self.image], label, parsed[self.key] if self.key else tf.constant("")


class _PythonContainer:
    """A kind whose `records` are read in Python."""

    def dataset(self, path):
        """As in TFRecords."""
        signature = tuple(tf.TensorSpec([], kind) for kind in (tf.string, tf.int64, tf.string))
        return tf.data.Dataset.from_generator(self._triples, output_signature=signature, args=(path,))

    def key_of(self, record, relative, index):
        """As in TFRecords."""
        return record.key or f"{relative}:{index}".encode()

    def _triples(self, path):
        for record in self.records(path.decode()):
            yield record[:3]


@dataclasses.dataclass(frozen=True)
class Parquet(_PythonContainer):
    """Parquet files with a column of images, as Hugging Face's datasets write them.

    The image column holds encoded files as bytes or as a struct with the field `bytes`. The columns `label` (integer)
    and `key` (string or bytes) are optional, and an empty label is none.

    References:
        https://huggingface.co/docs/datasets/image_dataset#parquet
    """

    image: str = "image"
    label: str = "label"
    key: str = "key"

    def records(self, path):
        """Yields the Records of a file.

        Raises:
            InputError: the file is broken or has no such columns.
        """
        try:
            import pyarrow as pa  # only this source needs it
            from pyarrow import parquet
        except ImportError as error:
            raise InputError(f"{path} needs pyarrow, which isn't installed: pip install pyarrow") from error
        try:
            with tf.io.gfile.GFile(path, "rb") as file:
                opened = parquet.ParquetFile(pa.PythonFile(_SeekableFile(file), mode="r"))
                columns = self._columns(path, opened.schema_arrow)
                for batch in opened.iter_batches(_ROWS_AT_ONCE, columns=columns):
                    yield from self._batch(batch)
        except (pa.ArrowException, OSError, tf.errors.OpError) as error:
            raise InputError(f"{path} can't be read as a Parquet file: {_one_line(error)}") from error

    def _columns(self, path, schema):
        import pyarrow as pa

        names = schema.names
        if self.image not in names:
            raise InputError(f"{path} has no column {self.image}, only {', '.join(names)}")
        kind = schema.field(self.image).type
        if pa.types.is_struct(kind):
            fields = {kind.field(index).name: kind.field(index).type for index in range(kind.num_fields)}
            kind = fields.get("bytes", kind)
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise InputError(
                f"{path}: column {self.image} is {kind}; it must hold encoded images, as bytes or as a struct with the "
                "field bytes"
            )
        if self.label in names and not pa.types.is_integer(schema.field(self.label).type):
            raise InputError(f"{path}: column {self.label} is {schema.field(self.label).type}; labels are integers")
        return [name for name in (self.image, self.label, self.key) if name in names]

    def _batch(self, batch):
        for row in batch.to_pylist():
            image, label, key = row[self.image], row.get(self.label), row.get(self.key)
            image = image.get("bytes") if isinstance(image, dict) else image
            problem = "" if image else f"no bytes in column {self.image}"
            key = key.encode() if isinstance(key, str) else key
            yield Record(image or b"", -1 if label is None else label, key or b"", problem)


class _SeekableFile(io.RawIOBase):
    """What Arrow expects of a Python file and `tf.io.gfile.GFile` lacks."""

    def __init__(self, file):
        super().__init__()
        self._file = file

    def readable(self):
        return True

    def seekable(self):
        return True

    def read(self, size=-1):
        return self._file.read(size)

    def tell(self):
        return self._file.tell()

    def seek(self, offset, whence=io.SEEK_SET):
        self._file.seek(offset, whence)
        return self._file.tell()


@dataclasses.dataclass(frozen=True)
class WebDataset(_PythonContainer):
    """Tar files in which neighbouring members with the same name up to its first dot are one sample.

    A sample is an image (.jpg, .png, .webp, ...) and its label: a member .cls that holds an integer, or a member .json
    that is an object with the integer `label`; without either it has none. Other members are passed over. Members are
    read from the stream; nothing is unpacked to disk. Tars that end in .gz or .tgz are decompressed.

    References:
        https://github.com/webdataset/webdataset, "The WebDataset Format"
    """

    def key_of(self, record, relative, index):
        """As in TFRecords; samples of different tars may have the same name."""
        return relative.encode() + b":" + record.key

    def records(self, path):
        """Yields the Records of a tar; the key is the sample's name.

        Raises:
            InputError: the tar is broken; names the last member that could be read.
        """
        last = "the beginning"
        try:
            with tf.io.gfile.GFile(path, "rb") as file, _open_tar(file) as tar:
                name, members = None, {}
                for member in tar:
                    if not member.isfile():
                        continue
                    folder, _, base = member.name.rpartition("/")
                    stem, _, extension = base.partition(".")
                    if not stem:  # .DS_Store and the like
                        continue
                    stem, extension = f"{folder}/{stem}" if folder else stem, extension.lower()
                    if stem != name:
                        yield from _sample(name, members)
                        name, members = stem, {}
                    if extension in (*_IMAGE_EXTENSIONS, "cls", "json"):
                        members[extension] = tar.extractfile(member).read()
                    else:
                        members[extension] = b""
                    last = f"member {member.name}"
                yield from _sample(name, members)
        except (tarfile.TarError, EOFError, OSError, tf.errors.OpError) as error:
            raise InputError(f"{path} can't be read as a tar file behind {last}: {_one_line(error)}") from error


class _StrictTarInfo(tarfile.TarInfo):
    """Members of which a damaged or cut header is an error: tarfile itself takes one for the archive's end."""

    @classmethod
    def fromtarfile(cls, tar):
        try:
            return super().fromtarfile(tar)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:
            raise tarfile.ReadError(f"damaged header: {error}") from error


def _open_tar(file):
    return tarfile.open(fileobj=file, mode="r|*", tarinfo=_StrictTarInfo)


def _sample(name, members):
    """The Record of a sample; of members that belong to no image nothing."""
    extension = next((each for each in _IMAGE_EXTENSIONS if each in members), None)
    if not {"cls", "json", extension} & set(members):
        return
    if extension is None:
        yield Record(b"", -1, name.encode(), f"sample {name} has no image, only {', '.join(sorted(members))}")
        return
    try:
        label, problem = _label(members), ""
    except ValueError as error:
        label, problem = -1, f"sample {name}: {error}"
    yield Record(members[extension], label, name.encode(), problem)


def _label(members):
    """int, -1 = none.

    Raises:
        ValueError: it is no integer.
    """
    if "cls" in members:
        text = members["cls"].decode("utf-8", "replace").strip()
        try:
            return int(text)
        except ValueError:
            raise ValueError(f"label {text[:40]!r} is no integer") from None
    try:
        facts = json.loads(members.get("json", b"{}"))
    except ValueError as error:
        raise ValueError(f"its .json can't be read: {_one_line(error)}") from None
    label = facts.get("label", -1) if isinstance(facts, dict) else -1
    if isinstance(label, bool) or not isinstance(label, int):
        raise ValueError(f"label {str(label)[:40]!r} is no integer")
    return label


def image_of(record):
    """The encoded image of a Record.

    Raises:
        ValueError: it has a problem.
    """
    if record.problem:
        raise ValueError(record.problem)
    return record.image


def common_folder(paths):
    """Length of the folder, with its slash, that all paths begin with."""
    return os.path.commonprefix(paths).rfind("/") + 1 if len(paths) > 1 else paths[0].rfind("/") + 1


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
