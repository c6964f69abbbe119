"""Batches for training and evaluation; their order and content are functions of (seed, step)."""

import tensorflow as tf

from vim_tf.data import order
from vim_tf.data.images.pixels import to_float


def train_batches(source, batch_size, seed, start_step=0, augment=None, rows=None):
    """Endless batches of shuffled images.

    Args:
        source: ImageSource.
        batch_size: int.
        seed: int, the only thing on which the order and what is random about the images depend.
        start_step: int, number of batches to skip at the beginning.
        augment: what varies the images, as `augmentation.make_augment` returns it; None = nothing.
        rows: (first row, number of rows) to return of each batch, for one of several workers; None = all.

    Returns:
        tf.data.Dataset of {"image": float32 [rows, height, width, 3] in [0, 1], "label": int64 [rows]}.
    """
    batches = source.shuffled_batches(batch_size, seed, start_step * batch_size, augment, rows)
    return batches.map(lambda batch: {"image": to_float(batch["image"]), "label": batch["label"]}).prefetch(
        tf.data.AUTOTUNE
    )


def eval_batches(source, batch_size, views=None):
    """One pass over a source in its fixed order.

    Args:
        source: ImageSource.
        batch_size: int, examples; the last batch holds the rest.
        views: what makes several views of an image, as `views.make_views` returns it; None = the image itself.

    Returns:
        tf.data.Dataset of {"image": uint8 [batch, height, width, 3], "label": int64 [batch], "key": string [batch]};
        with `views`, images are uint8 [batch, views, height, width, 3].
    """
    return source.ordered_batches(batch_size, views).prefetch(tf.data.AUTOTUNE)


def token_batches(tokens, labels, batch_size, seed, start_step=0, rows=None):
    """Endless batches of shuffled token sequences.

    The views of an example take turns from epoch to epoch, beginning with a random one.

    Args:
        tokens: int32 [examples, views, tokens].
        labels: int32 [examples].
        batch_size: int.
        seed: int, the only thing on which the order depends.
        start_step: int, number of batches to skip at the beginning.
        rows: (first row, number of rows) to return of each batch, for one of several workers; None = all.

    Returns:
        tf.data.Dataset of {"tokens": int32 [rows, tokens], "label": int32 [rows]}.
    """
    with tf.device("CPU:0"):
        tokens = tf.constant(tokens, tf.int32)
        labels = tf.constant(labels, tf.int32)
        num_examples, num_views, _ = tokens.shape
        # Epoch -1 keeps this draw apart from the order of every epoch.
        first_views = order.random_integers(num_examples, seed, -1, num_views)

    def gather(epochs, indices):
        views = (tf.gather(first_views, indices) + epochs) % num_views
        return {"tokens": tf.gather_nd(tokens, tf.stack([indices, views], axis=1)), "label": tf.gather(labels, indices)}

    share = None if rows is None else (batch_size, *rows)
    positions = order.select_rows(order.endless_order(num_examples, seed, start_step * batch_size), share)
    batches = positions.batch(rows[1] if rows else batch_size, drop_remainder=True)
    return batches.map(gather).prefetch(tf.data.AUTOTUNE)
