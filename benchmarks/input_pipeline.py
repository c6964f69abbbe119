"""Measures how many images per second reach a training step: `python -m benchmarks.input_pipeline`.

JPEGs of mixed sizes are made in a temporary folder and read like a folder too large for memory: file, decode, crop,
resize, batch, float. The baseline is only TensorFlow's JPEG decoder on the same files. Every row takes a turn in each
round, so that other load on the machine affects all of them alike; medians are printed, also as ratios.
"""

import dataclasses
import statistics
import tempfile
import time

from vim_tf.cli import flags
from vim_tf.config.fields import check, check_not_negative, check_positive, setting

SIZES = (256, 128)
_BASELINE = "only the JPEG decoder"
_WARM_UP_BATCHES = 2


@dataclasses.dataclass(frozen=True)
class InputPipelineConfig:
    """`benchmarks.input_pipeline`: images to make and how often to read them."""

    images: int = setting(400, "JPEG files to make; each measurement reads this number of images")
    min_side: int = setting(300, "smallest height and width of a file in pixels")
    max_side: int = setting(600, "largest height and width of a file in pixels")
    quality: int = setting(90, "JPEG quality")
    batch_size: int = setting(16, "images in a batch")
    repeats: int = setting(5, "rounds, in each of which every row is measured once")
    step_images_per_second: float = setting(
        0.0, "images per second of a training step, as the trainer prints them, to compare with; 0 = no comparison"
    )

    def __post_init__(self):
        check_positive(self, "images", "min_side", "batch_size", "repeats")
        check_not_negative(self, "step_images_per_second")
        check(self.min_side <= self.max_side <= 4096, "max_side must be between min_side and 4096")
        check(1 <= self.quality <= 100, f"quality must be in [1, 100], not {self.quality}")


def write_images(folder, config):
    """Writes parts of scikit-learn's two photographs in random sizes, as JPEG files.

    Returns:
        Mean bytes per file.
    """
    import numpy as np
    from PIL import Image
    from sklearn import datasets

    photos = [Image.fromarray(each) for each in datasets.load_sample_images().images]
    random = np.random.default_rng(0)
    sizes = []
    for number in range(config.images):
        height, width = (int(side) for side in random.integers(config.min_side, config.max_side + 1, 2))
        photo = photos[number % len(photos)]
        left, top = random.uniform(0, 0.3, 2) * photo.size
        part = (left, top, left + 0.7 * photo.width, top + 0.7 * photo.height)
        path = f"{folder}/{number:05d}.jpg"
        photo.resize((width, height), Image.Resampling.BICUBIC, part).save(path, quality=config.quality)
        with open(path, "rb") as file:
            sizes.append(len(file.read()))
    return statistics.mean(sizes)


def make_rows(folder, batch_size):
    """Dict from name to endless tf.data.Dataset of batches; the first is the baseline."""
    import tensorflow as tf

    from vim_tf.data import augmentation, sources
    from vim_tf.data.batches import train_batches
    from vim_tf.data.images import examination
    from vim_tf.data.images.decode import decode_image

    def decoded(decode):
        def shape(path):
            return tf.shape(decode(tf.io.read_file(path)))

        paths = tf.data.Dataset.list_files(f"{folder}/*", shuffle=False).repeat()
        return paths.map(shape, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)

    rows = {
        _BASELINE: decoded(lambda file: tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE")),
        "any format, upright": decoded(decode_image),
    }
    examination.MEMORY_LIMIT_BYTES = 0  # as if there were too many images for memory
    for size in SIZES:
        source = sources.open_source(f"folder:{folder}", "train", size, size, validation_fraction=0.0)
        for crop in ("center", "random_square"):
            augment = augmentation.make_augment(crop, size, size, 1.125, 1.5, flip=crop != "center")
            rows[f"{crop} {size}"] = train_batches(source, batch_size, 0, augment=augment)
    return rows


def images_per_second(batches, batch_size, count):
    """Images per second of a dataset, over at least `count` images after a warm-up."""
    iterator = iter(batches)
    for _ in range(_WARM_UP_BATCHES):
        next(iterator)
    num_batches = -(-count // batch_size)
    start = time.perf_counter()
    for _ in range(num_batches):
        next(iterator)
    return num_batches * batch_size / (time.perf_counter() - start)


def run(config):
    """Prints the table.

    Args:
        config: InputPipelineConfig.

    Returns:
        dict from the name of a row to its images/s, median of the rounds.
    """
    with tempfile.TemporaryDirectory() as folder:
        mean_bytes = write_images(folder, config)
        print(
            f"{config.images} JPEGs of {config.min_side}-{config.max_side} pixels, {mean_bytes / 1000:.0f} kB each; "
            f"batches of {config.batch_size}; median (lowest to highest) of {config.repeats}",
            flush=True,
        )
        rows = make_rows(folder, config.batch_size)
        rates = {name: [] for name in rows}
        for _ in range(config.repeats):
            for name, batches in rows.items():
                rates[name].append(images_per_second(batches, config.batch_size, config.images))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        share = statistics.median(rate / decoder for rate, decoder in zip(values, rates[_BASELINE], strict=True))
        line = f"{name:20} {medians[name]:7.0f} images/s ({min(values):.0f} to {max(values):.0f})"
        line += f"  {share:5.2f} of the decoder"
        if config.step_images_per_second:
            line += f"  {medians[name] / config.step_images_per_second:6.1f} times the training step"
        print(line, flush=True)
    return medians


def main():
    """Runs the command."""
    flags.main(run, lambda argv: InputPipelineConfig, "Measures how fast images are decoded, cropped and batched.")


if __name__ == "__main__":
    main()
