"""Image source `avatars`: colour drawings of people; the class is the style of drawing."""

from vim_tf.data.drawings import avatars
from vim_tf.data.sources import drawn
from vim_tf.errors import InputError

NUM_TRAIN = 20000
NUM_VALIDATION = 1000

# Drawings of a call of a worker.
_CHUNK = 100


def open_avatars(split, height, width, num_train=NUM_TRAIN, num_validation=NUM_VALIDATION):
    """Drawings composed by DiceBear, the same at every call, in as many styles as there are in `avatars.STYLES`.

    No composition of a validation drawing is among the training drawings, however many these are.

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
        versions = avatars.versions()
        images = drawn.cached(
            "avatars",
            "avatars",
            [versions, avatars.facts(), split, count, height, width],
            count,
            height,
            width,
            lambda: _draw(split, count, height, width),
        )
    except ImportError as error:
        raise InputError(
            f"--data.source=avatars can't draw ({' '.join(str(error).split())}); install what draws: pip install "
            f"{' '.join(avatars.PACKAGES)}"
        ) from error
    names = list(avatars.STYLES)
    labels = [avatars.label_of(number) for number in range(count)]
    keys = [f"avatars-{split}-{names[label]}-{number // len(names):06d}" for number, label in enumerate(labels)]
    return drawn.DrawnSource(
        "avatars" if num_train == NUM_TRAIN else f"avatars:{num_train}",
        split,
        class_names=names,
        labels=labels,
        keys=[key.encode() for key in keys],
        drawn=images,
        attributions=[style.attribution for style in avatars.STYLES.values()],
    )


def parse_count(place):
    """Number of training drawings in the name `avatars:<number>`; an empty one is the default.

    Raises:
        InputError: it is no positive integer.
    """
    if not place:
        return NUM_TRAIN
    if not place.isascii() or not place.isdecimal() or int(place) < 1:
        raise InputError(
            f"--data.source=avatars:{place}: {place} is no number of training drawings; give a positive integer, such "
            f"as avatars:{NUM_TRAIN}"
        )
    return int(place)


def _draw(split, count, height, width):
    starts = range(0, count, _CHUNK)
    jobs = [(split, start, min(start + _CHUNK, count), height, width) for start in starts]
    return drawn.draw_all("avatars", avatars.draw, jobs, [job[2] - job[1] for job in jobs])
