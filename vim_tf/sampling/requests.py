"""Requests to a sampler, checked once on the host before anything is drawn."""

import collections

import numpy as np
import tensorflow as tf

from vim_tf import ranges
from vim_tf.errors import InputError

# The inputs that a request has for each sample: names and dtypes, in the order of the served signatures' inputs.
INPUTS = {"label": "int32", "seed": "int32"} | {name: setting.dtype for name, setting in ranges.SAMPLING.items()}
_DEFAULTS = [setting.default for setting in ranges.SAMPLING.values()]


class Request(collections.namedtuple("Request", [*INPUTS, "known_tokens", "known"], defaults=[*_DEFAULTS, None, None])):
    """A request to a sampler for n samples.

    A caller can give one number of a setting for all of them; `checked_request` makes everything an array.

    Attributes:
        label: int32 [n] in [0, num_classes], the null label included.
        seed: int32 [n].
        temperature, top_k, top_p, guidance_scale: [n], one for each row of `vim_tf.ranges.SAMPLING`, which has dtype,
            default, range and meaning.
        known_tokens: int32 [n, num_tokens], tokens to keep where `known` is True; None keeps no tokens.
        known: bool [n, num_tokens], which of them to keep. A drawn token depends only on those before it.
    """

    __slots__ = ()


def input_specs():
    """A tf.TensorSpec [n] for each of `INPUTS`, by name."""
    return {name: tf.TensorSpec([None], dtype, name) for name, dtype in INPUTS.items()}


def request_specs(num_tokens):
    """A Request of tf.TensorSpecs, for images of `num_tokens` tokens."""
    shape = [None, num_tokens]
    known_tokens, known = tf.TensorSpec(shape, tf.int32, "known_tokens"), tf.TensorSpec(shape, tf.bool, "known")
    return Request(**input_specs(), known_tokens=known_tokens, known=known)


def checked(name, values, allowed, dtype=np.int32):
    """Values as an array of a dtype, none changed by the conversion.

    Args:
        name: str, for messages.
        values: number, or array of numbers of any shape.
        allowed: ranges.Range.
        dtype: dtype of the result.

    Raises:
        InputError: a value is out of range, or isn't a whole number although the dtype is an integer type.
    """
    is_whole = np.issubdtype(dtype, np.integer)
    values = np.asarray(values) if hasattr(values, "dtype") else _array_of(values)
    # Numbers of more than 64 bits are Python objects; an empty list is float64.
    is_usable = values.dtype.kind in ("iu" if is_whole else "iuf") or all(isinstance(each, int) for each in values.flat)
    if not is_usable:
        kind = "whole numbers" if is_whole else "numbers"
        raise InputError(f"{name} must be {kind}; got {values.flat[0]!r}")
    # Before conversion, as int32 would wrap around; float32 makes values that are too large infinite, so out of range.
    with np.errstate(over="ignore"):
        compared = np.atleast_1d(values if is_whole else values.astype(dtype))
    wrong = np.flatnonzero(~np.asarray(allowed.holds(compared), bool))
    if wrong.size:
        raise allowed.refusal(name, values.flat[wrong[0]])
    return values.astype(dtype)


def _array_of(values):
    """Python numbers as an array; NumPy would make large whole ones float64."""
    array = np.asarray(values)
    exact = np.asarray(values, object)
    return exact if array.dtype.kind == "f" and all(isinstance(value, int) for value in exact.flat) else array


def checked_labels(language_model, labels):
    """Labels as an int32 array.

    Raises:
        InputError: the language model doesn't know one.
    """
    allowed = ranges.of_model(language_model.num_classes, language_model.can_be_guided)
    return checked("label", labels, allowed["label"])


def checked_request(language_model, request):
    """A request as `generate_tokens` takes it.

    Args:
        language_model: LanguageModel.
        request: Request of numbers, lists or arrays, as in `Sampler.sample`.

    Returns:
        Request of arrays of the dtypes and shapes that its attributes have.

    Raises:
        InputError: a value is out of range, or there are more or fewer of them than labels.
    """
    allowed = ranges.of_model(language_model.num_classes, language_model.can_be_guided)
    arrays = {name: checked(name, getattr(request, name), allowed[name], dtype) for name, dtype in INPUTS.items()}
    n = len(arrays["label"])
    for name, values in arrays.items():
        if values.shape != (n,) and (values.shape or name == "seed"):
            raise InputError(f"{name} has shape {list(values.shape)}, but there are {n} labels: give one for each")
    rows = {name: np.broadcast_to(values, [n]) for name, values in arrays.items()}
    known_tokens, known = _checked_known(language_model, n, request.known_tokens, request.known)
    return Request(**rows, known_tokens=known_tokens, known=known)


def _checked_known(language_model, n, known_tokens, known):
    """known_tokens int32 and known bool [n, num_tokens]; nothing is known if both are None."""
    shape = (n, language_model.num_tokens)
    if (known_tokens is None) != (known is None):
        raise InputError("known_tokens and known go together: the tokens, and which of them are kept")
    if known is None:
        return np.zeros(shape, np.int32), np.zeros(shape, bool)
    known_tokens, known = np.asarray(known_tokens), np.asarray(known, bool)
    for name, values in (("known_tokens", known_tokens), ("known", known)):
        if values.shape != shape:
            raise InputError(f"{name} has shape {list(values.shape)}; {n} labels need {list(shape)}")
    # Tokens that aren't kept are ignored.
    kept = checked("known_tokens", np.where(known, known_tokens, 0), ranges.below(language_model.codebook_size))
    return kept, known


def label_name(label, class_names):
    """A label for messages: its number, and its class name if that is known and isn't the number."""
    name = class_names[label] if class_names else str(label)
    return f"label {label}" if name == str(label) else f"label {label}, {name}"
