"""What callers ask of a sampler, checked once on the host before anything is drawn."""

import numpy as np

from vim_tf import ranges
from vim_tf.errors import InputError

_DTYPES = {
    "label": np.int32,
    "seed": np.int32,
    "temperature": np.float32,
    "top_k": np.int32,
    "top_p": np.float32,
    "guidance_scale": np.float32,
}


def checked(name, values, allowed, dtype=np.int32):
    """Values as an array of a dtype, none of which was changed on the way.

    Args:
        name: str, for messages.
        values: number, or array of numbers of any shape.
        allowed: ranges.Range.
        dtype: of the result.

    Raises:
        InputError: a value is out of range, or no whole number where the dtype is of whole numbers.
    """
    is_whole = np.issubdtype(dtype, np.integer)
    values = np.asarray(values) if hasattr(values, "dtype") else _array_of(values)
    # Numbers of more than 64 bits are Python's objects; an empty list is float64.
    is_usable = values.dtype.kind in ("iu" if is_whole else "iuf") or all(isinstance(each, int) for each in values.flat)
    if not is_usable:
        kind = "whole numbers" if is_whole else "numbers"
        raise InputError(f"{name} must be {kind}, not such as {values.flat[0]!r}")
    # As they are where int32 would wrap around; float32 takes too large values for infinity, which is in no range.
    with np.errstate(over="ignore"):
        compared = np.atleast_1d(values if is_whole else values.astype(dtype))
    wrong = np.flatnonzero(~np.asarray(allowed.holds(compared), bool))
    if wrong.size:
        raise allowed.refusal(name, values.flat[wrong[0]])
    return values.astype(dtype)


def _array_of(values):
    """Python's numbers as an array; of large whole ones NumPy would make float64."""
    array = np.asarray(values)
    exact = np.asarray(values, object)
    return exact if array.dtype.kind == "f" and all(isinstance(value, int) for value in exact.flat) else array


def checked_labels(language_model, labels):
    """Labels as int32 array.

    Raises:
        InputError: the language model doesn't know one.
    """
    allowed = ranges.of_model(language_model.num_classes, language_model.can_be_guided)
    return checked("label", labels, allowed["label"])


def checked_request(
    language_model,
    labels,
    seeds,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    guidance_scale=1.0,
    known_tokens=None,
    known=None,
):
    """The arguments of `generate_tokens` behind its batch size.

    Args:
        language_model: LanguageModel.
        labels, seeds, temperature, top_k, top_p, guidance_scale, known_tokens, known: as in `Sampler.sample`.

    Returns:
        list of arrays: labels, seeds and the settings, [n] each, known_tokens int32 and known bool [n, num_tokens].

    Raises:
        InputError: a value is out of range, or there are more or fewer of them than labels.
    """
    allowed = ranges.of_model(language_model.num_classes, language_model.can_be_guided)
    given = {
        "label": labels,
        "seed": seeds,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "guidance_scale": guidance_scale,
    }
    arrays = {name: checked(name, values, allowed[name], _DTYPES[name]) for name, values in given.items()}
    n = len(arrays["label"])
    for name, values in arrays.items():
        if values.shape != (n,) and (values.shape or name == "seed"):
            raise InputError(f"{name} is of the shape {list(values.shape)}, and labels are {n}: give one for each")
    shape = (n, language_model.num_tokens)
    if (known_tokens is None) != (known is None):
        raise InputError("known_tokens and known go together: the tokens, and which of them are kept")
    if known is None:
        known_tokens, known = np.zeros(shape, np.int32), np.zeros(shape, bool)
    known_tokens, known = np.asarray(known_tokens), np.asarray(known, bool)
    for name, values in (("known_tokens", known_tokens), ("known", known)):
        if values.shape != shape:
            raise InputError(f"{name} has the shape {list(values.shape)}; {n} labels need {list(shape)}")
    # What isn't kept is never looked at.
    kept = checked("known_tokens", np.where(known, known_tokens, 0), ranges.below(language_model.codebook_size))
    return [*(np.broadcast_to(values, [n]) for values in arrays.values()), kept, known]


def label_name(label, class_names):
    """What a label is called: its number, and its class where that is known and called otherwise."""
    name = class_names[label] if class_names else str(label)
    return f"label {label}" if name == str(label) else f"label {label}, {name}"
