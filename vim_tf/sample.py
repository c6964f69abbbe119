"""Generates images: `python -m vim_tf.sample --tokenizer=D --language_model=D2 --labels=0,1 --output=O`."""

import dataclasses
import io

from vim_tf import config as configs
from vim_tf import flags
from vim_tf.errors import InputError


def run(config):
    """Writes one PNG per image, `grid.png` with a row per label, and `samples.npz` with images, labels and tokens.

    A large request, with `num_shards`, writes `samples-*.npz` files instead, as in `vim_tf.sample_jobs`.

    Args:
        config: SampleConfig.

    Returns:
        dict of images uint8 [n, height, width, 3], labels int32 [n] and tokens int32 [n, num_tokens]; of a large
        request, None.

    Raises:
        InputError: unusable stages or classifier, a label that the language model doesn't know, or a folder that holds
            another large request.
    """
    import numpy as np

    from vim_tf import workdir
    from vim_tf.data.files import check_writable
    from vim_tf.sampling.generate import checked_labels

    tokenizer = workdir.load_tokenizer(config.tokenizer)
    language_model = workdir.load_language_model(config.language_model, tokenizer)
    labels = config.labels or tuple(range(max(language_model.num_classes, 1)))
    labels = np.repeat(checked_labels(language_model, labels, config.sampling.guidance_scale), config.num_per_label)
    if config.seed + len(labels) > np.iinfo(np.int32).max:
        raise InputError(f"--seed={config.seed} leaves no room for {len(labels)} seeds up to {np.iinfo(np.int32).max}")
    seeds = config.seed + np.arange(len(labels), dtype=np.int32)
    config = dataclasses.replace(config, sampling=_with_compilation(config))
    sampler = build_sampler(language_model, config.sampling, tokenizer)
    settings = sampler_settings(config.sampling)
    check_writable(config.output)

    def draw(labels, seeds):
        tokens = sampler.sample(labels, seeds, **settings)
        return {"images": decode(tokenizer, tokens, config.sampling.batch_size), "tokens": tokens}

    if config.num_shards:
        return _run_job(config, tokenizer, language_model, labels, seeds, draw)
    samples = {"labels": labels, **draw(labels, seeds)}
    _write_small(config, samples, seeds)
    return samples


def _with_compilation(config):
    """The SamplingConfig with `jit_compile` on or off; files that are added to a large request keep to its choice."""
    from vim_tf import sample_jobs

    sampling = config.sampling
    if sampling.jit_compile == "auto" and config.num_shards:
        is_compiled = sample_jobs.recorded_settings(config.output).get("sampling", {}).get("jit_compile")
        if is_compiled is not None:
            return dataclasses.replace(sampling, jit_compile=is_compiled)
    return settled(sampling)


def settled(sampling):
    """A SamplingConfig with `jit_compile` on or off, as this machine's device has it."""
    from vim_tf.training import compilation

    # Trained models are loaded in float32, whatever they were trained in.
    choice = compilation.choose(sampling.jit_compile, "float32")
    return dataclasses.replace(sampling, jit_compile=choice)


def _run_job(config, tokenizer, language_model, labels, seeds, draw):
    from vim_tf import sample_jobs, workdir

    settings = {
        "tokenizer": tokenizer.checksum,
        "language_model": workdir.checksum(language_model),
        "sampling": dataclasses.asdict(config.sampling) | {"jit_compile": config.sampling.jit_compile == "on"},
    }
    job = sample_jobs.SampleJob(
        config.output, labels, seeds, config.num_shards, settings, group=config.sampling.rejection_keep
    )
    missing = sample_jobs.run_job(job, draw, config.process, config.num_processes)
    others = f"; {len(missing)} more are still to be written by other processes" if missing else ""
    print(f"{config.output}: {config.num_shards - len(missing)} of {config.num_shards} files are there{others}")


def _write_small(config, samples, seeds):
    import numpy as np

    from vim_tf.data import preprocessing
    from vim_tf.data.files import write_whole
    from vim_tf.evaluation import pictures

    images = samples["images"]
    for image, label, seed in zip(images, samples["labels"], seeds, strict=True):
        write_whole(f"{config.output}/label{label}_seed{seed}.png", preprocessing.encode_png(image))
    factor = pictures.enlargement(*images.shape[1:3])
    grid = pictures.grid(images, num_columns=config.num_per_label, factor=factor)
    write_whole(f"{config.output}/grid.png", preprocessing.encode_png(grid))
    archive = io.BytesIO()
    np.savez_compressed(archive, **samples)
    write_whole(f"{config.output}/samples.npz", archive.getvalue())
    print(f"{len(images)} images: {config.output}/grid.png, {config.output}/samples.npz and one PNG each")


def decode(tokenizer, tokens, batch_size):
    """Pixels of tokens, `batch_size` images at a time: uint8 [n, height, width, 3]."""
    import numpy as np

    from vim_tf.data import preprocessing

    return np.concatenate(
        [
            preprocessing.to_uint8(tokenizer.decode(tokens[start : start + batch_size])).numpy()
            for start in range(0, len(tokens), batch_size)
        ]
    )


def build_sampler(language_model, sampling, tokenizer):
    """The sampler that a SamplingConfig describes.

    Args:
        language_model: LanguageModel.
        sampling: SamplingConfig.
        tokenizer: of its tokens, to show candidates to a classifier.

    Raises:
        InputError: the classifier can't be used.
    """
    from vim_tf.sampling.generate import Sampler
    from vim_tf.sampling.rejection import Classifier, RejectionSampler

    is_compiled = settled(sampling).jit_compile == "on"
    sampler = Sampler(language_model, sampling.batch_size, sampling.guidance_schedule, is_compiled)
    if not sampling.classifier:
        return sampler
    return RejectionSampler(
        sampler,
        lambda tokens: decode(tokenizer, tokens, sampling.batch_size),
        Classifier(sampling.classifier, sampling.batch_size),
        sampling.rejection_keep,
        sampling.rejection_candidates,
    )


def sampler_settings(sampling):
    """The arguments of `Sampler.sample` in a SamplingConfig: all but those of the samplers themselves."""
    return {name: getattr(sampling, name) for name in ("temperature", "top_k", "top_p", "guidance_scale")}


def main():
    """The command."""
    flags.main(run, lambda argv: configs.SampleConfig, "Generates images with a trained tokenizer and language model.")


if __name__ == "__main__":
    main()
