"""Images laid out for people: grids, enlarged by whole pixels, and comparisons."""

import dataclasses

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Visible on dark and light images and pages.
GAP_COLOR = 128
ERROR_GAIN = 4
_MAX_PIXELS = 4_000_000
_MAX_LABELS = 20
_TEXT_COLOR = 16
_MIN_TEXT, _MAX_TEXT, _MAX_TEXT_WIDTH = 9, 18, 240


@dataclasses.dataclass(frozen=True)
class Picture:
    """A grid of images that belong together, for the report.

    Attributes:
        title: str.
        image: uint8 [height, width, 3], cells of equal size as `grid` lays them out.
        alt: what the images show, for those who can't see them.
        caption: str.
        row_labels: tuple of str, one for each row of cells, or empty.
        num_columns: cells in a row.
    """

    title: str
    image: np.ndarray
    alt: str
    caption: str = ""
    row_labels: tuple = ()
    num_columns: int = 1


def enlargement(height, width, wanted=64):
    """Integer factor that brings the shorter side of an image near `wanted` pixels; 1 for larger images."""
    return max(1, round(wanted / min(height, width)))


def enlarge(images, factor):
    """Each pixel as a square of factor x factor pixels.

    Args:
        images: uint8 [..., height, width, 3].
        factor: int, at least 1.

    Returns:
        uint8 [..., height * factor, width * factor, 3].
    """
    return np.repeat(np.repeat(images, factor, axis=-3), factor, axis=-2)


def grid(images, num_columns, gap=2, factor=1):
    """Images in rows from left to right, with a grey gap around each.

    Args:
        images: uint8 [num_images, height, width, 3].
        num_columns: int, images in a row; the rest of the last row stays grey.
        gap: even int, pixels between two images; half of it surrounds the grid.
        factor: int, enlargement of the images.

    Returns:
        uint8 [rows * (height * factor + gap), num_columns * (width * factor + gap), 3].
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.dtype != np.uint8 or not len(images):
        raise ValueError(f"a grid needs uint8 [num_images, height, width, 3], not {images.dtype} {images.shape}")
    cells = np.pad(enlarge(images, factor), _margins(gap // 2), constant_values=GAP_COLOR)
    num_rows = -(-len(cells) // num_columns)
    blank = np.full((num_rows * num_columns - len(cells), *cells.shape[1:]), GAP_COLOR, np.uint8)
    cells = np.concatenate([cells, blank])
    _, height, width, channels = cells.shape
    rows = cells.reshape(num_rows, num_columns, height, width, channels).swapaxes(1, 2)
    return rows.reshape(num_rows * height, num_columns * width, channels)


def with_row_labels(image, labels):
    """A grid with a column of text on its left.

    Args:
        image: uint8 [height, width, 3], rows of equal height.
        labels: list of str, one for each row; long ones are cut with an ellipsis.

    Returns:
        uint8 [height, width + column, 3].
    """
    height = len(image) // len(labels)
    font = ImageFont.load_default(int(np.clip(height // 2, _MIN_TEXT, _MAX_TEXT)))
    lines = [_shortened(label, font) for label in labels]
    width = int(np.ceil(max(map(font.getlength, lines)))) + 12
    column = Image.new("RGB", (width, len(image)), (GAP_COLOR,) * 3)
    draw = ImageDraw.Draw(column)
    for row, line in enumerate(lines):
        draw.text((width - 6, (row + 0.5) * height), line, (_TEXT_COLOR,) * 3, font, anchor="rm")
    return np.concatenate([np.asarray(column), image], axis=1)


def _shortened(text, font):
    text = " ".join(text.split())
    if font.getlength(text) <= _MAX_TEXT_WIDTH:
        return text
    while font.getlength(f"{text}\N{HORIZONTAL ELLIPSIS}") > _MAX_TEXT_WIDTH:
        text = text[:-1]
    return f"{text}\N{HORIZONTAL ELLIPSIS}"


def side_by_side(images, reconstructions):
    """Input, reconstruction and error of each image, alternating.

    Args:
        images: uint8 [num_images, height, width, 3].
        reconstructions: uint8, same shape.

    Returns:
        uint8 [3 * num_images, height, width, 3]; the error is the absolute difference times `ERROR_GAIN`, clipped.
    """
    images, reconstructions = np.asarray(images), np.asarray(reconstructions)
    difference = np.abs(images.astype(np.int32) - reconstructions.astype(np.int32))
    error = np.minimum(difference * ERROR_GAIN, 255).astype(np.uint8)
    return np.stack([images, reconstructions, error], axis=1).reshape(-1, *images.shape[1:])


class ReconstructionRows:
    """Keeps the first images and their reconstructions, and lays them out below one another.

    Args:
        max_images: int; fewer are kept if they are large.
    """

    def __init__(self, max_images):
        self.max_images = max_images
        self._triplets = []

    def update(self, images, reconstructions):
        """Takes in one batch of pairs, uint8 [batch, height, width, 3] each."""
        fitting = max(1, _MAX_PIXELS // (3 * images.shape[1] * images.shape[2]))
        room = max(0, min(self.max_images, fitting) - len(self._triplets))
        self._triplets.extend(side_by_side(images[:room], reconstructions[:room]).reshape(-1, 3, *images.shape[1:]))

    def picture(self):
        """`Picture` in bands of three rows: input, output, error."""
        width = self._triplets[0].shape[2]
        num_columns = min(len(self._triplets), int(np.clip(1024 // width, 4, 16)))
        num_bands = -(-len(self._triplets) // num_columns)
        blank = np.full_like(self._triplets[0], GAP_COLOR)
        cells = np.stack(self._triplets + [blank] * (num_bands * num_columns - len(self._triplets)))
        rows = cells.reshape(num_bands, num_columns, *cells.shape[1:]).swapaxes(1, 2)
        return Picture(
            title="Reconstructions",
            image=grid(rows.reshape(-1, *cells.shape[2:]), num_columns),
            alt=f"{len(self._triplets)} images, their reconstructions and the differences",
            caption=f"The first images of the split, not picked. Error: absolute difference times {ERROR_GAIN}.",
            row_labels=("input", "output", "error") * num_bands,
            num_columns=num_columns,
        )


class SampleRows:
    """Keeps the first samples of each label, or of evenly spaced labels if there are many.

    Args:
        num_rows: int, labels, or rows of an unconditional model.
        row_length: int, samples in a row; sample number i belongs to row i // row_length.
        num_columns: int, samples shown of a row; fewer if they are large.
    """

    def __init__(self, num_rows, row_length, num_columns):
        self.num_rows = num_rows
        self.row_length = row_length
        self.num_columns = min(num_columns, row_length)
        self.rows = None
        self._images = []

    def update(self, indices, images):
        """Takes in samples, uint8 [batch, height, width, 3], with their numbers, ascending over all calls."""
        if self.rows is None:
            fitting = max(1, _MAX_PIXELS // (images.shape[1] * images.shape[2]))
            self.num_columns = min(self.num_columns, fitting)
            num_shown = min(self.num_rows, _MAX_LABELS, max(1, fitting // self.num_columns))
            self.rows = np.unique(np.linspace(0, self.num_rows - 1, num_shown).round().astype(int))
        row, column = np.divmod(indices, self.row_length)
        self._images.extend(images[np.isin(row, self.rows) & (column < self.num_columns)])

    def picture(self, names):
        """`Picture` with one row per label.

        Args:
            names: sequence of str, one for each row; empty = the model is unconditional.
        """
        rows = "one row per label" if names else "from an unconditional model"
        some = f" ({len(self.rows)} of {self.num_rows} labels)" if len(self.rows) < self.num_rows and names else ""
        return Picture(
            title="Samples",
            image=grid(np.stack(self._images), self.num_columns),
            alt=f"{len(self._images)} generated images, {rows}",
            caption=f"The first {self.num_columns} samples of each row, not picked; {rows}{some}.",
            row_labels=tuple(names[row] for row in self.rows) if names else (),
            num_columns=self.num_columns,
        )


def _margins(width):
    return ((0, 0), (width, width), (width, width), (0, 0))
