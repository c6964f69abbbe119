"""The one error that means: what the user gave can't be used."""


class InputError(ValueError):
    """Unusable flags, files or folders.

    The message is one line: what is wrong, where, and what to do. Commands print it without a traceback and leave
    with status 2.
    """
