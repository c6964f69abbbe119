"""Decodes the image files of a request in TensorFlow ops: several in parallel, and none of a bad request."""

import tensorflow as tf

from vim_tf.data.images.decode import try_to_decode_image
from vim_tf.data.images.fit import fit_image
from vim_tf.data.images.pixels import to_float

# Files decoded in parallel: each can take the memory of `max_pixels`.
_AT_ONCE = 4


def read_images(image_bytes, height, width, max_pixels):
    """Decodes and fits the files of a request.

    Args:
        image_bytes: string [batch], encoded files.
        height, width: int, pixels.
        max_pixels: int, limit of a file, as in `decode_image`.

    Returns:
        float32 [batch, height, width, 3] in [0, 1].

    Raises:
        InvalidArgumentError: the message has the first row that can't be read, and why.
    """

    def read(row, data):
        image, problem = try_to_decode_image(data, max_pixels)
        return row, fit_image(image, height, width), problem

    # An operation that fails ends everything without naming the row; only a dataset can skip a row.
    rows = tf.data.Dataset.from_tensor_slices(image_bytes).enumerate()
    images = rows.map(read, num_parallel_calls=_AT_ONCE, deterministic=True).ignore_errors()
    # A dataset without elements couldn't be read as one batch.
    first = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), tf.zeros([height, width, 3], tf.uint8), ""))
    count = tf.size(image_bytes, tf.int64)
    batch = first.concatenate(images).batch(count + 1).with_options(_as_it_is())
    numbers, images, problems = (each[1:] for each in batch.get_single_element())
    # Skipped rows have no text; the others' is "" if nothing is wrong.
    texts = tf.tensor_scatter_nd_update(tf.fill([count], "it is damaged or cut short"), numbers[:, None], problems)
    with tf.control_dependencies([_refuse_unless(texts == "", texts)]):
        return to_float(tf.ensure_shape(images, [None, height, width, 3]))


def _refuse_unless(is_good, problems):
    """Operation that fails with the number and problem (string [batch]) of the first bad row."""
    bad = tf.where(~is_good)[:, 0]
    lines = tf.strings.join(["row ", tf.strings.as_string(bad), " of image_bytes: ", tf.gather(problems, bad)])
    return tf.debugging.Assert(tf.reduce_all(is_good), [lines], summarize=1)


def _as_it_is():
    """Options of a dataset that runs once: optimizing its graph would take longer than running it."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return options
