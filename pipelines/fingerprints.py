"""What identifies an input by its contents, whatever folder or execution it came from."""

import hashlib
import json
import os
import pathlib

import tensorflow as tf

import vim_tf

MANIFEST = "manifest.json"


def source_fingerprint(name, splits):
    """Changes when the files of an image source change, so that the ingestion is not served from the cache then.

    Args:
        name: image source, as in `data.source`.
        splits: split names; each takes the place of `{split}` in the name.

    Returns:
        str, hexadecimal. Embedded sources change with the code version only.
    """
    kind, _, location = name.partition(":")
    places = sorted({location.replace("{split}", split) for split in splits})
    if kind == "folder":
        found = [file for place in places for file in _files_below(place)]
    elif kind in ("tfrecord", "parquet", "webdataset"):
        found = [file for place in places for file in tf.io.gfile.glob(place)]
    elif kind == "tfds":
        # Not every user of the package has the data sets.
        import tensorflow_datasets as tfds

        builder = tfds.builder(location)
        found = _files_below(builder.data_path)
        name = builder.info.full_name
    else:
        found = []
    return digest([name, sorted(_identity(path) for path in found)])


def code_version():
    """Version of this project with a digest of its source: str, another one for every edit.

    The version number alone would serve what older code made from the cache.
    """
    root = pathlib.Path(vim_tf.__file__).parents[1]
    files = sorted(path for package in ("vim_tf", "pipelines") for path in (root / package).rglob("*.py"))
    contents = [[str(path.relative_to(root)), path.read_text()] for path in files]
    return f"{vim_tf.__version__}+{digest(contents)[:12]}"


def _files_below(folder):
    return [os.path.join(parent, name) for parent, _, names in tf.io.gfile.walk(folder) for name in names]


def _identity(path):
    facts = tf.io.gfile.stat(path)
    return [path, facts.length, facts.mtime_nsec]


def digest(value):
    """sha256 of a JSON value, hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_manifest(folder, facts):
    """Writes `manifest.json`, which says what an artifact holds; the last file to be written into it."""
    path = os.path.join(folder, MANIFEST)
    temporary = f"{path}.tmp-{os.getpid()}"
    with tf.io.gfile.GFile(temporary, "w") as file:
        file.write(json.dumps(facts, indent=2, sort_keys=True))
    tf.io.gfile.rename(temporary, path, overwrite=True)


def read_manifest(folder):
    """The dict that `write_manifest` wrote."""
    with tf.io.gfile.GFile(os.path.join(folder, MANIFEST)) as file:
        return json.load(file)


def contents_digest(folder):
    """sha256 of an artifact's manifest, which names the sha256 of each of its files."""
    return digest(read_manifest(folder))
