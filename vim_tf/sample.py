"""Generates images: `python -m vim_tf.sample --tokenizer=D --language_model=D2 --labels=0,1 --output=O`."""

import dataclasses
import re

from vim_tf import config as configs
from vim_tf import ranges
from vim_tf.cli import flags

# Characters of a class name that a file name keeps.
_MAX_NAME = 40
# Matches what `_file_name` returns.
_FILE_NAME = r"label[0-9]+(_.+)?_seed-?[0-9]+[.]png"


def run(config):
    """Writes one PNG per image, `grid.png` with a row per label, and `samples.npz` with the returned arrays.

    PNGs that an earlier call wrote into the same folder are removed.

    A large request, one with `num_shards`, writes `samples-*.npz` files instead, as in `vim_tf.sampling.jobs`.

    Args:
        config: SampleCommand.

    Returns:
        dict of images uint8 [n, height, width, 3], labels int32 [n], tokens int32 [n, num_tokens] and class_names str
        [num_classes], empty if they aren't known; None for a large request.

    Raises:
        InputError: unusable stages or classifier, a label that the language model doesn't know, or a folder that holds
            another large request.
    """
    import numpy as np

    from vim_tf.sampling.requests import checked_labels
    from vim_tf.sampling.samplers import build_sampler, decode, sampler_settings
    from vim_tf.stages import saved
    from vim_tf.storage.files import check_writable

    tokenizer = saved.load_tokenizer(config.tokenizer)
    language_model = saved.load_language_model(config.language_model, tokenizer)
    labels = config.labels or tuple(range(max(language_model.num_classes, 1)))
    labels = np.repeat(checked_labels(language_model, labels), config.num_per_label)
    ranges.INT32.check(f"--seed={config.seed} for {len(labels)} images: seed", config.seed + len(labels) - 1)
    seeds = (config.seed + np.arange(len(labels))).astype(np.int32)
    config = dataclasses.replace(config, sampling=_with_compilation(config))
    sampler = build_sampler(language_model, config.sampling, tokenizer)
    settings = sampler_settings(config.sampling)
    sampler.check(labels, seeds, **settings)
    check_writable(config.output, names=("grid.png", "samples.npz"))

    def draw(labels, seeds):
        tokens = sampler.sample(labels, seeds, **settings)
        return {"images": decode(tokenizer, tokens, config.sampling.batch_size), "tokens": tokens}

    if config.num_shards:
        return _run_job(config, tokenizer, language_model, labels, seeds, draw)
    samples = {"labels": labels, **draw(labels, seeds), "class_names": np.array(language_model.class_names, str)}
    _write_small(config, language_model, samples, seeds)
    return samples


def _with_compilation(config):
    """The SamplingConfig with `jit_compile` on or off; files added to a large request keep its choice."""
    from vim_tf.sampling.jobs import recorded_settings
    from vim_tf.sampling.samplers import settled

    sampling = config.sampling
    if sampling.jit_compile == "auto" and config.num_shards:
        is_compiled = recorded_settings(config.output).get("sampling", {}).get("jit_compile")
        if is_compiled is not None:
            return dataclasses.replace(sampling, jit_compile=is_compiled)
    return settled(sampling)


def _run_job(config, tokenizer, language_model, labels, seeds, draw):
    from vim_tf.sampling.jobs import SampleJob, run_job
    from vim_tf.stages import saved

    settings = {
        "tokenizer": tokenizer.checksum,
        "language_model": saved.checksum(language_model),
        "sampling": dataclasses.asdict(config.sampling) | {"jit_compile": config.sampling.jit_compile == "on"},
    }
    job = SampleJob(
        config.output,
        labels,
        seeds,
        config.num_shards,
        settings,
        group=config.sampling.rejection_keep,
        class_names=language_model.class_names,
    )
    missing = run_job(job, draw, config.process, config.num_processes)
    others = f"; {len(missing)} more are still to be written by other processes" if missing else ""
    print(f"{config.output}: {config.num_shards - len(missing)} of {config.num_shards} files are written{others}")


def _file_name(label, seed, class_names):
    name = class_names[label] if class_names else str(label)
    # Letters and digits of any script stay; other characters of a class name may not be allowed in a file name.
    name = "" if name == str(label) else re.sub(r"[^\w.+-]+", "-", name).strip("-.")[:_MAX_NAME]
    return f"label{label}{f'_{name}' if name else ''}_seed{seed}.png"


def _write_small(config, language_model, samples, seeds):
    from vim_tf.data.images.pixels import encode_png
    from vim_tf.evaluation import pictures
    from vim_tf.sampling.requests import label_name
    from vim_tf.storage import npz
    from vim_tf.storage.files import remove_files, write_whole

    images, labels, class_names = samples["images"], samples["labels"], language_model.class_names
    names = [_file_name(label, seed, class_names) for label, seed in zip(labels, seeds, strict=True)]
    removed = remove_files(config.output, _FILE_NAME, keep=set(names))
    for name, image in zip(names, images, strict=True):
        write_whole(f"{config.output}/{name}", encode_png(image))
    factor = pictures.enlargement(*images.shape[1:3])
    grid = pictures.grid(images, num_columns=config.num_per_label, factor=factor)
    shown = [label_name(label, class_names) for label in labels[:: config.num_per_label]]
    if language_model.num_classes:
        grid = pictures.with_row_labels(grid, shown)
    write_whole(f"{config.output}/grid.png", encode_png(grid))
    npz.write(f"{config.output}/samples.npz", samples, compressed=True)
    print(f"{len(images)} images: {config.output}/grid.png, {config.output}/samples.npz and one PNG each")
    named = [each for each in dict.fromkeys(shown) if "," in each]
    if named:
        print("\n".join(named))
    if removed:
        print(f"Removed PNGs of an earlier call: {removed}")


def main():
    """Runs the command."""
    flags.main(run, lambda argv: configs.SampleCommand, "Generates images with a trained tokenizer and language model.")


if __name__ == "__main__":
    main()
