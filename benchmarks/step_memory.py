"""Measures peak memory and rate of a tokenizer's training step, with and without rematerialisation.

    python -m benchmarks.step_memory

Each training runs in a separate process, on a few noise images, without the perceptual loss, whose weights can't be
distributed. The process's peak includes TensorFlow, weights, both optimizers' moments, gradients and activations.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile

from vim_tf.cli import flags
from vim_tf.config.fields import check_given, check_positive, setting

_SIDE = 300
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclasses.dataclass(frozen=True)
class StepMemoryConfig:
    """`benchmarks.step_memory`: which model, how large a batch."""

    model_flagfile: str = setting(
        f"{_ROOT}/configs/imagenet256/vit_vqgan_bb.flags", "flags of vim_tf.train --task=tokenizer"
    )
    batch_size: int = setting(1, "images per step")
    steps: int = setting(4, "steps; the rate is that of the second half")

    def __post_init__(self):
        check_given(self, "model_flagfile")
        check_positive(self, "batch_size", "steps")


def run(config):
    """Prints a line for each case.

    Returns:
        dict from whether blocks are rematerialized to (peak memory in MiB, images per second).
    """
    results = {}
    for rematerialize in (False, True):
        peak, rate = _trained(config, rematerialize)
        results[rematerialize] = peak, rate
        name = "with rematerialisation" if rematerialize else "without rematerialisation"
        print(f"{name}: peak {peak:,.0f} MiB, {rate:.3f} images/s", flush=True)
    print(f"rematerialisation: {results[True][0] / results[False][0]:.2f} of the memory")
    return results


def _trained(config, rematerialize):
    """(peak memory in MiB, images per second) of a training in a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        # The last step is followed by a validation, which must not take longer than the steps.
        _write_noise(f"{folder}/images/train", 2 * config.batch_size)
        _write_noise(f"{folder}/images/validation", 1)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "vim_tf.train", f"--flagfile={config.model_flagfile}", f"--workdir={folder}/w"),
                f"--data.source=folder:{folder}/images",
                "--losses.perceptual_weight=0",
                "--model.discriminator.minibatch_stddev_group=1",
                f"--training.batch_size={config.batch_size}",
                f"--training.total_steps={config.steps}",
                f"--training.log_every_steps={max(config.steps // 2, 1)}",
                "--training.validate_every_steps=0",
                "--training.keep_best_metric=",
                f"--training.rematerialize={str(rematerialize).lower()}",
            ],
            stdout=subprocess.DEVNULL,
            cwd=_ROOT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"the training exited with status {os.waitstatus_to_exitcode(status)}")
        with open(f"{folder}/w/metrics.jsonl", encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
    rates = [line["tokenizer/images_per_second"] for line in lines if "tokenizer/images_per_second" in line]
    return usage.ru_maxrss / 1024, rates[-1]


def _write_noise(folder, count):
    import numpy as np
    from PIL import Image

    os.makedirs(folder)
    random = np.random.default_rng(0)
    for index in range(count):
        pixels = random.integers(0, 256, [_SIDE, _SIDE, 3], np.uint8)
        Image.fromarray(pixels).save(f"{folder}/{index}.png")


def main():
    """Runs the command."""
    flags.main(run, lambda argv: StepMemoryConfig, "Measures peak memory and rate of a tokenizer's training step.")


if __name__ == "__main__":
    main()
