"""The error for unusable input from the user, and error messages as one line."""

import re


class InputError(ValueError):
    """Unusable flags, files or folders.

    The message is one line: what is wrong, where, and what to do. Commands print it without a traceback and exit
    with status 2.
    """


def one_line(error, limit=None, lines=None):
    """The message of an error, as one line.

    Args:
        error: exception, or str. An exception without a message gives the name of its class.
        limit: int, characters to keep; None = all.
        lines: int, how many of the message's lines to keep, such as 1 if the rest is details; None = all.

    Returns:
        str, without line breaks and without the names of TensorFlow's nodes, which mean nothing to a user.
    """
    # str() of TensorFlow's errors adds where an operation was created to the message.
    said = getattr(error, "message", None)
    text = re.sub(r"\{\{\w*node .*?\}\} ?", "", said if isinstance(said, str) else str(error))
    # Spaces within a line are kept: they may be part of a file's name.
    found = [line.strip() for line in text.splitlines() if line.strip()]
    nothing = "" if isinstance(error, str) else type(error).__name__
    return (" ".join(found[:lines]) or nothing)[:limit]
