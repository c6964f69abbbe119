"""Encodes images on any Beam runner: `python -m vim_tf.materialize --tokenizer=D --data.source=S --output=T`.

Does what `vim_tf.encode_dataset` does in one process, with the shards divided among workers. An image that can't be
encoded is recorded in `<split>/dead_letters-*.jsonl` by its key.
"""

from vim_tf import config as configs
from vim_tf.cli import flags
from vim_tf.errors import InputError


def run(config):
    """Encodes splits of an image source; the manifest, without which the records are ignored, is written last.

    Args:
        config: MaterializeCommand.

    Returns:
        vim_tf.data.records.tokens.Manifest.

    Raises:
        InputError: unusable images, tokenizer or Beam flags.
    """
    try:
        import apache_beam  # noqa: F401
    except ImportError as error:
        raise InputError(
            "vim_tf.materialize needs Apache Beam, which isn't installed: pip install vim_tf[beam]"
        ) from error

    from vim_tf.beam import jobs, tokens
    from vim_tf.data.records import tokens as token_records
    from vim_tf.data.sources import plan_shards
    from vim_tf.stages import saved
    from vim_tf.storage.files import check_place, check_writable

    check_place(config.output, names=(token_records.MANIFEST_NAME,))
    # Loaded here too, so that a problem with it is reported at once, and not by every worker.
    tokenizer = saved.load_tokenizer(config.tokenizer)
    plan = plan_shards(config.data, config.split, tokenizer.height, tokenizer.width, config.num_shards)
    options = jobs.parse_options(config.beam_args, len(plan.shards))
    folders = {split: f"{config.output}/{split}" for split in config.split}
    settings = tokens.EncodeSettings(config.views, config.view_scale, config.batch_size, config.data.max_pixels)
    pipeline = jobs.make_pipeline(options)
    check_writable(config.output)
    limit = config.data.max_unreadable_fraction
    tokens.encode(pipeline, plan, config.tokenizer, config.output, folders, settings, limit)
    jobs.run(pipeline)
    jobs.check_finished(config.output, folders.values())
    manifest = token_records.read_manifest(config.output)
    for split, facts in manifest.splits.items():
        dead = sum(shard.get("num_dead_letters", 0) for shard in facts["shards"])
        left_out = f", {dead} left out" if dead else ""
        print(f"{split}: {facts['num_examples']} images as tokens in {folders[split]}{left_out}", flush=True)
    return manifest


def main():
    """Runs the command."""
    flags.main(
        run, lambda argv: configs.MaterializeCommand, "Writes an image source as token records, on any Beam runner."
    )


if __name__ == "__main__":
    main()
