"""Image source `fonts:<folder>`: letters and digits of the fonts below a folder; the class is the character."""

import functools
import os

import numpy as np
from absl import logging

from vim_tf.data import order
from vim_tf.data.drawings import fonts
from vim_tf.data.sources import drawn
from vim_tf.data.sources.embedded import OpenedKind
from vim_tf.data.sources.fingerprints import files_below, identities
from vim_tf.errors import InputError

_ENDINGS = (".ttf", ".otf")
# Files per call of a worker.
_CHUNK = 8
# Part of the cache key: increase it when what is drawn changes.
_VERSION = 1


def open_fonts(folder, split, height, width, validation_fraction):
    """Glyphs A-Z, a-z and 0-9 of every TrueType and OpenType file below a folder, grey, in the middle of the image.

    Faces that look like another are left out; files that can't be read or lack glyphs are listed in `unreadable`.
    All faces of a family are in one split, by a hash of the family's name.

    Args:
        folder: str.
        split: train or validation.
        height, width: int, pixels.
        validation_fraction: float, share of the families that becomes the validation split.

    Returns:
        DrawnSource. Its attributes are the file, family, style and licence of each glyph.

    Raises:
        InputError: there is no such folder, it has no usable font, or a split is empty.
    """
    name = f"fonts:{folder}"
    paths = font_files(folder)
    if not paths:
        raise InputError(f"--data.source={name}: there is no .ttf or .otf file in {folder}")
    every = drawn.cached(
        name,
        "fonts",
        [_VERSION, fonts.versions(), folder, identities(paths), height, width],
        (None, height, width, 1),
        functools.partial(_draw, name, folder, paths, height, width),
    )
    if not len(every.images):
        raise InputError(
            f"--data.source={name}: none of {len(paths)} fonts can be used ({every.unreadable[0]}); give a folder of "
            "fonts with A-Z, a-z and 0-9"
        )
    families = every.attributes()["family"]
    chosen = order.choose_split(name, [family.encode() for family in families], split, validation_fraction)
    ours = every.take(np.flatnonzero(chosen))
    found = ours.attributes()["file"]
    labels = np.arange(len(found)) % len(fonts.CHARACTERS)
    return drawn.DrawnSource(
        name,
        split,
        class_names=list(fonts.CHARACTERS),
        labels=labels,
        keys=[f"{file}/{fonts.CHARACTERS[label]}".encode() for file, label in zip(found, labels, strict=True)],
        drawn=ours,
    )


def font_files(folder):
    """Sorted list of str: the TrueType and OpenType files below a folder, the folder's links followed.

    Raises:
        InputError: there is no such folder.
    """
    if not os.path.isdir(folder):
        raise InputError(f"--data.source=fonts:{folder}: there is no folder {folder}")
    return sorted(path for path in files_below(folder) if path.lower().endswith(_ENDINGS))


class FontsKind(OpenedKind):
    """`fonts:<folder>`."""

    def open(self, place, split, height, width, options):
        return open_fonts(place, split, height, width, options.validation_fraction)

    def files(self, place, splits):
        return font_files(place)


def _draw(name, folder, paths, height, width):
    """Drawn of the distinct faces in some font files."""
    jobs = [(paths[start : start + _CHUNK], height, width) for start in range(0, len(paths), _CHUNK)]
    called = drawn.call_all(name, fonts.draw_all, jobs, [len(job[0]) for job in jobs], "fonts")
    results = dict(zip(paths, (result for part in called for result in part), strict=True))
    unreadable = [f"{path}: {result}" for path, result in results.items() if isinstance(result, str)]
    for line in unreadable:
        logging.warning("%s: left out %s", name, line)
    faces = {path: result for path, result in results.items() if not isinstance(result, str)}
    kept = fonts.distinct(np.array([compared for _, compared, _ in faces.values()]))
    logging.info("%s: %d distinct faces in %d usable fonts of %d", name, sum(kept), len(faces), len(paths))
    images, choices = [np.zeros([0, height, width, 1], np.uint8)], []
    for (path, (glyphs, _, facts)), is_kept in zip(faces.items(), kept, strict=True):
        if is_kept:
            images.append(glyphs)
            choices += [{"file": os.path.relpath(path, folder), **facts}] * len(glyphs)
    return drawn.Drawn.of(np.concatenate(images), choices, unreadable)


FONTS = FontsKind("fonts")
