"""Sets of images as a feature network sees them: generated ones, and real ones whose statistics are kept on disk."""

import contextlib
import io
import json
import zipfile

import numpy as np
import tensorflow as tf
from absl import logging

from vim_tf.data import pipeline
from vim_tf.data.files import sha256_of, write_whole
from vim_tf.data.fingerprints import digest, source_fingerprint
from vim_tf.errors import BROKEN_NPZ, InputError
from vim_tf.evaluation import conditions
from vim_tf.evaluation.feature_statistics import FeatureStatistics

_FORMAT = 1
# What files of other projects that don't say their number of images are taken to be of.
_ASSUMED_IMAGES = 50_000


class MeasuredImages:
    """Everything that is kept of a set of images that goes through a feature network.

    Args:
        network: FeatureNetwork.
        kept_features: int, features kept as a sample.
        seed: int that decides which.

    Attributes:
        statistics: FeatureStatistics.
        num_labelled, num_recognised: images with a label, and how many of these the network takes for it.
    """

    def __init__(self, network, kept_features, seed):
        self.statistics = FeatureStatistics(network.num_features, network.num_classes, kept_features, seed)
        self.num_labelled = self.num_recognised = 0
        self.network = network

    def update(self, images, labels=None):
        """Takes in images, uint8 [batch, height, width, 3], and their labels, int [batch], -1 = none.

        Returns:
            Activations of the batch.
        """
        found = self.network.activations(images)
        self.statistics.update(found.features, found.logits)
        if labels is not None:
            labels = np.asarray(labels)
            labelled = labels >= 0
            self.num_labelled += int(labelled.sum())
            self.num_recognised += int(np.sum(found.logits[labelled].argmax(axis=1) == labels[labelled]))
        return found

    @property
    def label_accuracy(self):
        """Share of the labelled images that the network takes for their label; None where there are none."""
        return self.num_recognised / self.num_labelled if self.num_labelled else None

    def merge(self, other):
        """Takes in everything of another MeasuredImages of the same network."""
        self.statistics.merge(other.statistics)
        self.num_labelled += other.num_labelled
        self.num_recognised += other.num_recognised

    def arrays(self):
        """Dict of arrays for `from_arrays`."""
        return {
            **self.statistics.arrays(),
            "num_labelled": np.int64(self.num_labelled),
            "num_recognised": np.int64(self.num_recognised),
        }

    @classmethod
    def from_arrays(cls, network, arrays):
        """The set that `arrays` described; other sets can be merged into it, but no further images."""
        measured = cls(network, 0, 0)
        measured.statistics = FeatureStatistics.from_arrays(arrays)
        measured.num_labelled = int(arrays["num_labelled"])
        measured.num_recognised = int(arrays["num_recognised"])
        return measured


class ReferenceSets:
    """Real images through one feature network; each set goes through it once.

    Args:
        network: FeatureNetwork.
        batch_size: int, images in memory at once.
        kept_features: int, features kept of each set, on which kernel distance, precision and recall are measured.
        seed: int that decides which.
        folder: str where statistics are kept for later evaluations; None = in this process only. A file's name is a
            digest of all that its content depends on, so it is never out of date. It is an .npz with the arrays `mu`
            and `sigma` that other projects read, among others.
    """

    def __init__(self, network, batch_size=64, kept_features=10_000, seed=0, folder=None):
        self.network = network
        self.batch_size = batch_size
        self.kept_features = kept_features
        self.seed = seed
        self.folder = folder
        self._known = {}

    def empty(self):
        """MeasuredImages to be filled, kept as the reference sets are."""
        return MeasuredImages(self.network, self.kept_features, self.seed)

    def of(self, source):
        """MeasuredImages of all images of an ImageSource.

        Raises:
            InputError: there are no images.
        """
        key = self._key(source)
        if key not in self._known:
            self._known[key] = self._read(key) or self._measured(source, key)
        return self._known[key]

    def path(self, source):
        """The file with the statistics of an ImageSource, whether or not it is there yet."""
        return f"{self.folder}/{self._key(source)[:32]}.npz"

    def _key(self, source):
        facts = {
            "format": _FORMAT,
            "images": conditions.image_set(source, source.num_examples),
            "files": source_fingerprint(source.location, [source.split]),
            **conditions.through_network(self.network),
            "kept_features": self.kept_features,
            "seed": self.seed,
        }
        return digest(facts)

    def _read(self, key):
        path = f"{self.folder}/{key[:32]}.npz"
        if not self.folder or not tf.io.gfile.exists(path):
            return None
        logging.info("statistics of real images are taken from %s", path)
        return MeasuredImages.from_arrays(self.network, read_arrays(path))

    def _measured(self, source, key):
        measured = self.empty()
        for batch in pipeline.eval_batches(source, self.batch_size):
            measured.update(np.asarray(batch["image"]), np.asarray(batch["label"]))
        if not measured.statistics.count:
            raise InputError(f"{source.name} has no images in its {source.split} split: there is nothing to measure")
        if self.folder:
            facts = conditions.image_set(source, measured.statistics.count)
            write_set(f"{self.folder}/{key[:32]}.npz", measured, facts)
        return measured


def write_set(path, measured, facts):
    """Writes a set as an .npz file for `--reference` and for ReferenceSets.

    Args:
        path: str.
        measured: MeasuredImages.
        facts: dict of JSON values that says which images they are, for the conditions of metrics.
    """
    content = io.BytesIO()
    described = json.dumps({"images": facts, "feature_network": measured.network.checksum})
    np.savez(content, **measured.arrays(), described=np.array(described))
    write_whole(path, content.getvalue())


def read_arrays(path):
    """Dict of the arrays of an .npz file, which is read without running any code in it.

    Raises:
        InputError: it can't be read.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file, np.load(io.BytesIO(file.read()), allow_pickle=False) as arrays:
            return dict(arrays)
    except (*BROKEN_NPZ, tf.errors.OpError) as error:
        raise InputError(f"{path} is no readable .npz file: {' '.join(str(error).split())[:200]}") from error


def file_reference(path, references, size):
    """A reference set from an .npz file as other projects share them.

    Args:
        path: str. A file of `write_set` holds all that is needed, and says by which network it was made. With `arr_0`,
            uint8 images [n, height, width, 3], these go through the network in blocks. Else `mu` and `sigma` are the
            moments of features of the very network that the evaluation uses, which the file can't prove.
        references: ReferenceSets.
        size: (height, width) of the images that are compared with it, which a file of `write_set` must agree with.

    Returns:
        (MeasuredImages, dict of JSON values for the conditions). Moments alone give no sample, so that kernel distance,
        precision and recall can't be measured against them.

    Raises:
        InputError: the file can't be read, holds nothing of these, or is of another network or size.
    """
    facts = {"file": path.rpartition("/")[2], "sha256": _sha256_of(path)}
    measured = references.empty()
    try:
        with tf.io.gfile.GFile(path, "rb") as file, zipfile.ZipFile(file) as archive:
            if "arr_0.npy" in archive.namelist():
                for images in _image_blocks(archive, path, references.batch_size):
                    measured.update(images)
                return measured, facts | {"num_images": measured.statistics.count}
    except (OSError, zipfile.BadZipFile, tf.errors.OpError) as error:
        raise InputError(f"--reference={path} can't be read as an .npz file: {error}") from error
    arrays = read_arrays(path)
    if "described" in arrays:
        return _own_set(path, references.network, size, arrays)
    measured.statistics = _moments(path, references.network.num_features, arrays)
    return measured, facts | {"num_images": "not stated", "moments": "as in the file"}


def _own_set(path, network, size, arrays):
    """(MeasuredImages, facts) of a file of `write_set`."""
    try:
        described = json.loads(str(arrays["described"]))
        maker, facts = described["feature_network"], described["images"]
        found = facts["height"], facts["width"]
        measured = MeasuredImages.from_arrays(network, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"--reference={path} is damaged or of another version ({error!r}): measure it again, by "
            "vim_tf.measure_reference or an evaluation's --reference_folder"
        ) from error
    if maker != network.checksum:
        raise InputError(
            f"--reference={path} was made by the feature network {maker[:12]}, not by "
            f"{network.checksum[:12]}: give the same --evaluation.feature_network and --evaluation.feature_network_path"
        )
    if found != tuple(size):
        raise InputError(
            f"--reference={path} is of images of {found[0]} x {found[1]} px, and the model's are of {size[0]} x "
            f"{size[1]}: measure it again with vim_tf.measure_reference --height={size[0]} --width={size[1]}"
        )
    return measured, facts


def _moments(path, num_features, arrays):
    """FeatureStatistics of `mu` and `sigma`."""
    if not {"mu", "sigma"} <= set(arrays):
        raise InputError(
            f"--reference={path} holds {', '.join(sorted(arrays))}; it needs the images arr_0, or mu and sigma"
        )
    if arrays["mu"].shape != (num_features,) or arrays["sigma"].shape != (num_features, num_features):
        raise InputError(
            f"--reference={path} holds moments of {arrays['mu'].size} features; the feature network has {num_features}"
        )
    # The covariance is taken as it is; the number of images decides only whether they are called too few.
    return FeatureStatistics.of_gaussian(arrays["mu"], arrays["sigma"], _ASSUMED_IMAGES)


def _image_blocks(archive, path, batch_size):
    """Yields uint8 [rows, height, width, 3] of the array `arr_0`, a block at a time: such files hold gigabytes."""
    # What is done with the blocks may raise the same errors, for reasons of its own.
    with _named(path):
        member = archive.open("arr_0.npy")
        shape, fortran_order, dtype = _read_header(member)
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or fortran_order:
        raise InputError(f"--reference={path}: arr_0 must be uint8 [images, height, width, 3], not {dtype} {shape}")
    size = int(np.prod(shape[1:]))
    for start in range(0, shape[0], batch_size):
        count = min(batch_size, shape[0] - start)
        with _named(path):
            content = member.read(count * size)
        if len(content) < count * size:
            raise InputError(f"--reference={path}: arr_0 is cut off after {start} images")
        yield np.frombuffer(content, np.uint8).reshape(count, *shape[1:])


def _read_header(member):
    """(shape, whether it is in Fortran's order, dtype) of an array file."""
    version = np.lib.format.read_magic(member)
    known = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in known:
        raise ValueError(f"arr_0 is of array format {version}, which is not known")
    return known[version](member)


@contextlib.contextmanager
def _named(path):
    """Makes an InputError of what a damaged file raises."""
    try:
        yield
    except (*BROKEN_NPZ, tf.errors.OpError) as error:
        raise InputError(f"--reference={path} can't be read as an .npz file: {error}") from error


def _sha256_of(path):
    try:
        return sha256_of(path)
    except tf.errors.OpError as error:
        raise InputError(f"--reference={path} can't be read: {error.message}") from error
