"""TF Hub archives."""

import io
import tarfile

import tensorflow as tf


def write_archive(saved_model, path):
    """Writes a SavedModel as the tar.gz that TF Hub's client takes: its contents at the root of the archive.

    Equal folders give equal archives: names are sorted, times and owners left out.

    Args:
        saved_model: str, folder.
        path: str, file to write, whole or not at all.
    """
    temporary = f"{path}.tmp"
    with tf.io.gfile.GFile(temporary, "wb") as file, tarfile.open(fileobj=file, mode="w|gz") as archive:
        for name in _files(saved_model):
            with tf.io.gfile.GFile(f"{saved_model}/{name}", "rb") as source:
                content = source.read()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(content))
    tf.io.gfile.rename(temporary, path, overwrite=True)


def _files(folder):
    found = []
    for root, _, names in tf.io.gfile.walk(folder):
        found += [f"{root.rstrip('/')}/{name}"[len(folder.rstrip("/")) + 1 :] for name in names]
    return sorted(found)
