"""Finds which span and version of the images to read, if the name of the source has placeholders for them.

The placeholders are those of TFX's ExampleGen: {SPAN}, or {YYYY}, {MM} and {DD}, whose span is the days since 1970, and
{VERSION}; {SPAN:3} is a number of three digits.
"""

import dataclasses
import re

from tfx.components.example_gen import utils
from tfx.proto import example_gen_pb2, range_config_pb2

from vim_tf.config import SPLITS
from vim_tf.errors import InputError, one_line


def resolve(data, span, version):
    """Replaces {SPAN} and {VERSION} by numbers.

    Args:
        data: DataConfig.
        span: int, wanted span; -1 = the latest that all splits have.
        version: int, wanted version of the span; -1 = its latest.

    Returns:
        (DataConfig whose source has no placeholder left, span int, version int); 0 without such a placeholder.

    Raises:
        InputError: nothing matches, the splits differ in their latest ones, or a number is given without a placeholder.
    """
    kind, _, path = data.source.partition(":")
    try:
        has_span, has_date, has_version = utils.verify_split_pattern_specs(_split("all", path))
        for name, value, has_placeholder in (("span", span, has_span or has_date), ("version", version, has_version)):
            if value >= 0 and not has_placeholder:
                raise InputError(f"--{name}={value} needs a {{{name.upper()}}} in --data.source={data.source}")
        if not (has_span or has_date):
            return data, 0, 0
        chosen = path if version < 0 else re.sub(utils.VERSION_FULL_REGEX, lambda spec: _digits(spec, version), path)
        splits = [_split(split, chosen.rstrip("/").replace("{split}", split)) for split in SPLITS]
        _, span, latest = utils.calculate_splits_fingerprint_span_and_version("", splits, _range(span))
        found = utils.get_pattern_for_span_version(
            chosen, has_span, has_date, has_version and version < 0, span, latest
        )
    except ValueError as error:
        raise InputError(f"--data.source={data.source}: {one_line(error)}") from error
    for split in splits:
        if found.rstrip("/").replace("{split}", split.name) != split.pattern:
            raise InputError(
                f"--data.source={data.source}: numbers with leading zeros, as in {split.pattern}, need their number of "
                "digits: {SPAN:3}, {VERSION:3}"
            )
    return dataclasses.replace(data, source=f"{kind}:{found}"), span, (latest or 0) if version < 0 else version


def _split(name, pattern):
    return example_gen_pb2.Input.Split(name=name, pattern=pattern)


def _range(span):
    if span < 0:
        return None
    static = range_config_pb2.StaticRange(start_span_number=span, end_span_number=span)
    return range_config_pb2.RangeConfig(static_range=static)


def _digits(spec, number):
    return str(number).zfill(int(spec["width"] or 0))
