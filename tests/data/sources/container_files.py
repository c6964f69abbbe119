"""Parquet files and WebDataset tars for tests."""

import io
import tarfile

import pyarrow as pa
from pyarrow import parquet


def write_parquet(path, images, labels=None, keys=None, as_struct=False):
    columns = {"image": [{"bytes": image, "path": None} for image in images] if as_struct else list(images)}
    columns |= {} if labels is None else {"label": pa.array(labels, pa.int64())}
    columns |= {} if keys is None else {"key": keys}
    parquet.write_table(pa.table(columns), str(path))


def write_tar(path, members, mode="w"):
    """Members are (name, bytes)."""
    with tarfile.open(str(path), mode) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def write_shards(kind, folder, images, labels):
    """Two files of a kind; returns the source's name."""
    half = len(images) // 2
    for number, part in enumerate((slice(0, half), slice(half, None))):
        if kind == "parquet":
            write_parquet(folder / f"part-{number}.parquet", images[part], labels[part])
        else:
            pairs = zip(images[part], labels[part], strict=True)
            members = [
                member
                for row, (image, label) in enumerate(pairs)
                for member in ((f"./{row:04d}.png", image), (f"./{row:04d}.cls", str(label).encode()))
            ]
            write_tar(folder / f"part-{number}.tar", members)
    return f"{kind}:{folder}/part-*"
