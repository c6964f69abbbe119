"""The palette tokenizer, whose tokens are the colours of a small image: image GPT's baseline."""

import dataclasses
from typing import Literal

from vim_tf.config.data import DataConfig
from vim_tf.config.fields import check, check_choices, check_given, check_positive, check_seed, setting


@dataclasses.dataclass(frozen=True)
class PaletteModelConfig:
    """Size of images and tokens; defaults to image GPT's palette on 32 x 32 tokens."""

    height: int = setting(256, "image height in pixels")
    width: int = setting(256, "image width in pixels")
    grid_height: int = setting(32, "tokens from top to bottom: height of the small image whose pixels they are")
    grid_width: int = setting(32, "tokens from left to right")
    codebook_size: int = setting(512, "number of colours")

    def __post_init__(self):
        check_positive(self, "height", "width", "grid_height", "grid_width")
        check(self.codebook_size >= 2, f"codebook_size must be at least 2, not {self.codebook_size}")
        for side in ("height", "width"):
            size, grid = getattr(self, side), getattr(self, f"grid_{side}")
            check(size % grid == 0, f"model.{side} {size} isn't a multiple of model.grid_{side} {grid}")


@dataclasses.dataclass(frozen=True)
class ClusteringConfig:
    """k-means that finds the palette; image GPT only says that it clusters RGB values."""

    num_pixels: int = setting(
        200_000, "pixels to cluster, from as many whole small training images as needed, drawn by the seed"
    )
    max_iterations: int = setting(100, "maximum rounds of k-means")
    seed: int = setting(0, "seed of the choice of images and of the initial centres")

    def __post_init__(self):
        check_positive(self, "num_pixels", "max_iterations")
        check_seed(self)


@dataclasses.dataclass(frozen=True)
class PaletteTrainConfig:
    """`vim_tf.train --task=palette`: images in, a palette tokenizer out, which every command takes as a tokenizer."""

    task: Literal["palette"] = setting("palette", "stage to train")
    workdir: str = setting("", "folder of the trained stage; it appears whole or not at all", resumable=True)
    data: DataConfig = setting(DataConfig(), "images")
    model: PaletteModelConfig = setting(PaletteModelConfig(), "palette tokenizer")
    clustering: ClusteringConfig = setting(ClusteringConfig(), "k-means")

    def __post_init__(self):
        check_choices(self)
        check_given(self, "workdir")
