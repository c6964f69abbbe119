"""TF Hub archives."""

import gzip
import io
import tarfile

import tensorflow as tf

from vim_tf.storage.files import read_file, whole_file


def write_archive(saved_model, path):
    """Writes a SavedModel as the tar.gz that TF Hub's client takes: its contents at the root of the archive.

    Equal folders give equal archives: names are sorted, and times and owners omitted.

    Args:
        saved_model: str, folder.
        path: str, file to write, whole or not at all.
    """
    with (
        whole_file(path) as unfinished,
        tf.io.gfile.GFile(unfinished, "wb") as file,
        # tarfile would write the time into gzip's header.
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w|") as archive,
    ):
        for name in _entries(saved_model):
            member = tarfile.TarInfo(name)
            # TF Hub's client creates only those folders that have their own entries.
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
                continue
            content = read_file(f"{saved_model}/{name}")
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))


def _entries(folder):
    """Sorted paths of the folders, which end in a slash, and the files below a folder."""
    folder = folder.rstrip("/")
    found = []
    for root, folders, names in tf.io.gfile.walk(folder):
        parent = root.rstrip("/")[len(folder) :].lstrip("/")
        prefix = f"{parent}/" if parent else ""
        found += [f"{prefix}{name.rstrip('/')}/" for name in folders] + [f"{prefix}{name}" for name in names]
    return sorted(found)
