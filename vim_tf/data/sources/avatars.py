"""Image source `avatars`: colour drawings of people; the class is the style of drawing."""

import dataclasses

import numpy as np

from vim_tf.data.drawings import avatars
from vim_tf.data.images.pixels import encode_png
from vim_tf.data.sources import drawn, shards
from vim_tf.data.sources.base import RECORD_OPTIONS, SourceKind
from vim_tf.errors import InputError

NUM_TRAIN = 20000
NUM_VALIDATION = 1000

# Drawings per call of a worker, or per step of a shard.
_CHUNK = 100


def open_avatars(split, height, width, num_train=NUM_TRAIN, num_validation=NUM_VALIDATION):
    """Drawings composed by DiceBear, the same at every call, in as many styles as there are in `avatars.STYLES`.

    No validation drawing has the same composition as a training drawing, no matter how many there are.

    Args:
        split: train or validation.
        height, width: int, pixels that the drawings are rendered with.
        num_train, num_validation: int, number of drawings of each split.

    Returns:
        DrawnSource. Its attributes are the parts and colours that each drawing was composed of.

    Raises:
        InputError: a package that draws is missing.
    """
    count = num_train if split == "train" else num_validation
    try:
        images = drawn.cached(
            "avatars",
            "avatars",
            [avatars.versions(), avatars.facts(), split, count, height, width],
            (count, height, width, 3),
            lambda: _draw(split, count, height, width),
        )
    except ImportError as error:
        raise _missing(error) from error
    return drawn.DrawnSource(
        "avatars" if num_train == NUM_TRAIN else f"avatars:{num_train}",
        split,
        class_names=list(avatars.STYLES),
        labels=[avatars.label_of(number) for number in range(count)],
        keys=[avatars.key_of(split, number).encode() for number in range(count)],
        drawn=images,
    )


def parse_count(place):
    """Number of training drawings in the name `avatars:<number>`; the default if it is empty.

    Raises:
        InputError: it isn't a positive integer.
    """
    if not place:
        return NUM_TRAIN
    if not place.isascii() or not place.isdecimal() or int(place) < 1:
        raise InputError(
            f"--data.source=avatars:{place}: {place} isn't a number of training drawings; give a positive integer, "
            f"such as avatars:{NUM_TRAIN}"
        )
    return int(place)


class AvatarsKind(SourceKind):
    """`avatars`, or `avatars:<number of training drawings>`."""

    place = "optional"
    unused = RECORD_OPTIONS
    why_unused = "it has no records"

    def open(self, place, split, height, width, options):
        return open_avatars(split, height, width, parse_count(place))

    def plan(self, place, splits, height, width, num_shards, options):
        counts = {"train": parse_count(place), "validation": NUM_VALIDATION}
        self.versioned_name(place)  # before any worker finds that a package is missing
        planned = []
        for split in splits:
            parts = shards.parts(counts[split], num_shards)
            planned += [
                AvatarsShard(split, index, len(parts), height, width, part.start, part.stop)
                for index, part in enumerate(parts)
            ]
        return shards.Plan(self.source_name(place), planned, list(avatars.STYLES))

    def files(self, place, splits):
        return []

    def attributions(self, place):
        return [str(style.attribution) for style in avatars.STYLES.values()]

    def versioned_name(self, place):
        """Name of the source, with the versions of the packages that draw."""
        try:
            versions = avatars.versions()
        except ImportError as error:
            raise _missing(error) from error
        return " ".join([self.source_name(place), *(f"{name}=={version}" for name, version in versions.items())])


@dataclasses.dataclass(frozen=True)
class AvatarsShard:
    """Some drawings, as PNG; they are drawn when the shard is read, and not cached.

    Attributes:
        split, index, count: as every shard has them.
        height, width: int, pixels.
        start, stop: int, numbers of the drawings in the split.
    """

    split: str
    index: int
    count: int
    height: int
    width: int
    start: int
    stop: int

    def entries(self):
        """Yields the Entries in order."""
        for start in range(self.start, self.stop, _CHUNK):
            stop = min(start + _CHUNK, self.stop)
            images, _ = avatars.draw(self.split, start, stop, self.height, self.width)
            for number, image in zip(range(start, stop), images, strict=True):
                key = avatars.key_of(self.split, number)
                label = avatars.label_of(number)
                yield shards.Entry(f"avatars:{key}", key.encode(), label, lambda image=image: encode_png(image))


def _missing(error):
    """InputError of an ImportError."""
    return InputError(
        f"--data.source=avatars can't draw ({' '.join(str(error).split())}); install what draws: pip install "
        f"{' '.join(avatars.PACKAGES)}"
    )


def _draw(split, count, height, width):
    starts = range(0, count, _CHUNK)
    jobs = [(split, start, min(start + _CHUNK, count), height, width) for start in starts]
    results = drawn.call_all("avatars", avatars.draw, jobs, [job[2] - job[1] for job in jobs], "images")
    images = np.concatenate([images for images, _ in results])
    return drawn.Drawn.of(images, [each for _, choices in results for each in choices])


AVATARS = AvatarsKind("avatars")
