"""Determines which features of a record are the image, label and key: as the user says, or by known names."""

import dataclasses

from absl import logging

from vim_tf.errors import InputError

NONE = "none"
# Other projects' names for `image`, `label` and `key`: Hugging Face's data sets, TF-slim's TFRecords.
_OTHER_NAMES = {
    "image": ("img", "image/encoded", "jpg", "jpeg", "png", "webp"),
    "label": ("labels", "fine_label", "coarse_label", "image/class/label", "class", "class_id", "cls"),
    "key": ("__key__",),
}


@dataclasses.dataclass(frozen=True)
class FeatureNames:
    """Names that the user gives, and names that were found.

    Attributes:
        image: str; given: "" = to be recognised.
        label: str; given: "" = to be recognised, "none" = unlabelled; found: "" = unlabelled.
        key: str; given: the same, "none" = no key; found: "" = none.
    """

    image: str = ""
    label: str = ""
    key: str = ""


RECOGNISED = FeatureNames()


def find(place, given, available, declared_images=(), declared_labels=()):
    """The features of the records of a set.

    Args:
        place: str, a file, for messages.
        given: FeatureNames.
        available: list of str, all features.
        declared_images, declared_labels: those that the file itself declares as images and class labels.

    Returns:
        FeatureNames.

    Raises:
        InputError: a given feature is missing, several are possible, or none is known to be the image.
    """
    label = _find("label", place, given.label, available, declared_labels)
    found = FeatureNames(
        _find("image", place, given.image, available, declared_images), label, _find("key", place, given.key, available)
    )
    others = [name for name in available if name not in (found.image, found.key)]
    if others and not label and not given.label:
        logging.warning(
            "%s: treated as unlabelled, since none of %s is known to be the label; set it with --data.label_feature",
            place,
            ", ".join(others),
        )
    return found


def refuse_given(name, given, names, reason):
    """Refuses features that have no effect on a source.

    Args:
        name: str, of the source.
        given: FeatureNames.
        names: those of image, label and key that have no effect.
        reason: str, what the source has instead.

    Raises:
        InputError: one is given.
    """
    for part in names:
        if getattr(given, part):
            raise InputError(f"--data.{part}_feature has no effect on --data.source={name}: {reason}")


def _find(part, place, given, available, declared=()):
    """One feature's name; "" = there is none."""
    flag, listed = f"--data.{part}_feature", ", ".join(available)
    if given == NONE and part != "image":
        return ""
    if given:
        if given not in available:
            raise InputError(f"{place} has no {flag}={given}, only {listed}")
        return given
    if part in available:
        return part
    found = [name for name in available if name in declared or name in _OTHER_NAMES[part]]
    if len(found) > 1:
        raise InputError(
            f"{place}: each of {', '.join(found)} may be the {part}; choose one with {flag} (there are {listed})"
        )
    if not found and part == "image":
        raise InputError(f"{place}: none of {listed} is known to be the image; set it with {flag}")
    return found[0] if found else ""
