"""Token records: writing and reading.

    <root>/manifest.json                          Manifest
    <root>/<split>/tokens-00000-of-00002.tfrecord.gz    tf.train.Example: tokens, label, key

`tokens` is bytes, little-endian uint16 (uint32 if the codebook has more than 65,536 codes), [views, L, depth] in C
order; `label` is int64, -1 = none; `key` is bytes.
"""

import dataclasses
import json

import numpy as np
import tensorflow as tf

from vim_tf.data.records.writer import RecordFileWriter
from vim_tf.errors import InputError, one_line
from vim_tf.storage import files
from vim_tf.storage.digests import digest_of_file

MANIFEST_NAME = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Facts about all tokens in a folder.

    Attributes:
        tokenizer_checksum: sha256 of the tokenizer that made them.
        codebook_size: tokens are in [0, codebook_size).
        grid_height, grid_width, depth: a view has grid_height * grid_width * depth tokens, depth fastest.
        views: views of each image.
        num_classes: labels are in [0, num_classes); 0 = unlabelled.
        class_names: list of str [num_classes].
        source: name of the image source.
        splits: {split: {"num_examples": int, "shards": [{"file", "num_examples", "sha256"}]}}; a shard with records
            that could not be encoded also has "num_dead_letters" and the file "dead_letters" that names them.
        jit_compile: whether XLA encoded the images, on or off. It rounds differently, and exports encode without it.
        label_values: list of int [num_classes], the label in the source's files of each class, where `data.map_labels`
            numbered them; else empty.
    """

    tokenizer_checksum: str
    codebook_size: int
    grid_height: int
    grid_width: int
    depth: int
    views: int
    num_classes: int
    class_names: list[str]
    source: str
    splits: dict[str, dict]
    jit_compile: str = "off"
    label_values: list[int] = dataclasses.field(default_factory=list)

    @property
    def num_tokens(self):
        """Tokens of one view."""
        return self.grid_height * self.grid_width * self.depth

    def to_json(self):
        """JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text):
        """Manifest that `to_json` wrote.

        Raises:
            ValueError: the text isn't a manifest.
        """
        values = json.loads(text)
        fields = {field.name for field in dataclasses.fields(cls)}
        # Manifests of earlier versions lack the last ones.
        if not isinstance(values, dict) or not fields - {"jit_compile", "label_values"} <= set(values) <= fields:
            raise ValueError(f"its fields are not {', '.join(sorted(fields))}")
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class TokenData:
    """Tokens of one split.

    Attributes:
        manifest: Manifest.
        tokens: int32 [examples, views, L * depth].
        labels: int32 [examples]; -1 = none.
        keys: list of bytes [examples].
    """

    manifest: Manifest
    tokens: np.ndarray
    labels: np.ndarray
    keys: list[bytes]


class ShardWriter(RecordFileWriter):
    """Context manager that writes one shard, whole or not at all.

    Args:
        path: str, ending in .tfrecord.gz.
        codebook_size: int, which decides the width of a token on disk.

    Attributes:
        num_examples, sha256: as in RecordFileWriter.
    """

    def __init__(self, path, codebook_size):
        super().__init__(path)
        self._codebook_size = codebook_size

    def write(self, tokens, label, key):
        """Adds an example.

        Args:
            tokens: int array [views, L * depth] or [views, L, depth] in [0, codebook_size).
            label: int, -1 = none.
            key: bytes.

        Raises:
            ValueError: a token is out of range.
        """
        tokens = np.asarray(tokens)
        if tokens.min() < 0 or tokens.max() >= self._codebook_size:
            raise ValueError(f"tokens {tokens.min()}..{tokens.max()} are outside a codebook of {self._codebook_size}")
        encoded = tokens.astype(_token_type(self._codebook_size)).tobytes()
        self.write_features({"tokens": encoded, "label": int(label), "key": bytes(key)})


def shard_name(index, count):
    """File name of a shard: tokens-00000-of-00002.tfrecord.gz."""
    return f"tokens-{index:05d}-of-{count:05d}.tfrecord.gz"


def split_folder(root, split):
    """Folder of a split: <root>/<split>, or <root>/Split-<split> where TFX laid out the artifact."""
    tfx_folder = f"{root}/Split-{split}"
    return tfx_folder if tf.io.gfile.isdir(tfx_folder) else f"{root}/{split}"


def write_manifest(folder, manifest):
    """Writes `manifest.json`; the shards that it lists must be written first."""
    files.write_whole(f"{folder}/{MANIFEST_NAME}", manifest.to_json())


def read_manifest(folder):
    """The Manifest of a folder.

    Raises:
        InputError: it is missing or broken.
    """
    path = f"{folder}/{MANIFEST_NAME}"
    if not tf.io.gfile.exists(path):
        raise InputError(f"there is no {path}; token folders are written by vim_tf.encode_dataset")
    try:
        with tf.io.gfile.GFile(path) as file:
            return Manifest.from_json(file.read())
    except ValueError as error:
        raise InputError(f"{path} isn't a manifest of tokens: {error}") from error


def load_tokens(folder, split):
    """Tokens of one split, checked against their manifest.

    Args:
        folder: str, the root that holds manifest.json.
        split: str.

    Returns:
        TokenData.

    Raises:
        InputError: something is missing or doesn't match the manifest; names the file.
    """
    manifest = read_manifest(folder)
    if split not in manifest.splits:
        raise InputError(f"{folder}/{MANIFEST_NAME} has no split {split}, only {', '.join(manifest.splits) or 'none'}")
    entry = manifest.splits[split]
    shards = [
        _load_shard(f"{split_folder(folder, split)}/{shard['file']}", shard, manifest) for shard in entry["shards"]
    ]
    num_examples = sum(len(keys) for _, _, keys in shards)
    if num_examples != entry["num_examples"] or not num_examples:
        raise InputError(
            f"{folder}/{MANIFEST_NAME} promises {entry['num_examples']} examples of {split}, but its shards hold "
            f"{num_examples}; encode the images again"
        )
    tokens, labels, keys = zip(*shards, strict=True)
    return TokenData(manifest, np.concatenate(tokens), np.concatenate(labels), [key for part in keys for key in part])


def _load_shard(path, shard, manifest):
    """(tokens int32 [n, views, L * depth], labels int32 [n], keys) of one file."""
    if not tf.io.gfile.exists(path):
        raise InputError(f"{path} is missing, though the manifest lists it; encode the images again")
    found = digest_of_file(path)
    if found != shard["sha256"]:
        raise InputError(
            f"{path} is damaged: its checksum is {found}, the manifest says {shard['sha256']}; encode the images again"
        )
    token_type = _token_type(manifest.codebook_size)
    size = manifest.views * manifest.num_tokens * token_type.itemsize
    features = {
        "tokens": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "key": tf.io.FixedLenFeature([], tf.string),
    }
    records = tf.data.TFRecordDataset(path, "GZIP").batch(1024).map(lambda each: tf.io.parse_example(each, features))
    encoded, labels, keys = [], [], []
    try:
        for batch in records.as_numpy_iterator():
            encoded.extend(batch["tokens"])
            labels.extend(batch["label"])
            keys.extend(batch["key"])
    except files.FAILURES as error:
        raise InputError(f"{path} holds no token records: {one_line(files.message_of(error), 300)}") from error
    if len(keys) != shard["num_examples"]:
        raise InputError(f"{path} holds {len(keys)} examples, the manifest says {shard['num_examples']}")
    wrong = [len(each) for each in encoded if len(each) != size]
    if wrong:
        raise InputError(f"{path} holds an example of {wrong[0]} bytes, the manifest says {size}")
    tokens = np.frombuffer(b"".join(encoded), token_type).reshape(-1, manifest.views, manifest.num_tokens)
    labels = np.array(labels, np.int32)
    if len(keys):
        _check_range(path, "token", tokens, 0, manifest.codebook_size)
        _check_range(path, "label", labels, 0 if manifest.num_classes else -1, manifest.num_classes)
    return tokens.astype(np.int32), labels, keys


def _check_range(path, what, values, lowest, limit):
    for value in (values.min(), values.max()):
        if not lowest <= value < limit:
            raise InputError(f"{path} holds the {what} {value}, the manifest allows {lowest}..{limit - 1}")


def _token_type(codebook_size):
    return np.dtype("<u2" if codebook_size <= 65536 else "<u4")
