"""Measures how fast one and two workers write tokens: `python -m benchmarks.materialize`.

JPEGs are made in a temporary folder and encoded by `vim_tf.materialize`, in one process and by DirectRunner's worker
processes. The baselines, also each in a separate process, are the encoder on images in memory, and decoding with
encoding. The time of a job before the first image and after the last is measured by a job of few images and subtracted.
"""

import dataclasses
import json
import tempfile
import time
from typing import Literal

from benchmarks.support import synthetic
from vim_tf.cli import flags
from vim_tf.config.fields import check, check_choices, setting

_FEW_IMAGES = 20
# Worker processes; 0 = in the process of the command.
WORKERS = {"one process": 0, "1 worker": 1, "2 workers": 2}


@dataclasses.dataclass(frozen=True)
class MaterializeBenchmarkConfig(synthetic.SyntheticConfig):
    """`benchmarks.materialize`: what to make and encode."""

    threads: int = setting(1, "cores that TensorFlow may use in each process; 0 = all, for which workers compete")
    row: Literal["", "encode", "decode and encode"] = setting("", "only this baseline, on --folder")
    folder: str = setting("", "for a single row: folder of the images and the tokenizer")

    def __post_init__(self):
        super().__post_init__()
        check_choices(self)
        check(self.threads >= 0, f"--threads must be 0 or more, not {self.threads}")
        check(self.images > _FEW_IMAGES, f"--images must be above {_FEW_IMAGES}, not {self.images}")
        check(bool(self.row) == bool(self.folder), "--folder and a single --row need each other")


def encode_rate(tokenizer, count, batch_size):
    """Images per second of only the encoder, on the same batch in memory every time."""
    import numpy as np

    from vim_tf.data.records.encode import compiled_encode

    shape = (batch_size, tokenizer.height, tokenizer.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    encode = compiled_encode(tokenizer)
    encode(pixels).numpy()
    steps = -(-count // batch_size)
    begin = time.perf_counter()
    for _ in range(steps):
        encode(pixels).numpy()
    return steps * batch_size / (time.perf_counter() - begin)


def run(config):
    """Prints the table, or for a single row one line of JSON.

    Args:
        config: MaterializeBenchmarkConfig.

    Returns:
        dict from the name of a row to its images/s; NaN if there are too few images to tell.
    """
    if config.row:
        return _run_row(config)
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        synthetic.write_jpegs(f"{folder}/images", config, config.images)
        synthetic.write_jpegs(f"{folder}/few", config, _FEW_IMAGES)
        synthetic.write_tokenizer(f"{folder}/tokenizer", config)
        for row in ("encode", "decode and encode"):
            chosen = dataclasses.replace(config, row=row, folder=folder)
            arguments = [f"--{name}={value}" for name, value in dataclasses.asdict(chosen).items()]
            value, _, _ = synthetic.run_measured("benchmarks.materialize", arguments, config.threads)
            rates[row] = value
            print(f"{row:18} {value:8.1f} images/s", flush=True)
        for name, workers in WORKERS.items():
            few, whole = (_job_seconds(config, folder, images, workers) for images in ("few", "images"))
            rates[name] = synthetic.rate_between(config.images - _FEW_IMAGES, few, whole)
            share = rates[name] / rates["decode and encode"]
            print(
                f"{name:18} {rates[name]:8.1f} images/s, {share:.2f} of decode and encode; start and end {few:.1f} s",
                flush=True,
            )
    return rates


def _run_row(config):
    from vim_tf.stages import saved

    tokenizer = saved.load_tokenizer(f"{config.folder}/tokenizer")
    if config.row == "encode":
        rate = encode_rate(tokenizer, config.images, config.batch_size)
    else:
        paths = synthetic.good_paths(f"{config.folder}/images", config.images)
        rate = synthetic.bare_rate(tokenizer, paths, config.batch_size)
    print(json.dumps(rate), flush=True)
    return {config.row: rate}


def _job_seconds(config, folder, images, workers):
    """Wall time of `vim_tf.materialize` on a folder of images, all of them in the training split."""
    mode = f",--direct_running_mode=multi_processing,--direct_num_workers={workers}" if workers else ""
    arguments = [
        f"--tokenizer={folder}/tokenizer",
        f"--data.source=folder:{folder}/{images}",
        "--data.validation_fraction=0",
        "--data.max_unreadable_fraction=0.1",
        "--split=train",
        f"--output={folder}/tokens",
        f"--batch_size={config.batch_size}",
        f"--num_shards={config.num_shards}",
        f"--beam_args=--runner=DirectRunner{mode}",
    ]
    begin = time.perf_counter()
    synthetic.run_quiet("vim_tf.materialize", arguments, config.threads)
    return time.perf_counter() - begin


def main():
    """Runs the command."""
    flags.main(run, lambda argv: MaterializeBenchmarkConfig, "Measures how fast Beam's workers write tokens.")


if __name__ == "__main__":
    main()
