"""Building blocks of config sections: fields with help, checks, and conversion to JSON and back."""

import dataclasses
import json
import math
import typing
from typing import Literal

from vim_tf import ranges
from vim_tf.errors import InputError

# A choice that a table makes unless the user does.
Switch = Literal["auto", "on", "off"]


def setting(default, help, *, resumable=False, flag=True):
    """A config field with its help.

    Args:
        default: the value, or a dataclass type for a section.
        help: one sentence, with the unit where there is one.
        resumable: whether a resumed run may change it.
        flag: whether it is a flag; False for facts that the command determines itself.
    """
    metadata = {"help": help, "resumable": resumable, "flag": flag}
    if dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check(condition, message):
    if not condition:
        raise InputError(message)


def check_finite(section, *names):
    for name in names:
        check(math.isfinite(getattr(section, name)), f"{name} must be finite, not {getattr(section, name)}")


def check_positive(section, *names):
    for name in names:
        check(getattr(section, name) > 0, f"{name} must be above 0, not {getattr(section, name)}")
    check_finite(section, *names)


def check_not_negative(section, *names):
    for name in names:
        check(getattr(section, name) >= 0, f"{name} must not be negative, but is {getattr(section, name)}")
    check_finite(section, *names)


def check_fraction(section, *names):
    for name in names:
        check(0 <= getattr(section, name) <= 1, f"{name} must be in [0, 1], not {getattr(section, name)}")


def check_choices(section):
    """Checks fields with a fixed set of values: flags already are, but values from Python or JSON aren't."""
    for field in dataclasses.fields(section):
        choices = typing.get_args(field.type) if typing.get_origin(field.type) is Literal else ()
        value = getattr(section, field.name)
        check(not choices or value in choices, f"{field.name} must be one of {', '.join(choices)}, not {value!r}")


def accept_boolean(section, name):
    """Accepts true and false for a `Switch` as on and off: it was a boolean before auto existed."""
    value = getattr(section, name)
    if isinstance(value, bool):
        object.__setattr__(section, name, "on" if value else "off")


def check_seed(section):
    ranges.TRAINING_SEED.check("seed", section.seed)


def check_given(section, *names):
    for name in names:
        check(getattr(section, name), f"--{name} is needed; --help explains it")


def to_dict(config):
    """Nested dict of JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(config_class, values):
    """The config that `to_dict` described.

    Raises:
        InputError: a key is unknown.
    """
    fields = {field.name: field.type for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise InputError(f"{config_class.__name__} has no field {', '.join(unknown)}: written by another version?")
    arguments = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(fields[name]):
            value = from_dict(fields[name], value)
        elif typing.get_origin(fields[name]) is tuple:
            value = tuple(value)
        arguments[name] = value
    return config_class(**arguments)


def leaves(config_class, prefix=""):
    """Yields (dotted name, dataclasses.Field) of every field that holds a value, with sections flattened."""
    for field in dataclasses.fields(config_class):
        if dataclasses.is_dataclass(field.type):
            yield from leaves(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field


def get(config, dotted_name):
    """Value of the field with a dotted name."""
    for name in dotted_name.split("."):
        config = getattr(config, name)
    return config
