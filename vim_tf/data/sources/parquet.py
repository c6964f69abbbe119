"""Parquet files with a column of images, as Hugging Face's datasets write them."""

import dataclasses
import io
import json

import tensorflow as tf

from vim_tf.data.sources import containers, feature_names
from vim_tf.errors import InputError, one_line
from vim_tf.storage.files import FAILURES

_ROWS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class Parquet(containers.Container):
    """Parquet files with a column of images.

    The image column holds encoded files as bytes or as a struct with the field `bytes`. The columns of the label
    (integer) and of the key (string, bytes or integer) are optional; an example with an empty label is unlabelled.

    Args:
        image, label, key: names of the columns; `label` and `key` may be "".
        class_names: as in Container.

    References:
        https://huggingface.co/docs/datasets/image_dataset#parquet
    """

    image: str = "image"
    label: str = "label"
    key: str = "key"
    class_names: tuple | None = None

    def records(self, path):
        """As in Container; also refuses columns of the wrong type."""
        with _Opened(path) as file:
            columns = self._columns(path, file.schema_arrow)
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
                yield from self._batch(batch)

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
        if self.key in names and not _is_key(schema.field(self.key).type):
            kind = schema.field(self.key).type
            raise InputError(f"{path}: column {self.key} is {kind}; keys are strings, bytes or integers")
        declared = _declared_features(schema).get(self.label, {})
        if self.class_names is not None and _class_names(declared) not in (None, self.class_names):
            raise InputError(f"{path} has other class names than the files before it")
        return [name for name in (self.image, self.label, self.key) if name in names]

    def _batch(self, batch):
        for row in batch.to_pylist():
            image, label, key = row[self.image], row.get(self.label), row.get(self.key)
            image = image.get("bytes") if isinstance(image, dict) else image
            problem = "" if image else f"no bytes in column {self.image}"
            try:
                label = -1 if label is None else containers.checked_label(label)
            except ValueError as error:
                label, problem = -1, str(error)
            yield containers.Record(image or b"", label, _key_bytes(key), problem)


def find_parquet(paths, given):
    """Determines the Parquet columns of files from the first file and its Hugging Face metadata.

    Args:
        paths: list of str.
        given: feature_names.FeatureNames.

    Raises:
        InputError: the first is broken, or its columns can't be determined.
    """
    with _Opened(paths[0]) as file:
        schema = file.schema_arrow
    declared = _declared_features(schema)
    of_kind = {
        kind: [name for name in schema.names if declared.get(name, {}).get("_type") == kind]
        for kind in ("Image", "ClassLabel")
    }
    found = feature_names.find(paths[0], given, schema.names, of_kind["Image"], of_kind["ClassLabel"])
    return Parquet(found.image, found.label, found.key, _class_names(declared.get(found.label, {})))


def _declared_features(schema):
    """{column: dict} from Hugging Face's metadata; empty if there are none that can be understood."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: each for name, each in features.items() if isinstance(each, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _class_names(feature):
    """Names of the classes by label, of a feature's metadata: tuple of str, or None."""
    names = feature.get("names")
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _is_key(kind):
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return pa.types.is_integer(kind) or any(test(kind) for test in tests)


def _key_bytes(key):
    if key is None:
        return b""
    return key if isinstance(key, bytes) else str(key).encode()


class _Opened:
    """Context manager for a pyarrow.parquet.ParquetFile that turns problems with the file into InputErrors."""

    def __init__(self, path):
        try:
            import pyarrow  # noqa: F401, only this source needs it
        except ImportError as error:
            raise InputError(f"{path} needs pyarrow, which isn't installed: pip install pyarrow") from error
        self._path = path
        self._file = tf.io.gfile.GFile(path, "rb")

    def __enter__(self):
        import pyarrow as pa
        from pyarrow import parquet

        try:
            return parquet.ParquetFile(pa.PythonFile(_SeekableFile(self._file), mode="r"))
        except (pa.ArrowException, OSError, *FAILURES) as error:
            self._file.close()
            raise self._refusal(error) from error

    def __exit__(self, kind, error, trace):
        import pyarrow as pa

        self._file.close()
        if isinstance(error, (pa.ArrowException, OSError, *FAILURES)):
            raise self._refusal(error) from error

    def _refusal(self, error):
        return InputError(f"{self._path} can't be read as a Parquet file: {one_line(error)}")


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
