"""Compares small tokenizers that differ in one thing and are otherwise trained alike: `python -m benchmarks.ablation`.

Rows that are already trained aren't trained again, so a second call resumes where the first was stopped. The page is
`<output>/quantizers.md`, with `quantizers.png` next to it.
"""

import dataclasses
import os
import statistics
import sys
import time

from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.config.fields import check_given, check_positive, setting

FLAGFILE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "configs/photos/ablation.flags")
# The flags that each row adds to the flagfile.
ROWS = {
    "dim 256": ("--model.quantizer.codebook_dim=256",),
    "dim 32, no l2-norm": ("--nomodel.quantizer.l2_normalize",),
    "dim 32, l2-norm": (),
    "EMA": ("--model.quantizer.kind=ema",),
    "FSQ": (
        "--model.quantizer.kind=fsq",
        "--model.quantizer.fsq_levels=8,5,5,5",
        "--model.quantizer.codebook_size=1000",
        "--model.quantizer.codebook_dim=4",
    ),
    "CNN": ("--model.architecture=cnn",),
}


@dataclasses.dataclass(frozen=True)
class AblationConfig:
    """`benchmarks.ablation`: rows to train and where the results go."""

    steps: int = setting(700, "training steps of each row")
    seed: int = setting(0, "seed of each row")
    workdir: str = setting("runs/ablation", "folder of the trained rows")
    output: str = setting("docs/results", "folder for quantizers.md and quantizers.png")
    feature_steps: int = setting(600, "training steps of the network for the Fréchet distance")
    encode_rounds: int = setting(7, "timed rounds of encoding, in each of which every row takes a turn")

    def __post_init__(self):
        check_positive(self, "steps", "feature_steps", "encode_rounds")
        check_given(self, "workdir", "output")


@dataclasses.dataclass(frozen=True)
class RowResult:
    """The results of one row.

    Attributes:
        config: its TokenizerTrainConfig.
        metrics: dict from `stage/name` to float, on the validation split.
        conditions: dict from `stage/name` to what the value depends on.
        usage: list of (step, share of the codes that a window of training steps chose).
        seconds: duration of the training in seconds.
        trained_per_second: images, median over the intervals of the training.
        encoded_per_second: images, median over the rounds.
        num_parameters: of encoder, decoder and quantizer.
    """

    config: configs.TokenizerTrainConfig
    metrics: dict
    conditions: dict
    usage: list
    seconds: float
    trained_per_second: float
    encoded_per_second: float
    num_parameters: int


def row_config(name, config):
    """TokenizerTrainConfig of a row."""
    folder = "".join(letter if letter.isalnum() else "_" for letter in name.lower()).replace("__", "_")
    arguments = [
        f"--flagfile={FLAGFILE}",
        f"--workdir={config.workdir}/steps_{config.steps}_seed_{config.seed}/{folder}",
        f"--training.total_steps={config.steps}",
        f"--training.seed={config.seed}",
    ]
    return flags.parse(configs.TokenizerTrainConfig, [*arguments, *ROWS[name]])


def run(config):
    """Trains the rows that aren't trained yet, measures all of them and writes the page.

    Args:
        config: AblationConfig.

    Returns:
        dict from a row's name to its RowResult.
    """
    import keras

    from benchmarks.pages import ablation as ablation_page
    from vim_tf import train

    begin = time.monotonic()
    rows = {name: row_config(name, config) for name in ROWS}
    for name, row in rows.items():
        print(f"== {name}", file=sys.stderr, flush=True)
        train.run(row)
        keras.utils.clear_session()
    results = measure(rows, config)
    ablation_page.write(config.output, results, time.monotonic() - begin)
    return results


def measure(rows, config):
    """Evaluates trained rows, all with the same feature network.

    Args:
        rows: dict from name to TokenizerTrainConfig.
        config: AblationConfig.

    Returns:
        dict from name to RowResult.
    """
    from vim_tf.data import sources
    from vim_tf.data.batches import eval_batches
    from vim_tf.evaluation.feature_networks import trained_classifier
    from vim_tf.evaluation.image_sets import ReferenceSets
    from vim_tf.evaluation.reconstruction import ReconstructionEvaluator
    from vim_tf.stages import saved

    first = next(iter(rows.values()))
    train, validation = (
        sources.build_source(first.data, split, first.model.height, first.model.width) for split in configs.SPLITS
    )
    network = trained_classifier(
        train, config.feature_steps, config.seed, f"{config.workdir}/feature_network_seed_{config.seed}"
    )
    evaluator = ReconstructionEvaluator(validation, batch_size=128, references=ReferenceSets(network))
    tokenizers = {name: saved.load_tokenizer(row.workdir) for name, row in rows.items()}
    images = next(iter(eval_batches(validation, 128)))["image"]
    rates = encoding_rates(tokenizers, images, config.encode_rounds)
    results = {}
    for name, row in rows.items():
        evaluated = evaluator.run(tokenizers[name])
        results[name] = RowResult(
            config=row,
            metrics=evaluated.metrics,
            conditions=evaluated.conditions,
            encoded_per_second=rates[name],
            num_parameters=tokenizers[name].count_params(),
            **training_records(row),
        )
    return results


def training_records(row):
    """Values from a row's `metrics.jsonl`: dict of usage, seconds and trained_per_second as in RowResult."""
    from vim_tf.training.recorder import read_records

    every, window = row.training.log_every_steps, row.alarms.codebook_window_steps
    records = [line for line in read_records(f"{row.workdir}/metrics.jsonl") if "tokenizer/images_per_second" in line]
    rates = [line["tokenizer/images_per_second"] for line in records]
    return {
        # Until the window is full, every code counts as used.
        "usage": [(line["step"], line["codebook/window_usage"]) for line in records if line["step"] - every >= window],
        "seconds": sum(every * row.training.batch_size / rate for rate in rates),
        "trained_per_second": statistics.median(rates),
    }


def encoding_rates(tokenizers, images, rounds):
    """Images that each tokenizer encodes per second, median over rounds in which they take turns.

    Args:
        tokenizers: dict from name to tokenizer.
        images: uint8 [batch, height, width, 3].
        rounds: int.
    """
    import tensorflow as tf

    from vim_tf.data.images.pixels import to_float

    images = to_float(images)
    # The first call compiles, so it isn't timed.
    encoders = {name: tf.function(tokenizer.encode) for name, tokenizer in tokenizers.items()}
    for encode in encoders.values():
        encode(images)
    seconds = {name: [] for name in encoders}
    for _ in range(rounds):
        for name, encode in encoders.items():
            begin = time.perf_counter()
            encode(images).numpy()
            seconds[name].append(time.perf_counter() - begin)
    return {name: len(images) / statistics.median(values) for name, values in seconds.items()}


def main():
    """Runs the command."""
    flags.main(run, lambda argv: AblationConfig, "Trains small tokenizers that differ in one thing, and compares them.")


if __name__ == "__main__":
    main()
