"""The classes of a set of images: how many there are, what they are called, and which have no image."""

import dataclasses

import numpy as np
from absl import logging

from vim_tf.errors import InputError

# How many numbers below the largest label may have no image. With more, the labels don't number classes.
_MAX_EMPTY = 10_000
_CLASSES_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of a set.

    Attributes:
        names: list of str; empty = unlabelled.
        values: list of int, each class's label in the files, if that isn't the class's number; else empty.
    """

    names: list[str]
    values: list[int] = dataclasses.field(default_factory=list)

    def number(self, labels):
        """int64 array: class of each label of the files; -1 = none."""
        labels = np.asarray(labels, np.int64)
        if not self.values:
            return labels
        return np.where(labels < 0, -1, np.searchsorted(self.values, labels))


def find_classes(source, labels, texts=(), known=None, map_labels=False):
    """Classes of a set.

    Args:
        source: str, as in `data.source`.
        labels: int array or list, every label that occurs, over all splits; -1 = none.
        texts: iterable of (label, name of its class) from the records.
        known: list of str, names of all classes by label; None = the labels determine how many there are.
        map_labels: bool, whether only the labels that occur become classes, in their order.

    Returns:
        Classes.

    Raises:
        InputError: only some images have labels, a label isn't among the known ones, or they don't number classes.
    """
    occurring = sorted({int(label) for label in labels})
    check_labels(source, occurring)
    labelled = [label for label in occurring if label >= 0]
    if known is not None and labelled and labelled[-1] >= len(known):
        raise InputError(
            f"--data.source={source}: there is the label {labelled[-1]}, but only {len(known)} class names"
        )
    names = _names_of(source, texts)
    if map_labels and labelled:
        return Classes([known[label] if known else names.get(label, str(label)) for label in labelled], labelled)
    if known is not None:
        return Classes(list(known))
    count = labelled[-1] + 1 if labelled else 0
    if count - len(labelled) > _MAX_EMPTY:
        raise InputError(
            f"--data.source={source}: the largest label is {labelled[-1]}, which makes {count} classes, of which only "
            f"{len(labelled)} occur; renumber those from 0 with --data.map_labels"
        )
    return Classes([names.get(label, str(label)) for label in range(count)])


def check_labels(source, labels):
    """Refuses a source in which only some images have labels.

    Args:
        source: str, as in `data.source`.
        labels: list of int or int array, every label that occurs; -1 = none.

    Raises:
        InputError: it does.
    """
    if len(labels) and (min(labels) < -1 or (min(labels) == -1 and max(labels) > -1)):
        raise InputError(f"--data.source={source}: labels must be 0 or above in all records or missing in all of them")


def empty_classes(names, labels):
    """Names of the classes without an image: list of str.

    Args:
        names: list of str, of all classes.
        labels: iterable of int, every label that occurs.
    """
    occurring = set(map(int, labels))
    return [name for label, name in enumerate(names) if label not in occurring]


def warn_of_empty(source, names):
    """Warns of classes without a training image.

    Args:
        source: str, as the user gave it.
        names: list of str, as `empty_classes` returns it.
    """
    if names:
        logging.warning("%s: no training image has the class %s", source, describe_empty(names))


def describe_empty(names):
    """The first few names of classes as one phrase."""
    more = f" and {len(names) - _CLASSES_NAMED} more" if len(names) > _CLASSES_NAMED else ""
    return f"{', '.join(names[:_CLASSES_NAMED])}{more}"


def _names_of(source, texts):
    """{label: name} from the records' texts; empty if two records disagree."""
    names = {}
    for label, text in texts:
        if text and names.setdefault(label, text) != text:
            logging.warning(
                "--data.source=%s: classes are named by their numbers, since %d is called both %r and %r",
                source,
                label,
                names[label],
                text,
            )
            return {}
    return names
