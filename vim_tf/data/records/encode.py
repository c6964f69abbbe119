"""Encodes images as token records with a tokenizer."""

import functools

import tensorflow as tf

from vim_tf.data.images.pixels import to_float
from vim_tf.data.records import tokens as token_records
from vim_tf.devices import strategies


def encode_shard(tokenizer, batches, path):
    """Encodes one file's worth of images.

    Args:
        tokenizer: ViTVQGAN.
        batches: iterable of {"image": uint8 [batch, height, width, 3] or [batch, views, height, width, 3], "label":
            int64 [batch], "key": string [batch]}.
        path: str, file of token records to write, whole or not at all.

    Returns:
        dict of the shard's file, num_examples and sha256, for the manifest.
    """
    return write_shard(encoded_examples(tokenizer, batches), path, tokenizer.codebook_size)


def encoded_examples(tokenizer, batches):
    """Yields (tokens int32 [views, num_tokens], label int, key bytes) of each image; arguments as in `encode_shard`.

    The replicas of the current strategy share each batch.
    """
    encode = strategies.replicated(tf.distribute.get_strategy(), compiled_encode(tokenizer))
    for batch in batches:
        labels, keys = batch["label"].numpy(), batch["key"].numpy()
        images = tf.reshape(batch["image"], [-1, *batch["image"].shape[-3:]])
        tokens = encode(images).numpy().reshape(len(labels), len(images) // len(labels), -1)
        yield from zip(tokens, map(int, labels), keys, strict=True)


@functools.lru_cache(maxsize=1)
def compiled_encode(tokenizer):
    """uint8 images to tokens as one graph, traced once for all shards of a tokenizer and all sizes of a batch."""
    signature = [tf.TensorSpec([None, tokenizer.height, tokenizer.width, 3], tf.uint8)]
    return tf.function(lambda images: tokenizer.encode(to_float(images)), input_signature=signature)


def write_shard(examples, path, codebook_size):
    """Writes examples from `encoded_examples` to one file; returns its entry for the manifest."""
    with token_records.ShardWriter(path, codebook_size) as writer:
        for tokens, label, key in examples:
            writer.write(tokens, label, key)
    return writer.entry()


def tokenizer_facts(tokenizer):
    """The manifest's facts about the tokenizer."""
    names = ("codebook_size", "grid_height", "grid_width", "depth")
    return {"tokenizer_checksum": tokenizer.checksum, **{name: getattr(tokenizer, name) for name in names}}
