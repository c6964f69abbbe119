"""Names of folders and files that show which split they hold, in upper or lower case."""

import os
import re

from absl import logging

from vim_tf.errors import InputError

_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_IF_CLASSES = "if these names are classes, give --nodata.split_names"


def split_of(name):
    """train, validation, test, or "" if the name isn't that of a split."""
    return next((split for split, names in _NAMES.items() if name.lower() in names), "")


def split_folders(place, inside):
    """Folders of the splits among the sub-folders of a folder; other sub-folders are skipped.

    Args:
        place: str, the folder.
        inside: names of its sub-folders.

    Returns:
        {"train": path, "validation": path}, or None if no name is that of a split.

    Raises:
        InputError: the names may be those of splits or of classes.
    """
    named = {split: sorted(name for name in inside if split_of(name) == split) for split in _NAMES}
    found = sorted(name for names in named.values() for name in names)
    if not found:
        return None
    for split, names in named.items():
        if len(names) > 1 and split != "test":
            raise InputError(
                f"--data.source=folder:{place} holds {' and '.join(names)}: if both are the {split} split, put them "
                f"into one folder; {_IF_CLASSES}"
            )
    for split in ("train", "validation"):
        if not named[split]:
            raise InputError(
                f"--data.source=folder:{place} holds {' and '.join(found)} but no {split} folder: if these are splits, "
                f"add one, or use folder:{place}/{(named['train'] or found)[0]} to divide that; {_IF_CLASSES}"
            )
    chosen = {split: named[split][0] for split in ("train", "validation")}
    others = sorted(set(inside) - set(chosen.values()))
    if others:
        logging.warning(
            "folder:%s: %s are the splits; skipped %s", place, " and ".join(chosen.values()), ", ".join(others)
        )
    return {split: f"{place}/{name}" for split, name in chosen.items()}


def check_inside_classes(place, keys):
    """Refuses a class that itself holds splits, as in images/train, images/val.

    Args:
        place: str, the folder.
        keys: list of str, paths of its images below it.

    Raises:
        InputError: a class does.
    """
    inside = {tuple(key.split("/")[:2]) for key in keys if key.count("/") > 1}
    for name in sorted({each for each, _ in inside}):
        below = sorted(second for first, second in inside if first == name and split_of(second))
        if len({split_of(each) for each in below}) > 1:
            raise InputError(
                f"--data.source=folder:{place} holds {' and '.join(f'{name}/{each}' for each in below)}: if these are "
                f"splits, use folder:{place}/{name}; if {name} is a class, give --nodata.split_names"
            )


def check_one_split(name, paths, common):
    """Refuses record files that belong to several splits but would be divided as one set.

    Args:
        name: str, of the source.
        paths: list of str.
        common: int, length of the folder that all paths begin with.

    Raises:
        InputError: they are.
    """
    examples = {}
    for path in paths:
        folder, base = os.path.split(path[common:])
        words = [*folder.split("/"), re.split(r"[-_.]", base)[0]]
        examples |= {split: path for split in map(split_of, words) if split}
    if len(examples) > 1:
        raise InputError(
            f"--data.source={name} matches {' and '.join(examples.values())}: if these are splits, write {{split}} "
            "instead of train and validation, or give only the files of one to divide them; to divide all of them "
            "together, give --nodata.split_names"
        )
