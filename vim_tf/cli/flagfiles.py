"""Expands flagfiles, including nested ones, into a plain command line."""

import os
import sys

from vim_tf.errors import InputError


def opened_up(argv, told=None):
    """A command line in which each `--flagfile` is replaced by the flags of that file.

    A path that a flagfile gives to `--flagfile`, or to a flag whose name ends in `_flagfile`, is looked up next to
    that file first, then in the working directory, which prints a notice on stderr.

    Args:
        argv: list of str, without the program's name.
        told: set of the notices printed already; None = none.

    Returns:
        list of str without `--flagfile`.

    Raises:
        InputError: a flagfile can't be read, or includes itself.
    """
    return list(_flags(argv, "", (), set() if told is None else told))


def _flags(arguments, folder, readers, told):
    """The flags of a command line, or of a file in `folder` that was reached through `readers`."""
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
    """Resolves a path from a flagfile; one from the command line is left as it is."""
    next_to_it = os.path.join(folder, path)
    if not readers or os.path.isabs(path) or os.path.exists(next_to_it) or not os.path.exists(path):
        return next_to_it
    line = f"{readers[-1]}: {path} isn't in its folder and was found in the working directory"
    if line not in told:
        told.add(line)
        print(line, file=sys.stderr)
    return path


def _lines(path, readers):
    """The flags in a file, without comments and blank lines."""
    if path in readers:
        raise InputError(f"--flagfile={path} includes itself, through {' and '.join(readers)}")
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise InputError(f"--flagfile={path} isn't a text file: {error}") from error
    except OSError as error:
        named = f" (named in {readers[-1]})" if readers else ""
        raise InputError(f"--flagfile={path}{named} can't be read: {error.strerror}") from error
    return [line for line in lines if line and not line.startswith(("#", "//"))]
