"""The signatures of a served model: functions in TensorFlow ops over a tokenizer and a language model.

Every input and output has the batch axis first, as TF Serving's batcher and REST rows need. A request is checked in the
graph before anything is computed from it, so that a wrong one never gets an image: see `guarded`.
"""

import inspect

import tensorflow as tf

from vim_tf import ranges
from vim_tf.data.images.pixels import to_uint8
from vim_tf.sampling.generate import generate_tokens
from vim_tf.sampling.requests import INPUTS, Request, input_specs
from vim_tf.serving.request_images import read_images


def build_signatures(tokenizer, language_model=None, sampling_batch_size=16, *, max_pixels):
    """The served functions by name, and the module that holds their weights.

    Args:
        tokenizer: ViTVQGAN.
        language_model: LanguageModel of this tokenizer's tokens; None = only the tokenizer.
        sampling_batch_size: int, samples drawn at once.
        max_pixels: int, limit of an image file, as in `decode_image`; it can't be changed afterwards.

    Returns:
        tf.Module, callable as a TF Hub module: images float32 [batch, height, width, 3] in [0, 1] to the language
        model's features [batch, hidden_dim] or, without one, the quantized latents [batch, length, codebook_dim]; and a
        dict of concrete functions.
    """
    functions = _tokenizer_functions(tokenizer, max_pixels)
    models = [tokenizer]
    if language_model is None:

        def represent(images):
            return tokenizer.quantized_latents(*guarded({"images": images}))

        functions["serving_default"] = functions["encode"]
    else:
        models.append(language_model)
        functions |= _language_model_functions(tokenizer, language_model, sampling_batch_size, max_pixels)

        def represent(images):
            return language_model.features(tokenizer.encode(*guarded({"images": images})))

    module = tf.Module(name="vim_tf")
    # Plain variables, so that loading the file doesn't need Keras.
    module.weights = [weight.value for model in models for weight in model.weights]
    image_spec = tf.TensorSpec([None, tokenizer.height, tokenizer.width, 3], tf.float32, name="images")
    setattr(module, "__call__", tf.function(represent, input_signature=[image_spec], autograph=False))  # noqa: B010
    for name, function in functions.items():
        if name != "serving_default":
            setattr(module, name, function)
    return module, functions


def _tokenizer_functions(tokenizer, max_pixels):
    bytes_spec = tf.TensorSpec([None], tf.string, name="image_bytes")
    tokens_spec = tf.TensorSpec(
        [None, tokenizer.grid_height * tokenizer.grid_width * tokenizer.depth], tf.int32, "tokens"
    )

    def encode(image_bytes):
        return {"tokens": _encode(tokenizer, image_bytes, max_pixels)}

    def decode(tokens):
        tokens = guarded({"tokens": tokens}, {"tokens": ranges.below(tokenizer.codebook_size)})
        return {"images": _decode(tokenizer, *tokens)}

    def reconstruct(image_bytes):
        return {"images": _decode(tokenizer, _encode(tokenizer, image_bytes, max_pixels))}

    return {
        "encode": _function(encode, [bytes_spec]),
        "decode": _function(decode, [tokens_spec]),
        "reconstruct": _function(reconstruct, [bytes_spec]),
    }


def _language_model_functions(tokenizer, language_model, batch_size, max_pixels):
    request_specs = list(input_specs().values())
    bytes_spec = tf.TensorSpec([None], tf.string, name="image_bytes")
    rows_spec = tf.TensorSpec([None], tf.int32, name="keep_rows")

    allowed = ranges.of_model(language_model.num_classes, language_model.can_be_guided)
    allowed["keep_rows"] = ranges.Range(0, tokenizer.grid_height)

    def generated(request):
        tokens = generate_tokens(language_model, batch_size, request)
        return {"tokens": tokens, "images": _decode(tokenizer, tokens)}

    def generate(*inputs):
        return generated(Request(*guarded(dict(zip(INPUTS, inputs, strict=True)), allowed)))

    def complete(*inputs):
        names = (*INPUTS, "image_bytes", "keep_rows")
        *inputs, image_bytes, keep_rows = guarded(dict(zip(names, inputs, strict=True)), allowed)
        num_kept = keep_rows * tokenizer.grid_width * tokenizer.depth
        tokens = _encode(tokenizer, image_bytes, max_pixels)
        known = tf.range(tokens.shape[1]) < num_kept[:, None]
        return generated(Request(*inputs, known_tokens=tokens, known=known))

    def features(image_bytes):
        return {"features": language_model.features(_encode(tokenizer, image_bytes, max_pixels))}

    generate = _function(generate, request_specs)
    return {
        "generate": generate,
        "serving_default": generate,
        "complete": _function(complete, [*request_specs, bytes_spec, rows_spec]),
        "features": _function(features, [bytes_spec]),
    }


def _function(function, specs):
    # Argument names are part of the exported model, even where a function takes *inputs.
    arguments = [inspect.Parameter(spec.name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for spec in specs]
    function.__signature__ = inspect.Signature(arguments)
    return tf.function(function, input_signature=specs, autograph=False)


def _encode(tokenizer, image_bytes, max_pixels):
    return tokenizer.encode(read_images(image_bytes, tokenizer.height, tokenizer.width, max_pixels))


def _decode(tokenizer, tokens):
    return to_uint8(tokenizer.decode(tokens))


def guarded(inputs, allowed=None):
    """The inputs, available only if all of them are valid: nothing is computed from a wrong request.

    Anything computed from the results fails with an InvalidArgumentError that names the input and the problem: a number
    of rows different from the first input's, sides different from the signature's, which not all servers check, or a
    value out of range.

    Args:
        inputs: dict from name to tensor with the batch axis first.
        allowed: dict from name to ranges.Range of an input's values; can have more names than the inputs.

    Returns:
        list of tensors, in the order of the inputs.
    """
    (first, reference), *others = inputs.items()
    checks = [_check_sides(name, values) for name, values in inputs.items() if values.shape.rank > 1]
    for name, values in others:
        rows, wanted = tf.shape(values)[0], tf.shape(reference)[0]
        message = [f"all inputs must have one batch size: {name} has", rows, f"rows and {first} has", wanted]
        checks.append(tf.debugging.Assert(rows == wanted, message))
    for name, values in inputs.items():
        if allowed and name in allowed:
            good = allowed[name].holds(values)
            message = [f"{name} is out of range: {allowed[name]}; got", tf.boolean_mask(values, ~good)]
            checks.append(tf.debugging.Assert(tf.reduce_all(good), message, summarize=1))
    with tf.control_dependencies(checks):
        return [tf.identity(values) for values in inputs.values()]


def _check_sides(name, values):
    wanted = values.shape.as_list()[1:]
    # The raw operation: tf.shape would return the signature's shape.
    sides = tf.raw_ops.Shape(input=values)[1:]
    return tf.debugging.Assert(
        tf.reduce_all(sides == wanted),
        [f"{name} must be [batch, {', '.join(map(str, wanted))}] and not [batch,", sides],
    )
