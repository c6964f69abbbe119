"""Finds the record files of a source and their format: `tfrecord:`, `parquet:`, `webdataset:` and `tfds:`."""

import dataclasses
import os

import numpy as np
from absl import logging

from vim_tf.config import SPLITS
from vim_tf.data.sources import containers, feature_names, split_names
from vim_tf.errors import InputError, one_line
from vim_tf.storage import files

# Names of the validation split in TensorFlow Datasets, best first.
_VALIDATION_NAMES = ("validation", "valid", "val", "test")


@dataclasses.dataclass(frozen=True)
class RecordFiles:
    """Files of a source.

    Attributes:
        name: str, of the source, as in `data.source`.
        paths: {split: list of str}, or {"all": list of str} if the splits share them.
        container: containers.Container, how they are read.
    """

    name: str
    paths: dict
    container: containers.Container

    def of(self, split):
        """list of str: files of a split, or the files that all splits share.

        Raises:
            InputError: there is none.
        """
        paths = self.paths.get(split, self.paths.get("all"))
        if not paths:
            pattern = self.name.replace("{split}", split).partition(":")[2]
            raise InputError(f"--data.source={self.name}: no file matches {pattern}, for the {split} split")
        return paths


def find_files(name, place, find_container, options):
    """RecordFiles of a source given by a glob, in which {split} selects the files of each split.

    Args:
        name: str, of the source.
        place: str, the glob.
        find_container: function from (paths, FeatureNames that the user gives) to a Container.
        options: SourceOptions.

    Raises:
        InputError: a requested file is missing, or the features of the first can't be determined.
    """
    try:
        paths = _split_files(place)
        if "all" in paths and paths["all"] and options.has_split_names:
            split_names.check_one_split(name, paths["all"], containers.common_folder(paths["all"]))
        everything = [path for each in paths.values() for path in each]
        if not everything:
            raise InputError(f"no file matches {place.replace('{split}', SPLITS[0])}")
        return RecordFiles(name, paths, find_container(everything, options.features))
    except InputError as error:
        if f"--data.source={name}" in str(error):
            raise
        raise InputError(f"--data.source={name}: {error}") from error


def _split_files(place):
    if "{split}" in place:
        return {split: files.glob(place.replace("{split}", split)) for split in SPLITS}
    return {"all": files.glob(place)}


def find_tfds(name, place, given):
    """RecordFiles of a TensorFlow Datasets data set.

    It has its own splits; the one to validate on is `validation`, else `test`.

    Args:
        name: str, of the source.
        place: str, the data set's name.
        given: FeatureNames that the user gives.

    Raises:
        InputError: the data set can't be prepared, or has no usable features.
    """
    builder = _prepared_builder(name, place)
    container = _tfds_container(name, builder.info, given)
    own = builder.info.splits
    if "train" not in own:
        raise InputError(f"--data.source={name} has no split train, only {', '.join(sorted(own)) or 'none'}")
    validation = [each for each in _VALIDATION_NAMES if each in own]
    splits = {"train": "train", "validation": validation[0]} if validation else {"all": "train"}
    paths = {split: [os.fspath(path) for path in own[each].filepaths] for split, each in splits.items()}
    return RecordFiles(name, paths, container)


def _prepared_builder(name, place):
    import tensorflow_datasets as tfds  # only this source needs it

    try:
        # tfds itself reads the variable only when it is imported, which may have been before it was set.
        builder = tfds.builder(place, data_dir=os.environ.get("TFDS_DATA_DIR"))
        if not builder.is_prepared():
            logging.info("%s: preparing the data set in %s", name, builder.data_dir)
            builder.download_and_prepare()
    except Exception as error:
        # Downloads and parsers can make builders raise any exception.
        raise InputError(f"--data.source={name} can't be prepared: {one_line(error, 300)}") from error
    if builder.info.file_format is not tfds.core.FileFormat.TFRECORD:
        raise InputError(f"--data.source={name} is stored as {builder.info.file_format.value}; prepare it as tfrecord")
    return builder


def _tfds_container(name, info, given):
    import tensorflow_datasets as tfds

    features = dict(info.features.items())
    supervised = info.supervised_keys if len(info.supervised_keys or ()) == 2 else ("", "")
    images = [each for each in features if _has_images(features[each])]
    labels = [each for each in features if isinstance(features[each], tfds.features.ClassLabel)]
    if not images:
        raise InputError(f"--data.source={name} has no feature with encoded images, only {', '.join(features)}")
    usual = feature_names.FeatureNames(
        given.image or (supervised[0] if supervised[0] in images else ""),
        given.label or (supervised[1] if supervised[1] in labels else ""),
        given.key or feature_names.NONE,
    )
    found = feature_names.find(f"--data.source={name}", usual, list(features), images, labels)
    if found.image not in images or found.label not in (*labels, ""):
        wrong = found.image if found.image not in images else found.label
        raise InputError(
            f"--data.source={name}: the feature {wrong} can't be used; images are {', '.join(images)}, labels "
            f"{', '.join(labels) or 'none'}"
        )
    has_integer_keys = bool(found.key) and np.issubdtype(features[found.key].np_dtype, np.integer)
    class_names = tuple(features[found.label].names) if found.label else ()
    return containers.TFRecords(
        found.image, found.label, found.key, has_integer_keys=has_integer_keys, class_names=class_names
    )


def _has_images(feature):
    import tensorflow_datasets as tfds

    return isinstance(feature, tfds.features.Image) and feature.np_dtype in (np.uint8, np.uint16)
