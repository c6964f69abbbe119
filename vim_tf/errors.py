"""The one error that means: what the user gave can't be used; and errors as one line."""

import re


class InputError(ValueError):
    """Unusable flags, files or folders.

    The message is one line: what is wrong, where, and what to do. Commands print it without a traceback and leave
    with status 2.
    """


def one_line(error, limit=None, lines=None):
    """What an error says, as one line.

    Args:
        error: exception, of which one that says nothing gives the name of its class, or str.
        limit: int, characters that are kept; None = all.
        lines: int, how many of its lines count, such as 1 where those after it are details; None = all.

    Returns:
        str, without line breaks and without the names of TensorFlow's nodes, which mean nothing to a user.
    """
    # TensorFlow's errors add the place where an operation was made to what they say.
    said = getattr(error, "message", None)
    text = re.sub(r"\{\{\w*node .*?\}\} ?", "", said if isinstance(said, str) else str(error))
    # Spaces within a line stay: they may be those of a file's name.
    found = [line.strip() for line in text.splitlines() if line.strip()]
    nothing = "" if isinstance(error, str) else type(error).__name__
    return (" ".join(found[:lines]) or nothing)[:limit]
