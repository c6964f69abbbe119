"""Reads the reference set of `--reference`, an .npz file as projects share them."""

import contextlib
import json

import numpy as np
import tensorflow as tf

from vim_tf.errors import InputError, one_line
from vim_tf.evaluation.image_sets import MeasuredImages
from vim_tf.evaluation.metrics.statistics import FeatureStatistics
from vim_tf.storage import npz
from vim_tf.storage.digests import digest_of_file

# Number of images assumed for other projects' files, which don't state it.
_ASSUMED_IMAGES = 50_000


class ReferenceFile:
    """An .npz file, opened and checked as far as possible without a feature network.

    A file of `image_sets.write_set` holds all that is needed, and says which network made it. If a file has `arr_0`,
    uint8 images [n, height, width, 3], these go through the network in blocks. Otherwise `mu` and `sigma` are taken to
    be moments of features from the network that the evaluation uses, which the file can't prove.

    Args:
        path: str.
        size: (height, width) of the images that are compared with it, which a file of `write_set` must match.

    Raises:
        InputError: the file can't be read, has none of these arrays or values that aren't finite, or was measured on
            images of another size.
    """

    def __init__(self, path, size):
        self.path = path
        self._facts = {"file": path.rpartition("/")[2], "sha256": _digest_of(path)}
        self._arrays = None
        name = f"--reference={path}"
        self._holds_images = "arr_0" in npz.names(path, name)
        if self._holds_images:
            with _opened_images(path) as images:
                self._num_images = images.shape[0]
            return
        self._arrays = npz.read(path, name)
        self._is_own = "described" in self._arrays
        if self._is_own:
            self._check_own(size)
        else:
            self._statistics = self._moments()

    def measured(self, references):
        """(MeasuredImages through the network of ReferenceSets, dict of JSON values for the conditions).

        Moments include no sample, so kernel distance, precision and recall can't be measured against them.

        Raises:
            InputError: the file was made with another network, or is damaged.
        """
        if self._holds_images:
            measured = references.empty()
            with _opened_images(self.path) as opened:
                for images in opened.blocks(references.batch_size):
                    measured.update(images)
            return measured, self._facts | {"num_images": measured.statistics.count}
        if self._is_own:
            return self._own(references.network)
        num_features = references.network.num_features
        if self._statistics.num_features != num_features:
            raise InputError(
                f"--reference={self.path} holds moments of {self._statistics.num_features} features; the feature "
                f"network has {num_features}"
            )
        measured = references.empty()
        measured.statistics = self._statistics
        return measured, self._facts | {"num_images": "not stated", "moments": "as in the file"}

    def _check_own(self, size):
        try:
            described = json.loads(str(self._arrays["described"]))
            self._maker, self._images = described["feature_network"], described["images"]
            found = self._images["height"], self._images["width"]
            FeatureStatistics.from_arrays(self._arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"--reference={self.path} is damaged or from another version ({error!r}): measure it again with "
                "vim_tf.measure_reference or an evaluation's --reference_folder"
            ) from error
        if found != tuple(size):
            raise InputError(
                f"--reference={self.path} was measured on images of {found[0]} x {found[1]} px, but the "
                f"model's have {size[0]} x {size[1]} px: measure it again with vim_tf.measure_reference "
                f"--height={size[0]} --width={size[1]}"
            )

    def _own(self, network):
        """(MeasuredImages, facts) of a file of `write_set`."""
        if self._maker != network.checksum:
            raise InputError(
                f"--reference={self.path} was made with the feature network {self._maker[:12]}, not "
                f"{network.checksum[:12]}: give the same --evaluation.feature_network and "
                "--evaluation.feature_network_path"
            )
        return MeasuredImages.from_arrays(network, self._arrays), self._images

    def _moments(self):
        """FeatureStatistics of `mu` and `sigma`."""
        arrays = self._arrays
        if not {"mu", "sigma"} <= set(arrays):
            raise InputError(
                f"--reference={self.path} holds {', '.join(sorted(arrays))}; it needs the images arr_0, or mu and sigma"
            )
        try:
            # The covariance is taken as it is; the number of images only decides whether there is a warning of too few.
            return FeatureStatistics.of_gaussian(arrays["mu"], arrays["sigma"], _ASSUMED_IMAGES)
        except (TypeError, ValueError) as error:
            raise InputError(f"--reference={self.path} can't be used: {error}") from error


@contextlib.contextmanager
def _opened_images(path):
    """npz.Rows of the images `arr_0`, which can be gigabytes.

    Raises:
        InputError: there are no images, or fewer than their shape says.
    """
    with npz.open_rows(path, "arr_0", f"--reference={path}") as rows:
        shape = rows.shape
        if rows.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
            raise InputError(
                f"--reference={path}: arr_0 must be uint8 [images, height, width, 3], not {rows.dtype} {shape}"
            )
        if shape[0] < 2:
            raise InputError(f"--reference={path}: arr_0 holds {shape[0]} images, and a distance needs at least 2")
        yield rows


def _digest_of(path):
    try:
        return digest_of_file(path)
    except tf.errors.OpError as error:
        raise InputError(f"--reference={path} can't be read: {one_line(error)}") from error
