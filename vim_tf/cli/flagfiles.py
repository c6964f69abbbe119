"""Flagfiles opened up: the command line that they and what they name amount to."""

import os
import sys

from vim_tf.errors import InputError


def opened_up(argv, told=None):
    """A command line with the flags of its flagfiles in their place.

    A path that a flagfile gives to `--flagfile`, or to a flag whose name ends in `_flagfile`, is looked for next to
    that file first, then from the working directory, with a line on stderr that says so.

    Args:
        argv: list of str, without the program's name.
        told: set of the lines that were printed already; None = none was.

    Returns:
        list of str without `--flagfile`.

    Raises:
        InputError: a flagfile can't be read, or reads itself.
    """
    return list(_flags(argv, "", (), set() if told is None else told))


def _flags(arguments, folder, readers, told):
    """The flags of a command line, or of a file in `folder` that `readers` led to."""
    arguments = iter(arguments)
    for argument in arguments:
        name, has_value, value = argument.partition("=")
        if argument == "--":
            yield argument
            yield from arguments
        elif name in ("--flagfile", "-flagfile"):
            path = value if has_value else next(arguments, "")
            if path:
                path = _found(path, folder, readers, told)
                yield from _flags(_lines(path, readers), os.path.dirname(path), (*readers, path), told)
        elif readers and value and name.startswith("-") and name.endswith("_flagfile"):
            yield f"{name}={_found(value, folder, readers, told)}"
        else:
            yield argument


def _found(path, folder, readers, told):
    """Where a path that a flagfile names leads to; of the command line it is taken as it is."""
    beside = os.path.join(folder, path)
    if not readers or os.path.isabs(path) or os.path.exists(beside) or not os.path.exists(path):
        return beside
    line = f"{readers[-1]}: {path} is not in its folder and was found from the working directory"
    if line not in told:
        told.add(line)
        print(line, file=sys.stderr)
    return path


def _lines(path, readers):
    """The flags that a file holds; comments and blank lines are passed over."""
    if path in readers:
        raise InputError(f"--flagfile={path} reads itself, by way of {' and '.join(readers)}")
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise InputError(f"--flagfile={path} is no text file: {error}") from error
    except OSError as error:
        named = f" (named in {readers[-1]})" if readers else ""
        raise InputError(f"--flagfile={path}{named} can't be read: {error.strerror}") from error
    return [line for line in lines if line and not line.startswith(("#", "//"))]
