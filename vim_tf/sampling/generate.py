"""The token loop: one compiled graph with a key/value cache."""

import numpy as np
import tensorflow as tf

from vim_tf.errors import InputError
from vim_tf.sampling.logits import draw, guide, keep_likeliest


def generate_tokens(
    language_model,
    batch_size,
    labels,
    seeds,
    temperature,
    top_k,
    top_p,
    guidance_scale,
    prefix=None,
    prefix_length=None,
):
    """Tokens for any number of labels, in a graph.

    Requests are padded to multiples of `batch_size` and drawn one such batch after the other: memory doesn't grow with
    the request, and label and seed alone decide a sample, whatever else is asked for. (Float products differ in their
    last bits between batch shapes, between XLA and plain kernels and between devices; the promise is for one of each.)

    Args:
        language_model: LanguageModel.
        batch_size: int, samples drawn at once.
        labels: int32 [n] in [0, num_classes], the null label included.
        seeds: int32 [n].
        temperature: float32 [n], above 0; divides the logits.
        top_k: int32 [n]; 0 = off.
        top_p: float32 [n] in (0, 1]; 1 = off.
        guidance_scale: float32 [n]; 1 = off. Not looked at where the model can't be guided.
        prefix: int32 [n, num_tokens], tokens to keep at the beginning; None = none.
        prefix_length: int32 [n], how many of them.

    Returns:
        int32 [n, num_tokens] in [0, codebook_size).
    """
    n = tf.shape(labels)[0]
    if prefix is None:
        prefix = tf.zeros([n, language_model.num_tokens], tf.int32)
        prefix_length = tf.zeros([n], tf.int32)
    arguments = (labels, seeds, temperature, top_k, top_p, guidance_scale, prefix, prefix_length)
    batches = -(-n // batch_size)

    def split(values):
        # Padded with copies of the first sample: any valid one would do.
        index = tf.range(batches * batch_size)
        padded = tf.gather(values, tf.where(index < n, index, 0))
        return tf.reshape(padded, [batches, batch_size, *values.shape[1:]])

    tokens = tf.map_fn(
        lambda batch: _generate_batch(language_model, *batch),
        tuple(split(values) for values in arguments),
        fn_output_signature=tf.TensorSpec([batch_size, language_model.num_tokens], tf.int32),
        parallel_iterations=1,
    )
    return tf.reshape(tokens, [-1, language_model.num_tokens])[:n]


def _generate_batch(language_model, labels, seeds, temperature, top_k, top_p, guidance_scale, prefix, prefix_length):
    # One number for each sample and position, up front: a function of (seed, position) alone.
    uniform = tf.map_fn(
        lambda seed: tf.random.stateless_uniform([language_model.num_tokens], tf.stack([seed, 0])),
        seeds,
        fn_output_signature=tf.TensorSpec([language_model.num_tokens], tf.float32),
    )
    filtering = tf.reduce_any(top_k > 0) | tf.reduce_any(top_p < 1)

    def choose(logits, position):
        logits = logits / temperature[:, None]
        logits = tf.cond(filtering, lambda: keep_likeliest(logits, top_k, top_p), lambda: logits)
        tokens = draw(logits, uniform[:, position])
        return tf.where(position < prefix_length, prefix[:, position], tokens)

    def plain():
        return _loop(language_model, labels, choose)

    def guided():
        # Both halves draw the same tokens; the second one doesn't know the label.
        def choose_for_both(logits, position):
            tokens = choose(guide(*tf.split(logits, 2), guidance_scale), position)
            return tf.concat([tokens, tokens], axis=0)

        both = tf.concat([labels, tf.fill(tf.shape(labels), language_model.null_label)], axis=0)
        return _loop(language_model, both, choose_for_both)[: labels.shape[0]]

    if not language_model.can_be_guided:
        return plain()
    return tf.cond(tf.reduce_any(guidance_scale != 1), guided, plain)


def _loop(language_model, labels, choose):
    """Draws position after position: int32 [batch, num_tokens]."""
    batch_size, length = labels.shape[0], language_model.num_tokens

    def body(position, previous, cache, drawn):
        logits, cache = language_model.step(previous, labels, cache, position)
        tokens = choose(logits, position)
        return position + 1, tokens, cache, drawn.write(position, tokens)

    start = (
        tf.constant(0),
        tf.zeros([batch_size], tf.int32),
        language_model.empty_cache(batch_size),
        tf.TensorArray(tf.int32, size=length, element_shape=[batch_size]),
    )
    *_, drawn = tf.while_loop(lambda position, *_: position < length, body, start, maximum_iterations=length)
    return tf.transpose(drawn.stack())


class Sampler:
    """Draws tokens from a trained language model.

    Args:
        language_model: LanguageModel.
        batch_size: samples drawn at once; the same label and seed give the same tokens for one value of it.
    """

    def __init__(self, language_model, batch_size):
        self.language_model = language_model
        self.batch_size = batch_size
        spec = tf.TensorSpec
        self._generate = tf.function(
            lambda *settings: generate_tokens(language_model, batch_size, *settings),
            input_signature=[
                spec([None], dtype) for dtype in (tf.int32, tf.int32, tf.float32, tf.int32, tf.float32, tf.float32)
            ],
            autograph=False,
        )

    def sample(self, labels, seeds, temperature=1.0, top_k=0, top_p=1.0, guidance_scale=1.0):
        """Tokens for labels.

        Args:
            labels: int [n] in [0, num_classes); for an unconditional model 0.
            seeds: int [n].
            temperature, top_k, top_p, guidance_scale: numbers for all samples, as in `generate_tokens`.

        Returns:
            int32 numpy array [n, num_tokens].

        Raises:
            InputError: a label is out of range, or guidance is asked of a model that was trained without label dropout.
        """
        labels = np.asarray(labels, np.int32)
        known = max(self.language_model.num_classes, 1)
        wrong = labels[(labels < 0) | (labels >= known)]
        if wrong.size:
            raise InputError(f"label {wrong[0]} is out of range: this language model knows 0 to {known - 1}")
        if guidance_scale != 1 and not self.language_model.can_be_guided:
            raise InputError(
                f"guidance_scale {guidance_scale} needs a class-conditional language model trained with "
                "model.label_dropout above 0; use 1"
            )

        def each(value, dtype):
            return np.full(labels.shape, value, dtype)

        return self._generate(
            labels,
            np.asarray(seeds, np.int32),
            each(temperature, np.float32),
            each(top_k, np.int32),
            each(top_p, np.float32),
            each(guidance_scale, np.float32),
        ).numpy()
