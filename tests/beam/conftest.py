"""A folder of images with some that can't be read, and jobs on it in this process."""

import apache_beam as beam
import numpy as np
import pytest
from PIL import Image

from tests.testing import save_untrained_tokenizer
from vim_tf import config as configs
from vim_tf.beam import images as image_job
from vim_tf.beam import jobs
from vim_tf.data.sources import plan_shards

# In each class; in every split, image 2 of class "b" isn't an image.
COUNTS = {"train": 7, "validation": 4}


class Images:
    """Images in <folder>/<split>/<class>/, of sizes around 8 to 20 pixels, and one broken file in each split.

    Attributes:
        folder: pathlib.Path.
        source: str, as in `data.source`.
        broken: {split: key of the broken file}.
    """

    def __init__(self, folder):
        self.folder = folder
        self.source = f"folder:{folder}/{{split}}"
        self.broken = dict.fromkeys(COUNTS, b"b/2.jpg")
        random = np.random.default_rng(0)
        for split, count in COUNTS.items():
            for name in ("a", "b"):
                (folder / split / name).mkdir(parents=True)
                for index in range(count):
                    height, width = random.integers(8, 21, 2)
                    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
                    ending = "bmp" if index == 3 else "tif" if index == 1 else "png"
                    Image.fromarray(pixels).save(folder / split / name / f"{index}.{ending}")
            (folder / split / "b" / "2.png").unlink()
            (folder / split / "b" / "2.jpg").write_bytes(b"\xff\xd8\xff no picture")

    def config(self, **settings):
        """DataConfig of the images."""
        return configs.DataConfig(**({"source": self.source, "max_unreadable_fraction": 0.2} | settings))


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    return Images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """Folder of an untrained tokenizer of 8 x 8 pixels."""
    return save_untrained_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def ingest():
    """Function that ingests a DataConfig into a folder, in this process."""

    def run(config, folder, num_shards=2, splits=configs.SPLITS):
        plan = plan_shards(config, splits, 8, 8, num_shards)
        with beam.Pipeline(options=jobs.parse_options([])) as pipeline:
            image_job.ingest(pipeline, plan, str(folder), config.max_unreadable_fraction, config.max_pixels)
        jobs.check_finished(str(folder), image_job.split_folders(plan, str(folder)))

    return run
