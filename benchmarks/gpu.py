"""Compares the speed of both stages on a GPU with PyTorch's on the same card.

    python -m benchmarks.gpu --torch_python=<interpreter with PyTorch for CUDA, transformers, x-transformers>

The processes, networks and peers are those of `benchmarks.tokenizer_speed` and `benchmarks.language_model_speed`, at
the paper's sizes. Each framework has its own process; one waits while the other works. Ratios are taken round by round;
their median is printed with, in brackets, the smallest and the largest.

Not yet run on a GPU.
"""

import contextlib
import dataclasses
import math
import os
import sys
from typing import Literal

from benchmarks import language_model_speed, tokenizer_speed
from benchmarks.support import measure
from vim_tf.cli import flags
from vim_tf.config import TransformerConfig
from vim_tf.config.fields import check, check_choices, check_positive, setting
from vim_tf.errors import InputError

# Relative difference allowed between the losses of two frameworks: TF32 products keep 10 bits, bfloat16 keeps 8.
TOLERANCES = {"float32": 1e-2, "mixed_bfloat16": 5e-2}


@dataclasses.dataclass(frozen=True)
class GpuConfig:
    """`benchmarks.gpu`: the models' shapes and how often to measure."""

    torch_python: str = setting("", "Python interpreter with the peers; empty = measure only this project")
    torch_compile: bool = setting(False, "also measure PyTorch's tokenizer compiled by torch.compile")
    precision: Literal["float32", "mixed_bfloat16"] = setting(
        "mixed_bfloat16", "precision of both frameworks; float32 products are TF32 on cards that have it"
    )
    tokenizer: TransformerConfig = setting(
        TransformerConfig(num_layers=8, num_heads=8, hidden_dim=512, mlp_dim=2048),
        "encoder and decoder of the tokenizer, each",
    )
    image_size: int = setting(256, "height and width of an image in pixels")
    patch_size: int = setting(8, "side of a patch in pixels")
    codebook_size: int = setting(8192, "number of codes of both stages")
    codebook_dim: int = setting(32, "dimensions of a code")
    tokenizer_batch_size: int = setting(16, "images in a batch of the tokenizer")
    language_model: TransformerConfig = setting(
        TransformerConfig(num_layers=24, num_heads=16, hidden_dim=1024, mlp_dim=4096), "the language model"
    )
    num_tokens: int = setting(1024, "tokens of an image in the language model, a square number")
    language_model_batch_size: int = setting(8, "images in a batch of the language model")
    rounds: int = setting(5, "rounds that count")
    calls: int = setting(5, "measured calls of an operation per round, after an unmeasured one")

    def __post_init__(self):
        check_choices(self)
        check_positive(
            self,
            "image_size",
            "patch_size",
            "codebook_size",
            "codebook_dim",
            "tokenizer_batch_size",
            "num_tokens",
            "language_model_batch_size",
            "rounds",
            "calls",
        )
        check(not self.torch_compile or self.torch_python, "torch_compile needs torch_python")
        check(self.image_size % self.patch_size == 0, "image_size must be a multiple of patch_size")
        check(
            math.isqrt(self.num_tokens) ** 2 == self.num_tokens, f"num_tokens {self.num_tokens} isn't a square number"
        )


def run(config):
    """Measures and prints.

    Args:
        config: GpuConfig.

    Returns:
        The same as `compare`.

    Raises:
        InputError: there is no GPU, a peer is missing, or the two tokenizers' losses differ.
    """
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        raise InputError(
            "TensorFlow sees no GPU: install a driver for CUDA 12 and run make setup-cuda, or measure on CPUs with "
            "benchmarks.tokenizer_speed and benchmarks.language_model_speed"
        )
    return compare(config, "gpu")


def compare(config, device):
    """Measures both stages on a device, with each framework's processes taking turns.

    Args:
        config: GpuConfig.
        device: gpu, or cpu to try the benchmark itself.

    Returns:
        dict from "<operation>/<process>" to the list of its `measure.Round`s.
    """
    return _tokenizer(config, device) | _language_model(config, device)


def tokenizer_settings(config):
    """The TokenizerSpeedConfig for a GpuConfig."""
    return tokenizer_speed.TokenizerSpeedConfig(
        **dataclasses.asdict(config.tokenizer),
        **{name: getattr(config, name) for name in ("image_size", "patch_size", "codebook_size", "codebook_dim")},
        torch_python=config.torch_python,
        torch_compile=config.torch_compile,
        batch_sizes=(config.tokenizer_batch_size,),
        threads=os.cpu_count(),
        architectures=False,
    )


def language_model_settings(config):
    """The LanguageModelSpeedConfig for a GpuConfig."""
    return language_model_speed.LanguageModelSpeedConfig(
        **dataclasses.asdict(config.language_model),
        codebook_size=config.codebook_size,
        lengths=(config.num_tokens,),
        peer_lengths=(config.num_tokens,),
        train_length=config.num_tokens,
        batch_size=config.language_model_batch_size,
        threads=os.cpu_count(),
    )


def _tokenizer(config, device):
    size = config.tokenizer_batch_size
    with contextlib.ExitStack() as stack:
        workers = tokenizer_speed.start_workers(
            tokenizer_settings(config), stack, device, config.precision, TOLERANCES[config.precision]
        )
        _print_devices(config, "tokenizer", workers.values())
        results = {}
        for kind, title in {"train": "training step", "encode": "encoding"}.items():
            turns = {name: (worker, f"{kind}_{size}") for name, worker in workers.items()}
            results |= _take_turns(config, f"tokenizer, {title}, batch {size}", turns, size, "images")
    return results


def _language_model(config, device):
    settings, size, length = language_model_settings(config), config.language_model_batch_size, config.num_tokens
    with contextlib.ExitStack() as stack:

        def start(python, module):
            worker = language_model_speed.start(settings, python, module, settings.lengths, device, config.precision)
            return stack.enter_context(worker)

        ours = start(sys.executable, "tensorflow_language_model")
        peers = start(config.torch_python, "torch_language_model") if config.torch_python else None
        _print_devices(config, "language model", [ours, peers] if peers else [ours])
        operations = peers.facts["operations"] if peers else []
        results = {}
        for kind, title in {"train": "training step", "sample": "sampling"}.items():
            turns = {"ours": (ours, f"{kind}_{length}")}
            turns |= {name.rsplit("_", 1)[0]: (peers, name) for name in operations if name.startswith(kind)}
            results |= _take_turns(config, f"language model, {title}, batch {size}", turns, size * length, "tokens")
    return results


def _print_devices(config, what, workers):
    devices = ", ".join(dict.fromkeys(worker.facts["device"] for worker in workers))
    print(f"\n{what} on {devices}, {config.precision}")


def _take_turns(config, title, turns, count, unit):
    """Measures one operation in each process and prints it: dict from "<operation>/<process>" to its Rounds.

    Args:
        turns: dict from a process's name to (Worker, name of its operation); "ours" is the first.
        count: int, units per call.
        unit: str, images or tokens.
    """
    # The load that other programs put on the processors says little about a GPU.
    rounds, _ = measure.take_turns(turns, config.calls, config.rounds, max_foreign=1.0, patience=0)
    print(title)
    for name, each in rounds.items():
        wall = measure.median(each)
        line = f"  {name:22}{1e3 * wall:10.1f} ms {count / wall:12.1f} {unit}/s"
        print(line + ("" if name == "ours" else f"; ours is {measure.ratio(each, rounds['ours'])} times as fast"))
    sys.stdout.flush()
    return {f"{turns['ours'][1]}/{name}": each for name, each in rounds.items()}


def main():
    """Runs the command."""
    flags.main(run, lambda argv: GpuConfig, "Compares the speed of both stages on a GPU with PyTorch's.")


if __name__ == "__main__":
    main()
