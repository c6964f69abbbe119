"""WebDataset: tar files in which neighbouring members form one sample."""

import dataclasses
import json
import tarfile

import tensorflow as tf

from vim_tf.data.sources import containers
from vim_tf.data.sources.feature_names import NONE
from vim_tf.errors import InputError, one_line
from vim_tf.storage.files import FAILURES

# Extensions of the members of a tar that are images; the first one that a sample has is taken.
_IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "jp2", "avif")


@dataclasses.dataclass(frozen=True)
class WebDataset(containers.Container):
    """Tar files in which neighbouring members with the same name up to its first dot are one sample.

    A sample is an image (.jpg, .png, .webp, ...) and its label: a member .cls that holds an integer, or a member .json
    that is an object with the integer `label`; without either it has none. Members without an image are skipped, but
    what looks like an image and can't be used is a record with a problem. Members are read from the stream; nothing is
    unpacked to disk. Tars that end in .gz or .tgz are decompressed.

    Args:
        image: extension of the image, which may have dots; "" = any that is known.
        label: extension of a member that holds the integer, or its name in the .json; "" = cls or label, "none" = there
            is none.

    References:
        https://github.com/webdataset/webdataset, "The WebDataset Format"
    """

    image: str = ""
    label: str = ""

    def key_of(self, record, relative, index):
        """As in Container; samples of different tars may have the same name."""
        return relative.encode() + b":" + record.key

    def records(self, path):
        """As in Container; the key is the sample's name, and an error names the last member that could be read."""
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
                        yield from self._sample(name, members)
                        name, members = stem, {}
                    content = tar.extractfile(member).read() if self._is_used(extension) else b""
                    members.setdefault(extension, []).append(content)
                    last = f"member {member.name}"
                yield from self._sample(name, members)
        except (tarfile.TarError, EOFError, OSError, *FAILURES) as error:
            raise InputError(f"{path} can't be read as a tar file after {last}: {one_line(error)}") from error

    def _is_used(self, extension):
        return extension in (*_IMAGE_EXTENSIONS, "cls", "json", self.image, self.label)

    def _sample(self, name, members):
        """Yields the Record of a sample: none for members without an image, one each for several unusable images."""
        wanted = (self.image,) if self.image else _IMAGE_EXTENSIONS
        extension = next((each for each in wanted if each in members), None)
        if extension is None:
            unused = [each for each in members if each.rpartition(".")[2] in _IMAGE_EXTENSIONS]
            if not unused and {each.rpartition(".")[2] for each in members} & {"cls", "json"}:
                unused = [""]
            reason = f"sample {name} has no image, only {', '.join(sorted(members))}"
            if any("." in each for each in members):
                reason += " (a sample's name ends at its first dot)"
            for each in unused:
                yield containers.Record(b"", -1, f"{name}.{each}".rstrip(".").encode(), reason)
            return
        try:
            label, problem = self._label(members), ""
        except ValueError as error:
            label, problem = -1, f"sample {name}: {error}"
        double = [each for each in members if self._is_used(each) and len(members[each]) > 1]
        if double:
            problem = f"sample {name} has {len(members[double[0]])} members .{double[0]}"
        yield containers.Record(members[extension][0], label, name.encode(), problem)

    def _label(self, members):
        """int, -1 = none.

        Raises:
            ValueError: it isn't an integer, or there is none with the given name.
        """
        if self.label == NONE:
            return -1
        if (self.label or "cls") in members:
            text = members[self.label or "cls"][0].decode("utf-8", "replace").strip()
            try:
                label = int(text)
            except ValueError:
                raise ValueError(f"label {text[:40]!r} isn't an integer") from None
            return containers.checked_label(label)
        try:
            facts = json.loads(members.get("json", [b"{}"])[0])
        except ValueError as error:
            raise ValueError(f"its .json can't be read: {one_line(error)}") from None
        label = facts.get(self.label or "label") if isinstance(facts, dict) else None
        if label is None:
            if self.label:
                raise ValueError(f"it has no member .{self.label}, and no {self.label} in a .json")
            return -1
        if isinstance(label, bool) or not isinstance(label, int):
            raise ValueError(f"label {str(label)[:40]!r} isn't an integer")
        return containers.checked_label(label)


class _StrictTarInfo(tarfile.TarInfo):
    """Makes a damaged, cut or missing header an error, which tarfile itself takes for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tar):
        try:
            return super().fromtarfile(tar)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:
            raise tarfile.ReadError(f"damaged header: {error}") from error
        except tarfile.EmptyHeaderError as error:
            raise tarfile.ReadError("the archive is cut, as its end is missing") from error


def find_webdataset(paths, given):
    """WebDataset of tars, by the names that the user gives; the tars themselves aren't read.

    Args:
        paths: list of str.
        given: feature_names.FeatureNames.
    """
    return WebDataset(given.image, given.label)


def _open_tar(file):
    # A name that isn't UTF-8 must become a key, too.
    return tarfile.open(fileobj=file, mode="r|*", tarinfo=_StrictTarInfo, errors="backslashreplace")
