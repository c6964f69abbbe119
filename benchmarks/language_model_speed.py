"""Compares the language model's speed on CPUs with models of the same shape from PyPI.

    python -m benchmarks.language_model_speed --torch_python=<interpreter with torch, transformers, x-transformers>

Each framework has its own process with the same number of threads; one waits while the other works. Ratios are taken
round by round; their median is printed with, in brackets, the smallest and the largest.
"""

import dataclasses
import json
import sys

from benchmarks.support import measure
from benchmarks.tokenizer_speed import start_worker
from vim_tf.cli import flags
from vim_tf.config.fields import check, check_positive, setting


@dataclasses.dataclass(frozen=True)
class LanguageModelSpeedConfig:
    """`benchmarks.language_model_speed`: the model's shape and how often to measure."""

    torch_python: str = setting("", "Python interpreter with the peers; empty = measure only this project")
    lengths: tuple[int, ...] = setting((64, 256, 1024), "tokens of an image, square numbers")
    peer_lengths: tuple[int, ...] = setting((256,), "lengths at which peers are also measured")
    train_length: int = setting(256, "tokens of an image in the training step")
    batch_size: int = setting(8, "images at once")
    num_layers: int = setting(6, "Transformer blocks")
    num_heads: int = setting(8, "attention heads")
    hidden_dim: int = setting(256, "width of the residual stream")
    mlp_dim: int = setting(1024, "width inside the feed-forward part")
    codebook_size: int = setting(1024, "number of codes")
    threads: int = setting(2, "threads of each framework")
    rounds: int = setting(5, "rounds that count")
    calls: int = setting(1, "measured calls of an operation per round, after an unmeasured one")
    max_foreign: float = setting(0.2, "share of the machine that other programs may take in a round that counts")
    patience: int = setting(10, "disturbed rounds of an operation to repeat; further ones count")
    product_size: int = setting(2048, "rows and columns of the large matrix product that is the baseline for FLOP/s")

    def __post_init__(self):
        check_positive(self, "batch_size", "threads", "rounds", "calls", "product_size")
        check(self.train_length in self.lengths, f"train_length {self.train_length} must be one of lengths")
        check(set(self.peer_lengths) <= set(self.lengths), "peer_lengths must be among lengths")


def train_flops(config):
    """Floating point operations of a training step's matrix products; the backward pass has two per forward one."""
    hidden, length = config.hidden_dim, config.train_length
    block = 4 * hidden**2 + 2 * hidden * config.mlp_dim + 2 * length * hidden
    return 3 * 2 * config.batch_size * length * (config.num_layers * block + hidden * config.codebook_size)


def run(config):
    """Measures and prints.

    Args:
        config: LanguageModelSpeedConfig.

    Returns:
        dict from "<operation>/<process>" to the list of its `measure.Round`s.

    Raises:
        InputError: the interpreter has no peer.
    """
    results = {}
    with start(config, sys.executable, "tensorflow_language_model", config.lengths) as ours:
        print(f"TensorFlow {ours.facts['version']}, {config.threads} threads, batch {config.batch_size}")
        results |= _training(config, ours)
        for length in config.lengths:
            results |= _sampling(config, ours, length)
        if config.torch_python:
            with start(config, config.torch_python, "torch_language_model", config.peer_lengths) as peers:
                print("\n" + ", ".join(f"{name} {version}" for name, version in peers.facts["versions"].items()))
                for operation in peers.facts["operations"]:
                    results |= _peer(config, ours, peers, operation)
    return results


def start(config, python, module, lengths, device="cpu", precision="float32"):
    """Starts the process of one framework.

    Args:
        config: LanguageModelSpeedConfig.
        python: str, its interpreter.
        module: str, tensorflow_language_model or torch_language_model.
        lengths: tokens of an image, each length measured.
        device: cpu or gpu.
        precision: float32, or mixed_bfloat16, for which PyTorch uses autocast.

    Returns:
        `measure.Worker`.

    Raises:
        InputError: the process exited before it answered.
    """
    shape_names = ("num_layers", "num_heads", "hidden_dim", "mlp_dim", "codebook_size")
    settings = dataclasses.asdict(config) | {
        "lengths": lengths,
        "shape": {name: getattr(config, name) for name in shape_names},
        "device": device,
        "precision": precision,
    }
    return start_worker([python, "-m", f"benchmarks.workers.{module}", f"--settings={json.dumps(settings)}"])


def _take_turns(config, turns):
    results, disturbed = measure.take_turns(turns, config.calls, config.rounds, config.max_foreign, config.patience)
    if disturbed:
        print(f"  {disturbed} of {config.rounds} rounds were disturbed by other programs")
    return results


def _training(config, ours):
    name = f"train_{config.train_length}"
    rounds = _take_turns(config, {operation: (ours, operation) for operation in (name, "large_product")})
    scale = train_flops(config) / ours.facts["product_flops"]
    share = measure.ratio(rounds["large_product"], rounds[name])
    print(
        f"\ntraining step, {config.train_length} tokens: {1e3 * measure.median(rounds[name]):.0f} ms, "
        f"{train_flops(config) / measure.median(rounds[name]) / 1e9:.1f} GFLOP/s, {scale * share.median:.2f} "
        f"({scale * share.smallest:.2f} to {scale * share.largest:.2f}) of a large product's rate",
        flush=True,
    )
    return {f"{operation}/ours": each for operation, each in rounds.items()}


def _sampling(config, ours, length):
    names = ("sample", "sample_guided", "sample_whole_cache")
    rounds = _take_turns(config, {name: (ours, f"{name}_{length}") for name in names})
    rate = config.batch_size * length / measure.median(rounds["sample"])
    print(
        f"\nsampling {length} tokens: {rate:.0f} tokens/s, compiled in "
        f"{ours.facts[f'compile_seconds_ours_{length}']:.1f} s\n"
        f"  with guidance it takes {measure.ratio(rounds['sample_guided'], rounds['sample'])} times as long\n"
        f"  with attention over the whole cache {measure.ratio(rounds['sample_whole_cache'], rounds['sample'])} times",
        flush=True,
    )
    return {f"{name}_{length}/ours": each for name, each in rounds.items()}


def _peer(config, ours, peers, operation):
    kind, length = operation.split("_")[0], int(operation.rsplit("_", 1)[1])
    if kind == "train" and length != config.train_length:
        return {}
    rounds = _take_turns(config, {"peer": (peers, operation), "ours": (ours, f"{kind}_{length}")})
    rate = config.batch_size * length / measure.median(rounds["peer"])
    print(
        f"  {operation:28} {1e3 * measure.median(rounds['peer']):8.0f} ms {rate:8.0f} tokens/s; "
        f"ours is {measure.ratio(rounds['peer'], rounds['ours'])} times as fast",
        flush=True,
    )
    return {f"{operation}/peer": rounds["peer"], f"{operation}/ours": rounds["ours"]}


def main():
    """Runs the command."""
    flags.main(run, lambda argv: LanguageModelSpeedConfig, "Compares the language model's speed on CPUs with peers.")


if __name__ == "__main__":
    main()
