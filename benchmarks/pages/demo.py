"""Draws the README's images: `python -m benchmarks.pages.demo`, after `make demo`.

They aren't cherry-picked: samples have the seeds 0, 1, ..., and the images are the first of the validation split.
"""

import dataclasses

from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.config.fields import check_given, check_positive, setting


@dataclasses.dataclass(frozen=True)
class DemoPageConfig:
    """`benchmarks.pages.demo`: the run, and how much of it is shown."""

    run: str = setting("runs/digits", "output of the pipeline")
    source: str = setting("digits", "images that the tokenizer has not been trained on, as in data.source")
    output: str = setting("docs/images", "folder of the PNG files")
    samples_per_label: int = setting(6, "rows of samples")
    rows_of_images: int = setting(3, "rows of images, each above the row of their reconstructions")
    enlargement: int = setting(3, "side of a pixel")

    def __post_init__(self):
        check_given(self, "run", "source", "output")
        check_positive(self, "samples_per_label", "rows_of_images", "enlargement")


def run(config):
    """Writes `demo_samples.png`, a column per class, and `demo_reconstructions.png`, in rows as wide.

    Args:
        config: DemoPageConfig.
    """
    import numpy as np

    from vim_tf.data import sources
    from vim_tf.data.images.pixels import encode_png, to_float, to_uint8
    from vim_tf.evaluation import pictures
    from vim_tf.sampling.generate import Sampler
    from vim_tf.stages import saved
    from vim_tf.storage.files import write_whole

    tokenizer = saved.load_tokenizer(f"{config.run}/tokenizer")
    language_model = saved.load_language_model(f"{config.run}/language_model", tokenizer)
    num_labels = max(language_model.num_classes, 1)
    seeds, labels = np.divmod(np.arange(config.samples_per_label * num_labels), num_labels)
    tokens = Sampler(language_model, batch_size=64).sample(labels, seeds)
    samples = to_uint8(tokenizer.decode(tokens)).numpy()

    data = configs.DataConfig(source=config.source)
    source = sources.build_source(data, "validation", tokenizer.height, tokenizer.width)
    images = next(iter(source.ordered_batches(config.rows_of_images * num_labels)))["image"]
    reconstructions = to_uint8(tokenizer.decode(tokenizer.encode(to_float(images)))).numpy()
    bands = np.stack([np.reshape(each, [-1, num_labels, *images.shape[1:]]) for each in (images, reconstructions)], 1)

    for name, shown in (("samples", samples), ("reconstructions", bands.reshape(-1, *images.shape[1:]))):
        path = f"{config.output}/demo_{name}.png"
        write_whole(path, encode_png(pictures.grid(shown, num_labels, factor=config.enlargement)))
        print(path)


def main():
    """Runs the command."""
    flags.main(run, lambda argv: DemoPageConfig, __doc__.splitlines()[0])


if __name__ == "__main__":
    main()
