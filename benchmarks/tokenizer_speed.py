"""Compares the tokenizer's speed on CPUs with the same tokenizer in PyTorch.

    python -m benchmarks.tokenizer_speed --torch_python=<interpreter of an environment with PyTorch and NumPy>

Each framework has its own process with the same number of threads; one waits while the other works. Both start from the
same weights, and their first losses must agree, or nothing is measured. Ratios are taken round by round; their median
is printed with, in brackets, the smallest and the largest. Rounds that other programs disturb are measured again.
"""

import contextlib
import dataclasses
import json
import os
import sys
import tempfile

from benchmarks.support import measure
from vim_tf.cli import flags
from vim_tf.config.fields import check, check_not_negative, check_positive, setting
from vim_tf.errors import InputError

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Table 1 of https://arxiv.org/abs/2110.04627: images/s of Small-Small and of the CNN with channels x1, 256 x 256.
PAPER_RATES = {"vit": 1520, "cnn": 946}


@dataclasses.dataclass(frozen=True)
class TokenizerSpeedConfig:
    """`benchmarks.tokenizer_speed`: the tokenizer's shape and how often to measure."""

    torch_python: str = setting("", "Python interpreter that has PyTorch; empty = measure only this project")
    torch_compile: bool = setting(False, "also measure PyTorch compiled by torch.compile, which needs a C++ compiler")
    batch_sizes: tuple[int, ...] = setting((2, 8), "images in a batch")
    num_layers: int = setting(6, "Transformer blocks on each side")
    num_heads: int = setting(8, "attention heads")
    hidden_dim: int = setting(256, "width of the residual stream")
    mlp_dim: int = setting(1024, "width inside the feed-forward part")
    patch_size: int = setting(8, "side of a patch in pixels")
    image_size: int = setting(128, "height and width of an image in pixels")
    codebook_size: int = setting(1024, "number of codes")
    codebook_dim: int = setting(32, "dimensions of a code")
    threads: int = setting(2, "threads of each framework")
    rounds: int = setting(9, "rounds that count")
    calls: int = setting(3, "measured calls of an operation per round, after an unmeasured one")
    max_foreign: float = setting(0.1, "share of the machine that other programs may take in a round that counts")
    patience: int = setting(30, "disturbed rounds of an operation to repeat; further ones count")
    product_size: int = setting(2048, "rows and columns of the large matrix product that is the baseline for FLOP/s")
    compared_steps: int = setting(3, "first steps whose losses must agree")
    jit_compile: bool = setting(True, "training.jit_compile of this project")
    keep_freed_memory: bool = setting(True, "training.keep_freed_memory of this project")
    architectures: bool = setting(True, "compare the ViT's encoding with the CNN's at the paper's widths")
    architecture_image_size: int = setting(128, "height and width of the images in that comparison")
    architecture_batch_size: int = setting(1, "images in a batch in that comparison")

    def __post_init__(self):
        check_positive(
            self, "threads", "rounds", "calls", "product_size", "architecture_image_size", "architecture_batch_size"
        )
        check_not_negative(self, "patience", "compared_steps")
        check(self.batch_sizes and min(self.batch_sizes) > 0, "batch_sizes must be positive numbers")
        check(0 <= self.max_foreign <= 1, f"max_foreign must be in [0, 1], not {self.max_foreign}")
        check(not self.torch_compile or self.torch_python, "torch_compile needs torch_python")


def forward_flops(config, sides):
    """Floating point operations of an image's matrix products in a forward pass; a multiply-add counts as two.

    Args:
        config: TokenizerSpeedConfig.
        sides: 1 for only the encoder with its look-up, 2 for both Transformers.
    """
    length = (config.image_size // config.patch_size) ** 2
    hidden, patch_values = config.hidden_dim, 3 * config.patch_size**2
    block = 4 * hidden**2 + 2 * hidden * config.mlp_dim + 2 * length * hidden
    ends = hidden * (patch_values + hidden + config.codebook_dim)
    look_up = config.codebook_size * config.codebook_dim
    return 2 * length * (sides * (config.num_layers * block + ends) + look_up)


def train_flops(config):
    """Floating point operations of an image in a training step: the backward pass has two products per forward one,
    except that images need no gradient and the look-up has none."""
    length = (config.image_size // config.patch_size) ** 2
    look_up = 2 * length * config.codebook_size * config.codebook_dim
    to_images = 2 * length * 3 * config.patch_size**2 * config.hidden_dim
    return 3 * (forward_flops(config, 2) - look_up) + look_up - to_images


def block_flops(config):
    """Floating point operations of an image's matrix products in one block, forward and backward."""
    length = (config.image_size // config.patch_size) ** 2
    hidden = config.hidden_dim
    return 6 * length * (4 * hidden**2 + 2 * hidden * config.mlp_dim + 2 * length * hidden)


def run(config):
    """Measures and prints.

    Args:
        config: TokenizerSpeedConfig.

    Returns:
        dict from "<operation>/<process>" to the list of its `measure.Round`s, and from "losses/<process>" to floats.

    Raises:
        InputError: the interpreter has no PyTorch, or the two tokenizers' losses differ.
    """
    with contextlib.ExitStack() as stack:
        workers = start_workers(config, stack)
        ours = workers["ours"]
        print(f"TensorFlow {ours.facts['version']}, {ours.facts['parameters']:,} parameters, {config.threads} threads")
        results = {f"losses/{name}": worker.facts["losses"] for name, worker in workers.items()}
        for size in config.batch_sizes:
            for kind in ("train", "encode"):
                results |= _compare(config, workers, f"{kind}_{size}", size)
            results |= _efficiency(config, ours, size)
        if config.architectures:
            results |= _architectures(config, ours)
    return results


def start_workers(config, stack, device="cpu", precision="float32", tolerance=1e-3):
    """Starts the process of each framework, all from the same weights.

    Args:
        config: TokenizerSpeedConfig.
        stack: contextlib.ExitStack that ends them.
        device: cpu or gpu.
        precision: float32, or mixed_bfloat16, for which PyTorch uses autocast.
        tolerance: float, relative difference allowed between the first losses.

    Returns:
        dict from ours, torch, torch.compile to `measure.Worker`.

    Raises:
        InputError: the interpreter has no PyTorch, or the two tokenizers' losses differ.
    """
    weights = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "weights.npz")
    shape_names = ("num_layers", "num_heads", "hidden_dim", "mlp_dim", "patch_size", "image_size")
    settings = {
        **dataclasses.asdict(config),
        "shape": {name: getattr(config, name) for name in (*shape_names, "codebook_size", "codebook_dim")},
        "learning_rate": 1e-4,
        "device": device,
        "precision": precision,
    }

    def start(python, module, is_compiled):
        said = json.dumps(settings | {"compile": is_compiled})
        command = [python, "-m", f"benchmarks.workers.{module}", f"--settings={said}", f"--weights={weights}"]
        return stack.enter_context(start_worker(command))

    workers = {"ours": start(sys.executable, "tensorflow_tokenizer", False)}
    for name, is_compiled in _twins(config).items():
        workers[name] = start(config.torch_python, "torch_tokenizer", is_compiled)
        _check_losses(workers["ours"].facts["losses"], workers[name].facts["losses"], tolerance)
    return workers


def start_worker(command):
    """The `measure.Worker` of a command: list of str that begins with an interpreter, `-m` and a module.

    Raises:
        InputError: it exited before it answered.
    """
    # Two frameworks share one accelerator: neither may take all its memory at once.
    environment = {"PYTHONPATH": _ROOT, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    try:
        return measure.Worker(command, environment)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{command[0]} can't run {command[2]}: {error}") from error


def _twins(config):
    """Dict from the name of each PyTorch process to whether it uses torch.compile."""
    if not config.torch_python:
        return {}
    return {"torch": False} | ({"torch.compile": True} if config.torch_compile else {})


def _check_losses(ours, others, tolerance):
    for step, (one, other) in enumerate(zip(ours, others, strict=True)):
        if abs(one - other) > tolerance * abs(other):
            raise InputError(f"the two tokenizers differ: loss {one}, PyTorch's {other} in step {step}")


def _take_turns(config, turns):
    results, disturbed = measure.take_turns(turns, config.calls, config.rounds, config.max_foreign, config.patience)
    if disturbed:
        print(f"  {disturbed} of {config.rounds} rounds were disturbed by other programs")
    return results


def _compare(config, workers, operation, batch_size):
    """Compares one operation in all frameworks."""
    kind = "training step" if operation.startswith("train") else "encoding"
    print(f"\n{kind}, batch {batch_size}")
    rounds = _take_turns(config, {name: (worker, operation) for name, worker in workers.items()})
    for name, each in rounds.items():
        wall, cpu = measure.median(each), measure.median(each, "cpu")
        line = (
            f"  {name:14}{1e3 * wall:8.1f} ms {batch_size / wall:8.1f} images/s, {1e3 * cpu:8.1f} ms of processor time"
        )
        if name != "ours":
            line += f"; ours is {measure.ratio(each, rounds['ours'])} times as fast"
            line += f", by processor time {measure.ratio(each, rounds['ours'], 'cpu')}"
        print(line, flush=True)
    return {f"{operation}/{name}": each for name, each in rounds.items()}


def _efficiency(config, ours, batch_size):
    """Compares the step's FLOP/s with a large product's, and shows which parts take the time."""
    names = [f"{part}_{batch_size}" for part in ("train", "gradients", "products", "update")]
    rounds = _take_turns(config, {name: (ours, name) for name in [*names, "large_product"]})
    peak = ours.facts["product_flops"] / measure.median(rounds["large_product"])
    step, gradients, products, update = (measure.median(rounds[name]) for name in names)
    flops = batch_size * train_flops(config)
    share = measure.ratio(rounds["large_product"], rounds[names[0]])
    scale = flops / ours.facts["product_flops"]
    products *= flops / (batch_size * block_flops(config))
    print(f"\nFLOP/s of the training step, batch {batch_size}: {flops / 1e9:.1f} GFLOP in matrix products")
    print(f"  one product of {config.product_size} rows and columns {peak / 1e9:8.1f} GFLOP/s")
    print(
        f"  training step {flops / step / 1e9:8.1f} GFLOP/s, share {scale * share.median:.2f} "
        f"({scale * share.smallest:.2f} to {scale * share.largest:.2f})"
    )
    print(f"  of {1e3 * step:.1f} ms: {1e3 * flops / peak:.1f} at the large product's rate")
    print(f"  {1e3 * (products - flops / peak):8.1f} ms because the step's own products are slower")
    print(f"  {1e3 * (gradients - products):8.1f} ms for what is between them: norms, softmax, GELU, transposes")
    print(
        f"  {1e3 * update:8.1f} ms for AdamW; {1e3 * (step - gradients - update):.1f} ms for input, metrics and so on",
        flush=True,
    )
    return {f"{name}/parts": each for name, each in rounds.items()}


def _architectures(config, ours):
    """Compares encoding by the ViT and by the CNN."""
    rounds = _take_turns(config, {name: (ours, f"encode_{name}") for name in PAPER_RATES})
    side, paper = config.architecture_image_size, PAPER_RATES["vit"] / PAPER_RATES["cnn"]
    print(
        f"\nencoding {side} x {side} at the paper's widths (ViT Small, CNN x1), batch {config.architecture_batch_size}"
    )
    for name, each in rounds.items():
        print(f"  {name} {config.architecture_batch_size / measure.median(each):8.2f} images/s")
    print(
        f"  the ViT is {measure.ratio(rounds['cnn'], rounds['vit'])} times as fast; in the paper {paper:.2f}",
        flush=True,
    )
    return {f"encode/{name}": each for name, each in rounds.items()}


def main():
    """Runs the command."""
    flags.main(run, lambda argv: TokenizerSpeedConfig, "Compares the tokenizer's speed on CPUs with PyTorch's.")


if __name__ == "__main__":
    main()
