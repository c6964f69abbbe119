"""The palette tokenizer of image GPT: an image in few colours at low resolution."""

import keras
from keras import ops

from vim_tf.models.quantizers.base import first_argmax


@keras.saving.register_keras_serializable(package="vim_tf")
class PaletteTokenizer(keras.Model):
    """Image tokenizer without a network: each token is the palette's colour of one pixel of a small image.

    It has the interface that the rest of the system uses of a tokenizer, so that the same language model can be trained
    on its tokens. An image is downscaled by area, to the mean of the pixels in each cell of the grid, and upscaled by
    filling each cell with its colour. A small image of palette colours therefore comes back unchanged.

    Args:
        height, width: image size in pixels.
        grid_height, grid_width: size of the small image, which divides that of the image.
        codebook_size: number of colours.

    References:
        Chen et al., 2020, Generative Pretraining from Pixels, section 3.2 (9-bit colours by k-means with 512 centres).
    """

    depth = 1

    def __init__(self, height, width, grid_height, grid_width, codebook_size, **kwargs):
        super().__init__(**kwargs)
        self.height = height
        self.width = width
        self.grid_height = grid_height
        self.grid_width = grid_width
        self.codebook_size = codebook_size

    def build(self, input_shape=None):
        self.palette = self.add_weight(
            name="palette", shape=(self.codebook_size, 3), initializer="zeros", trainable=False, dtype="float32"
        )
        self.built = True

    def call(self, images):
        return self.decode(self.encode(images))

    def small(self, images):
        """Mean colour of each cell of the grid.

        Args:
            images: float32 [batch, height, width, 3] in [0, 1].

        Returns:
            float32 [batch, grid_height * grid_width, 3] in [0, 1], raster order.
        """
        rows, columns = self.height // self.grid_height, self.width // self.grid_width
        cells = ops.reshape(images, (-1, self.grid_height, rows, self.grid_width, columns, 3))
        return ops.reshape(ops.mean(cells, axis=(2, 4)), (-1, self.grid_height * self.grid_width, 3))

    def encode(self, images):
        """Tokens of images.

        Args:
            images: float32 [batch, height, width, 3] in [0, 1].

        Returns:
            int32 [batch, grid_height * grid_width] in [0, codebook_size), raster order: the nearest colour by
            Euclidean distance in RGB, the first of equally near ones.
        """
        colors = self.small(images)[:, :, None]
        distances = sum(ops.square(colors[..., channel] - self.palette[:, channel]) for channel in range(3))
        return first_argmax(-distances)

    def decode(self, tokens):
        """Images of tokens.

        Args:
            tokens: int32 [batch, grid_height * grid_width] in [0, codebook_size).

        Returns:
            float32 [batch, height, width, 3] in [0, 1].
        """
        small = ops.reshape(self.lookup(tokens), (-1, self.grid_height, self.grid_width, 3))
        rows = ops.repeat(small, self.height // self.grid_height, axis=1)
        return ops.repeat(rows, self.width // self.grid_width, axis=2)

    def lookup(self, tokens):
        """Colours of tokens: float32 [batch, grid_height * grid_width, 3] in [0, 1]."""
        return ops.take(self.palette, tokens, axis=0)

    def quantized_latents(self, images):
        """Colours of the images' tokens, as from `lookup`."""
        return self.lookup(self.encode(images))

    def get_config(self):
        names = ("height", "width", "grid_height", "grid_width", "codebook_size")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def build_palette_tokenizer(section):
    """The built tokenizer that a `PaletteModelConfig` describes, its palette still black."""
    tokenizer = PaletteTokenizer(
        height=section.height,
        width=section.width,
        grid_height=section.grid_height,
        grid_width=section.grid_width,
        codebook_size=section.codebook_size,
        name="tokenizer",
    )
    tokenizer.build()
    return tokenizer
