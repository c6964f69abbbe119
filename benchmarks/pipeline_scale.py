"""Measures ingestion and encoding of n and of 2n images: `python -m benchmarks.pipeline_scale --images=20000`.

JPEGs, one in a hundred of them corrupt, are made in a temporary folder and go through the two Beam jobs of the
pipeline, each in a separate process. It prints the counts, which must add up exactly, images per second compared with
bare decoding and encoding, and the peak memory of all processes, which must not grow with the set.
"""

import dataclasses
import json
import math
import tempfile
from typing import Literal

from benchmarks.support import synthetic
from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.config.fields import check, check_choices, setting

MAX_GROWTH = 1.1


@dataclasses.dataclass(frozen=True)
class PipelineScaleConfig(synthetic.SyntheticConfig):
    """`benchmarks.pipeline_scale`: what to make, and where the jobs run."""

    beam_args: tuple[str, ...] = setting((), "Beam flags, separated by commas, as in vim_tf.materialize")
    threads: int = setting(0, "cores that TensorFlow may use in each process; 0 = all")
    stage: Literal["all", "ingest", "encode", "bare"] = setting(
        "all", "all: everything, each stage in its own process; others: only this stage, on --folder"
    )
    folder: str = setting("", "for a single stage: folder of the images, the tokenizer and the examples")

    def __post_init__(self):
        super().__post_init__()
        check_choices(self)
        check(self.threads >= 0, f"--threads must be 0 or more, not {self.threads}")
        check((self.stage == "all") == (not self.folder), "--folder and a single --stage need each other")


def run_stage(config):
    """Runs one stage on `config.folder`; returns its counts."""
    if config.stage == "bare":
        from vim_tf.stages import saved

        paths = synthetic.good_paths(f"{config.folder}/images", config.images)
        tokenizer = saved.load_tokenizer(f"{config.folder}/tokenizer")
        return {"rate": synthetic.bare_rate(tokenizer, paths, config.batch_size)}
    return _ingest(config) if config.stage == "ingest" else _encode(config)


def _ingest(config):
    import apache_beam as beam

    from vim_tf.beam import jobs
    from vim_tf.beam.images import ingest, split_folders
    from vim_tf.data.sources import plan_shards

    folder = f"{config.folder}/examples"
    data = configs.DataConfig(f"folder:{config.folder}/images", max_unreadable_fraction=0.1)
    size = config.image_size
    plan = plan_shards(data, configs.SPLITS, size, size, config.num_shards)
    pipeline = beam.Pipeline(options=jobs.parse_options(config.beam_args, len(plan.shards)))
    ingest(pipeline, plan, folder, data.max_unreadable_fraction, data.max_pixels)
    jobs.run(pipeline)
    jobs.check_finished(folder, split_folders(plan, folder))
    with open(f"{folder}/manifest.json") as file:
        splits = json.load(file)["splits"].values()
    return {name: sum(split[f"num_{name}"] for split in splits) for name in ("examples", "unreadable")}


def _encode(config):
    from vim_tf import materialize

    manifest = materialize.run(
        configs.MaterializeCommand(
            tokenizer=f"{config.folder}/tokenizer",
            data=configs.DataConfig(f"tfrecord:{config.folder}/examples/Split-{{split}}/*.gz"),
            output=f"{config.folder}/tokens",
            batch_size=config.batch_size,
            num_shards=config.num_shards,
            beam_args=config.beam_args,
        )
    )
    shards = [shard for split in manifest.splits.values() for shard in split["shards"]]
    return {
        "examples": sum(shard["num_examples"] for shard in shards),
        "unreadable": sum(shard.get("num_dead_letters", 0) for shard in shards),
    }


def run(config):
    """Prints the table, or for a single stage one line of JSON.

    Args:
        config: PipelineScaleConfig.

    Returns:
        dict from (stage, images) to its counts, seconds, bytes and rate; for a single stage, its counts.

    Raises:
        RuntimeError: counts don't add up.
    """
    if config.stage != "all":
        counted = run_stage(config)
        print(json.dumps(counted), flush=True)
        return counted
    results = {}
    for images in (config.images, 2 * config.images):
        with tempfile.TemporaryDirectory() as folder:
            synthetic.write_jpegs(f"{folder}/images", config, images)
            synthetic.write_tokenizer(f"{folder}/tokenizer", config)
            for stage in ("bare", "ingest", "encode"):
                results[stage, images] = _measured(config, stage, images, folder)
        _check_counts(results, images)
    for stage in ("ingest", "encode"):
        print(_compared(stage, results, config.images), flush=True)
    return results


def _compared(stage, results, images):
    """A line on the second half of the larger set, which includes no start-up."""
    small, large, bare = results[stage, images], results[stage, 2 * images], results["bare", 2 * images]
    rate = synthetic.rate_between(images, small["seconds"], large["seconds"])
    speed = f"{rate:.1f} images/s without start-up, {rate / bare['rate']:.2f} of bare decoding and encoding"
    if math.isnan(rate):
        speed = "no rate without start-up, since twice the images took no longer: make more, on an idle machine"
    growth = large["bytes"] / small["bytes"]
    verdict = "within" if growth <= MAX_GROWTH else "NOT within"
    return (
        f"{stage}: {speed}; peak memory grows by a factor of {growth:.3f} as the set doubles, {verdict} {MAX_GROWTH:g}"
    )


def _measured(config, stage, images, folder):
    chosen = dataclasses.replace(config, stage=stage, images=images, folder=folder)
    arguments = [f"--{name}={_text(value)}" for name, value in dataclasses.asdict(chosen).items()]
    counted, seconds, peak = synthetic.run_measured("benchmarks.pipeline_scale", arguments, config.threads)
    rate = counted.pop("rate", images / seconds)
    counts = "".join(f", {count} {name}" for name, count in counted.items())
    how = "" if stage == "bare" else f" in {seconds:.1f} s with start-up"
    print(f"{images} images, {stage}: {rate:.1f} images/s{how}, peak {peak / 1e6:.0f} MB{counts}", flush=True)
    return {**counted, "seconds": seconds, "bytes": peak, "rate": rate}


def _text(value):
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _check_counts(results, images):
    corrupt = synthetic.num_corrupt(images)
    expected = {"ingest": (images - corrupt, corrupt), "encode": (images - corrupt, 0)}
    for stage, counts in expected.items():
        found = results[stage, images]["examples"], results[stage, images]["unreadable"]
        if found != counts:
            raise RuntimeError(f"{images} images, {stage}: counted {found} (good, unreadable), but made {counts}")
    print(f"{images} images: {images - corrupt} good + {corrupt} corrupt, the same in every stage", flush=True)


def main():
    """Runs the command."""
    flags.main(run, lambda argv: PipelineScaleConfig, "Runs n and 2n images through the Beam jobs of the pipeline.")


if __name__ == "__main__":
    main()
