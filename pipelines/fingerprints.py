"""Identifies inputs by their contents, regardless of the folder or execution they came from."""

import json
import os
import pathlib

import tensorflow as tf

import vim_tf
from vim_tf.data.sources import source_fingerprint
from vim_tf.data.sources.fingerprints import files_fingerprint
from vim_tf.storage.digests import digest
from vim_tf.storage.files import write_whole

__all__ = [
    "code_version",
    "contents_digest",
    "digest",
    "files_fingerprint",
    "read_manifest",
    "source_fingerprint",
    "write_manifest",
]

MANIFEST = "manifest.json"


def code_version():
    """Version of this project with a digest of its source: str, which changes with every edit.

    With only the version number, the cache would serve what older code made.
    """
    root = pathlib.Path(vim_tf.__file__).parents[1]
    files = sorted(path for package in ("vim_tf", "pipelines") for path in (root / package).rglob("*.py"))
    contents = [[str(path.relative_to(root)), path.read_text()] for path in files]
    return f"{vim_tf.__version__}+{digest(contents)[:12]}"


def write_manifest(folder, facts):
    """Writes `manifest.json`, which says what an artifact holds; it is written last."""
    write_whole(os.path.join(folder, MANIFEST), json.dumps(facts, indent=2, sort_keys=True))


def read_manifest(folder):
    """The dict that `write_manifest` wrote."""
    with tf.io.gfile.GFile(os.path.join(folder, MANIFEST)) as file:
        return json.load(file)


def contents_digest(folder):
    """sha256 of an artifact's manifest, which names the sha256 of each of its files."""
    return digest(read_manifest(folder))
