"""The token loop: one graph with a key/value cache."""

import math

import tensorflow as tf

from vim_tf.models import devices
from vim_tf.models.layers import call_layer
from vim_tf.sampling.logits import draw, guidance_at, guide, keep_likeliest
from vim_tf.sampling.requests import Request, checked_request, request_specs

# Most lengths that the cache can have, and the shortest one: each length is another loop to compile.
_MAX_CACHE_LENGTHS, _SHORTEST_CACHE = 5, 128
# Most rows (samples, doubled with guidance) for which packed kernels are faster: with more, arithmetic dominates.
_MAX_PACKED_ROWS = 16


def generate_tokens(language_model, batch_size, request, *, guidance_schedule="constant", jit_compile=False):
    """Draws the tokens of a request for any number of samples, in a graph.

    Requests are padded to multiples of `batch_size` and drawn one batch after another: memory doesn't grow with the
    request, and a sample depends only on its own part of the request. (Float products differ in their last bits between
    batch shapes, between XLA and plain kernels, and between devices; this holds for a fixed choice of these.)

    Args:
        language_model: LanguageModel.
        batch_size: int, samples drawn at once.
        request: Request of tensors, whose ranges callers have checked. The guidance scale is ignored if the model
            can't be guided.
        guidance_schedule: how the scale grows from token to token, as in `guidance_at`.
        jit_compile: whether XLA compiles the loop.

    Returns:
        int32 [n, num_tokens] in [0, codebook_size).
    """
    n, num_tokens = tf.shape(request.label)[0], language_model.num_tokens
    if request.known is None:
        nothing = tf.zeros([n, num_tokens], tf.int32), tf.zeros([n, num_tokens], tf.bool)
        request = request._replace(known_tokens=nothing[0], known=nothing[1])

    generate = tf.function(
        lambda batch, uniform: _generate_batch(language_model, guidance_schedule, jit_compile, batch, uniform),
        jit_compile=jit_compile,
        autograph=False,
    )
    tokens = tf.map_fn(
        lambda batch: generate(batch, _uniform(batch.seed, num_tokens)),
        _split(request, n, batch_size),
        fn_output_signature=tf.TensorSpec([batch_size, num_tokens], tf.int32),
        parallel_iterations=1,
    )
    return tf.reshape(tokens, [-1, num_tokens])[:n]


def _split(request, n, batch_size):
    """A request of n samples, split into batches: Request of tensors [batches, batch_size, ...]."""
    batches = -(-n // batch_size)
    # Padded with copies of the first sample: any valid sample would do.
    index = tf.range(batches * batch_size)
    index = tf.where(index < n, index, 0)
    return Request(*(tf.reshape(tf.gather(each, index), [batches, batch_size, *each.shape[1:]]) for each in request))


def _uniform(seeds, num_tokens):
    """One number for each sample and position, a function of only these: float32 [batch, num_tokens] in [0, 1)."""
    return tf.map_fn(
        # The algorithm is fixed, since TensorFlow's default differs between devices.
        lambda seed: tf.random.stateless_uniform([num_tokens], tf.stack([seed, 0]), alg="philox"),
        seeds,
        fn_output_signature=tf.TensorSpec([num_tokens], tf.float32),
    )


def _generate_batch(language_model, guidance_schedule, jit_compile, request, uniform):
    """Tokens of one batch of a request, each drawn with one number in [0, 1): int32 [batch, num_tokens]."""
    labels = request.label
    filtering = tf.reduce_any(request.top_k > 0) | tf.reduce_any(request.top_p < 1)
    last = max(language_model.num_tokens - 1, 1)

    def choose(logits, position):
        logits = logits / request.temperature[:, None]
        logits = tf.cond(filtering, lambda: keep_likeliest(logits, request.top_k, request.top_p), lambda: logits)
        tokens = draw(logits, uniform[:, position])
        return tf.where(request.known[:, position], request.known_tokens[:, position], tokens)

    def plain():
        return _loop(language_model, labels, choose, jit_compile)

    def guided():
        # Both halves draw the same tokens; the second one doesn't see the label.
        def choose_for_both(logits, position):
            scale = guidance_at(request.guidance_scale, guidance_schedule, tf.cast(position, tf.float32) / last)
            tokens = choose(guide(*tf.split(logits, 2), scale), position)
            return tf.concat([tokens, tokens], axis=0)

        both = tf.concat([labels, tf.fill(tf.shape(labels), language_model.null_label)], axis=0)
        return _loop(language_model, both, choose_for_both, jit_compile)[: labels.shape[0]]

    if not language_model.can_be_guided:
        return plain()
    return tf.cond(tf.reduce_any(request.guidance_scale != 1), guided, plain)


def cache_lengths(num_tokens):
    """Lengths that the cache grows through: attention at a position is over the current length.

    Args:
        num_tokens: int, of an image.

    Returns:
        list of int, ascending; the last one is num_tokens.
    """
    step = max(math.ceil(num_tokens / _MAX_CACHE_LENGTHS), _SHORTEST_CACHE)
    return [min(start + step, num_tokens) for start in range(0, num_tokens, step)]


def _projection(language_model, batch_size, jit_compile):
    """The function of layer and inputs that computes the Dense layers of a step."""
    # Without XLA, TensorFlow's products are slower with packed kernels.
    packs = devices.on_cpu() and jit_compile and batch_size <= _MAX_PACKED_ROWS
    return language_model.packed_kernels() if packs else call_layer


def _loop(language_model, labels, choose, jit_compile):
    """Draws one position after another: int32 [batch, num_tokens]."""
    batch_size, num_tokens = labels.shape[0], language_model.num_tokens
    project = _projection(language_model, batch_size, jit_compile)

    def body(position, previous, cache, drawn):
        logits, cache = language_model.step(previous, labels, cache, position, project)
        tokens = choose(logits, position)
        return position + 1, tokens, cache, drawn.write(position, tokens)

    lengths = cache_lengths(num_tokens)
    position, tokens = tf.constant(0), tf.zeros([batch_size], tf.int32)
    cache = language_model.empty_cache(batch_size, lengths[0])
    drawn = tf.TensorArray(tf.int32, size=num_tokens, element_shape=[batch_size])
    for start, end in zip([0, *lengths], lengths, strict=False):
        cache = tf.nest.map_structure(lambda each, end=end: _lengthened(each, end), cache)
        position, tokens, cache, drawn = tf.while_loop(
            lambda position, *_, end=end: position < end,
            body,
            (position, tokens, cache, drawn),
            maximum_iterations=end - start,
        )
    return tf.transpose(drawn.stack())


def _lengthened(cached, length):
    """Keys or values [batch, heads, positions, head_dim] with room for `length` positions."""
    return tf.pad(cached, [[0, 0], [0, 0], [0, length - cached.shape[2]], [0, 0]])


class Sampler:
    """Draws tokens from a trained language model.

    Args:
        language_model: LanguageModel.
        batch_size: samples drawn at once; the same label and seed give the same tokens for one value of it.
        guidance_schedule: constant, linear or cosine, as in `guidance_at`.
        jit_compile: whether XLA compiles the loop, which then takes seconds before the first sample.
    """

    def __init__(self, language_model, batch_size, guidance_schedule="constant", jit_compile=False):
        self.language_model = language_model
        self.batch_size = batch_size
        # Part of the conditions recorded with a metric.
        self.description = {"guidance_schedule": guidance_schedule, "jit_compile": jit_compile}
        self._generate = tf.function(
            lambda request: generate_tokens(
                language_model,
                batch_size,
                request,
                guidance_schedule=guidance_schedule,
                jit_compile=jit_compile,
            ),
            input_signature=[request_specs(language_model.num_tokens)],
            autograph=False,
        )

    def sample(self, labels, seeds, **settings):
        """Tokens for labels.

        Args:
            labels: int [n] in [0, num_classes); for an unconditional model 0.
            seeds: int [n] of 32 bits.
            **settings: the other attributes of `Request`: temperature, top_k, top_p and guidance_scale, numbers for all
                samples or arrays [n] in the ranges of `vim_tf.ranges.SAMPLING`, and together known_tokens int [n,
                num_tokens], of which those that are kept are in [0, codebook_size), and known bool [n, num_tokens].

        Returns:
            int32 numpy array [n, num_tokens].

        Raises:
            InputError: a value is out of range, or there are more or fewer of them than labels; one line with its name.
        """
        return self._generate(checked_request(self.language_model, Request(labels, seeds, **settings))).numpy()

    def check(self, labels, seeds, **settings):
        """Refuses what `sample` would refuse, without drawing; arguments and errors are those of `sample`."""
        checked_request(self.language_model, Request(labels, seeds, **settings))
