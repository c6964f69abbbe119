"""Generates images: `python -m vim_tf.sample --tokenizer=D --language_model=D2 --labels=0,1 --output=O`."""

import dataclasses
import io

from vim_tf import config as configs
from vim_tf import flags


def run(config):
    """Writes one PNG per image, `grid.png` with a row per label, and `samples.npz` with images, labels and tokens.

    Args:
        config: SampleConfig.

    Returns:
        dict of images uint8 [n, height, width, 3], labels int32 [n] and tokens int32 [n, num_tokens].

    Raises:
        InputError: unusable stages, or a label that the language model doesn't know.
    """
    import numpy as np

    from vim_tf import workdir
    from vim_tf.data import preprocessing
    from vim_tf.evaluation import pictures
    from vim_tf.evaluation.results import write_whole

    tokenizer = workdir.load_tokenizer(config.tokenizer)
    language_model = workdir.load_language_model(config.language_model, tokenizer)
    labels = config.labels or tuple(range(max(language_model.num_classes, 1)))
    labels = np.repeat(np.asarray(labels, np.int32), config.num_per_label)
    seeds = config.seed + np.arange(len(labels), dtype=np.int32)
    sampler = build_sampler(language_model, config.sampling)
    tokens = sampler.sample(labels, seeds, **sampler_settings(config.sampling))
    size = config.sampling.batch_size
    images = np.concatenate(
        [
            preprocessing.to_uint8(tokenizer.decode(tokens[start : start + size])).numpy()
            for start in range(0, len(tokens), size)
        ]
    )
    samples = {"images": images, "labels": labels, "tokens": tokens}
    for image, label, seed in zip(images, labels, seeds, strict=True):
        write_whole(f"{config.output}/label{label}_seed{seed}.png", preprocessing.encode_png(image))
    factor = pictures.enlargement(tokenizer.height, tokenizer.width)
    grid = pictures.grid(images, num_columns=config.num_per_label, factor=factor)
    write_whole(f"{config.output}/grid.png", preprocessing.encode_png(grid))
    archive = io.BytesIO()
    np.savez_compressed(archive, **samples)
    write_whole(f"{config.output}/samples.npz", archive.getvalue())
    print(f"{len(images)} images: {config.output}/grid.png, {config.output}/samples.npz and one PNG each")
    return samples


def build_sampler(language_model, sampling):
    """The sampler that a SamplingConfig describes."""
    from vim_tf.sampling.generate import Sampler

    return Sampler(language_model, sampling.batch_size)


def sampler_settings(sampling):
    """The arguments of `Sampler.sample` in a SamplingConfig: all but the batch size."""
    settings = dataclasses.asdict(sampling)
    settings.pop("batch_size")
    return settings


def main():
    """The command."""
    flags.main(run, lambda argv: configs.SampleConfig, "Generates images with a trained tokenizer and language model.")


if __name__ == "__main__":
    main()
