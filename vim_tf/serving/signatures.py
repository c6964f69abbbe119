"""What a served model offers: functions in TensorFlow ops over a tokenizer and a language model.

Every input and output has the batch axis first, as TF Serving's batcher and REST rows need.
"""

import tensorflow as tf

from vim_tf.data import preprocessing
from vim_tf.sampling.generate import generate_tokens
from vim_tf.serving.request_images import read_images

_SAMPLING_INPUTS = {
    "label": tf.int32,
    "seed": tf.int32,
    "temperature": tf.float32,
    "top_k": tf.int32,
    "top_p": tf.float32,
    "guidance_scale": tf.float32,
}


def build_signatures(tokenizer, language_model=None, sampling_batch_size=16, *, max_pixels):
    """The served functions by name, and the module that holds their weights.

    Args:
        tokenizer: ViTVQGAN.
        language_model: LanguageModel of this tokenizer's tokens; None = the tokenizer alone.
        sampling_batch_size: int, samples drawn at once.
        max_pixels: int, limit of an image file, as in `preprocessing.decode_image`; it can't be changed afterwards.

    Returns:
        tf.Module, callable as a TF Hub module: images float32 [batch, height, width, 3] in [0, 1] to the language
        model's features [batch, hidden_dim] or, without one, the quantized latents [batch, length, codebook_dim]; and a
        dict of concrete functions.
    """
    functions = _tokenizer_functions(tokenizer, max_pixels)
    models = [tokenizer]
    if language_model is None:
        represent = tokenizer.quantized_latents
        functions["serving_default"] = functions["encode"]
    else:
        models.append(language_model)
        functions |= _language_model_functions(tokenizer, language_model, sampling_batch_size, max_pixels)

        def represent(images):
            return language_model.features(tokenizer.encode(images))

    module = tf.Module(name="vim_tf")
    # Bare variables: the file then needs no Keras where it is loaded.
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
        _refuse_outside(tokens, 0, tokenizer.codebook_size, "token")
        return {"images": _decode(tokenizer, tokens)}

    def reconstruct(image_bytes):
        return {"images": _decode(tokenizer, _encode(tokenizer, image_bytes, max_pixels))}

    return {
        "encode": _function(encode, [bytes_spec]),
        "decode": _function(decode, [tokens_spec]),
        "reconstruct": _function(reconstruct, [bytes_spec]),
    }


def _language_model_functions(tokenizer, language_model, batch_size, max_pixels):
    sampling_specs = [tf.TensorSpec([None], dtype, name=name) for name, dtype in _SAMPLING_INPUTS.items()]
    bytes_spec = tf.TensorSpec([None], tf.string, name="image_bytes")
    rows_spec = tf.TensorSpec([None], tf.int32, name="keep_rows")

    def generated(label, seed, temperature, top_k, top_p, guidance_scale, *known):
        _refuse_outside(label, 0, max(language_model.num_classes, 1), "label")
        _refuse_outside(top_k, 0, tf.int32.max, "top_k")
        _refuse(temperature, temperature > 0, "temperature", "it must be above 0")
        _refuse(top_p, (top_p > 0) & (top_p <= 1), "top_p", "it must lie in (0, 1]")
        if language_model.can_be_guided:
            finite = tf.math.is_finite(guidance_scale)
            _refuse(
                guidance_scale, finite & (guidance_scale >= 0), "guidance_scale", "it must be at least 0 and finite"
            )
        else:
            _refuse(
                guidance_scale,
                guidance_scale == 1,
                "guidance_scale",
                "this model was trained without label dropout: use 1",
            )
        settings = (label, seed, temperature, top_k, top_p, guidance_scale)
        tokens = generate_tokens(language_model, batch_size, *settings, *known)
        return {"tokens": tokens, "images": _decode(tokenizer, tokens)}

    def generate(label, seed, temperature, top_k, top_p, guidance_scale):
        return generated(label, seed, temperature, top_k, top_p, guidance_scale)

    def complete(label, seed, temperature, top_k, top_p, guidance_scale, image_bytes, keep_rows):
        _refuse_outside(keep_rows, 0, tokenizer.grid_height + 1, "keep_rows")
        num_kept = keep_rows * tokenizer.grid_width * tokenizer.depth
        tokens = _encode(tokenizer, image_bytes, max_pixels)
        known = tf.range(tokens.shape[1]) < num_kept[:, None]
        return generated(label, seed, temperature, top_k, top_p, guidance_scale, tokens, known)

    def features(image_bytes):
        return {"features": language_model.features(_encode(tokenizer, image_bytes, max_pixels))}

    generate = _function(generate, sampling_specs)
    return {
        "generate": generate,
        "serving_default": generate,
        "complete": _function(complete, [*sampling_specs, bytes_spec, rows_spec]),
        "features": _function(features, [bytes_spec]),
    }


def _function(function, specs):
    return tf.function(function, input_signature=specs, autograph=False)


def _encode(tokenizer, image_bytes, max_pixels):
    return tokenizer.encode(read_images(image_bytes, tokenizer.height, tokenizer.width, max_pixels))


def _decode(tokenizer, tokens):
    return preprocessing.to_uint8(tokenizer.decode(tokens))


def _refuse_outside(values, low, high, name):
    _refuse(values, (values >= low) & (values < high), name, f"it must lie in [{low}, {high})")


def _refuse(values, good, name, reason):
    """InvalidArgumentError that names the first bad value, so that a wrong request never gets a picture."""
    bad = tf.boolean_mask(values, ~good)
    tf.debugging.Assert(tf.reduce_all(good), [f"{name} is out of range, {reason}; got", bad], summarize=1)
