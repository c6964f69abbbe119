"""Encodes images as token records: `python -m vim_tf.encode_dataset --tokenizer=D --data.source=S --output=T`."""

import itertools

from vim_tf import config as configs
from vim_tf.cli import flags


def run(config):
    """Encodes splits of an image source; the manifest, without which the records are ignored, is written last.

    Args:
        config: EncodeCommand.

    Returns:
        vim_tf.data.records.tokens.Manifest.

    Raises:
        InputError: unusable images or tokenizer.
    """
    import tensorflow as tf

    from vim_tf.data import sources
    from vim_tf.data.batches import eval_batches
    from vim_tf.data.records import tokens as token_records
    from vim_tf.data.records.encode import encoded_examples, tokenizer_facts, write_shard
    from vim_tf.data.views import make_views
    from vim_tf.stages import saved
    from vim_tf.storage.files import check_place, check_writable

    check_place(config.output, names=(token_records.MANIFEST_NAME,))
    tokenizer = saved.load_tokenizer(config.tokenizer)
    opened = {
        split: sources.build_source(config.data, split, tokenizer.height, tokenizer.width) for split in config.split
    }
    check_writable(config.output)
    # Only now, since unusable input must leave earlier tokens as they are.
    manifest_path = f"{config.output}/{token_records.MANIFEST_NAME}"
    if tf.io.gfile.exists(manifest_path):
        tf.io.gfile.remove(manifest_path)
    views = make_views(config.views, tokenizer.height, tokenizer.width, config.view_scale)
    num_views = views.num_views if views else 1
    splits = {}
    for split, source in opened.items():
        # The views of an image are encoded together.
        batches = eval_batches(source, max(1, config.batch_size // num_views), views)
        examples = encoded_examples(tokenizer, batches)
        count, shards = source.num_examples, []
        for index in range(config.num_shards):
            size = (index + 1) * count // config.num_shards - index * count // config.num_shards
            path = f"{config.output}/{split}/{token_records.shard_name(index, config.num_shards)}"
            shards.append(write_shard(itertools.islice(examples, size), path, tokenizer.codebook_size))
        splits[split] = {"num_examples": count, "shards": shards}
        each = f", {num_views} views of each," if num_views > 1 else ""
        print(f"{split}: {count} images{each} as tokens in {config.output}/{split}", flush=True)
    manifest = token_records.Manifest(
        **tokenizer_facts(tokenizer),
        views=num_views,
        num_classes=source.num_classes,
        class_names=source.class_names,
        source=source.name,
        splits=splits,
        label_values=source.label_values,
    )
    token_records.write_manifest(config.output, manifest)
    return manifest


def main():
    """Runs the command."""
    flags.main(run, lambda argv: configs.EncodeCommand, "Writes an image source as token records.")


if __name__ == "__main__":
    main()
