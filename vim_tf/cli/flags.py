"""Turns dataclass fields into dotted absl flags, and runs commands.

Nothing here knows a hyperparameter or imports TensorFlow, so `--help` and a mistyped flag are answered at once.
"""

import dataclasses
import shutil
import sys
import textwrap
import traceback
import typing

from absl import flags

from vim_tf.cli import flagfiles, terminal
from vim_tf.errors import InputError, one_line


def parse(config_class, argv):
    """Parses a command line into a config.

    Args:
        config_class: a dataclass of `vim_tf.config`.
        argv: list of str, without the program's name; `--flagfile=<path>` is expanded in place.

    Returns:
        config_class instance.

    Raises:
        InputError: a flag is unknown, or a value has the wrong type or is refused by the config.
    """
    values = flags.FlagValues()
    defaults = _default_leaves(config_class)
    for name, (field, default) in defaults.items():
        _define(values, name, field, default)
    sizes = _sizes(config_class)
    for name, choices in sizes.items():
        flags.DEFINE_enum(name, None, list(choices), "", flag_values=values)
    flags.DEFINE_bool("help", False, "this text", flag_values=values, short_name="h")
    left_over = _call(values, ["vim_tf", *_spelled_out(flagfiles.opened_up(argv), sizes)])
    if left_over[1:]:
        raise InputError(f"unexpected argument {left_over[1]!r}; values are given as --name=value")
    chosen = {}
    for name, (field, _) in defaults.items():
        value = values[name].value
        chosen[name] = tuple(value) if typing.get_origin(field.type) is tuple else value
    return _build(config_class, chosen)


def choose(name, choices, default, argv):
    """Value of the one flag that decides which other flags exist (`--task`), read before they are defined.

    Args:
        name: str.
        choices: the allowed values.
        default: str.
        argv: list of str, without the program's name.

    Raises:
        InputError: the value isn't one of the choices, or a flagfile can't be read.
    """
    values = flags.FlagValues()
    flags.DEFINE_enum(name, default, list(choices), "", flag_values=values)
    _call(values, ["vim_tf", *flagfiles.opened_up(argv)], known_only=True)
    return values[name].value


def main(run, select_config_class, description, needs_tensorflow=True):
    """Runs a command and exits with its status.

    Status 0: finished, or help was requested. 1: failed while running. 2: unusable flags or input; one line and no
    traceback. 130: interrupted. 143: stopped by SIGTERM.

    Args:
        run: function of the config.
        select_config_class: function of argv (without the program's name) that returns the config class.
        description: str, shown at the top of the help.
        needs_tensorflow: whether `run` uses TensorFlow, which is then loaded first, without its chatter.
    """
    argv = sys.argv[1:]
    try:
        config_class = select_config_class(argv)
        if any(argument in ("--help", "-h", "-help") for argument in argv):
            print(help_text(config_class, description))
            sys.exit(0)
        config = parse(config_class, argv)
    except InputError as error:
        sys.exit(_refuse(error))
    terminal.quiet_libraries()
    terminal.on_sigterm(_terminate)
    try:
        if needs_tensorflow:
            terminal.load_tensorflow()
        run(config)
    except InputError as error:
        sys.exit(_refuse(error))
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # the only handler that turns any failure into an exit status
        traceback.print_exc()
        print(f"Failed: {type(error).__name__}: {one_line(error, lines=1)}", file=sys.stderr)
        sys.exit(1)


def help_text(config_class, description):
    """Help for every flag, with its default, grouped by section."""
    width = min(shutil.get_terminal_size().columns, 120)
    lines = [*textwrap.wrap(description, width), "", "Flags (--flagfile=<path> reads more flags from a file):"]
    section = ""
    sizes = _sizes(config_class)
    for name, (field, default) in _default_leaves(config_class).items():
        head = name.rpartition(".")[0]
        if head != section:
            lines.append("")
            if choices := sizes.get(f"{head}.size"):
                fields = ", ".join(next(iter(choices.values())))
                lines += [
                    f"  --{head}.size= [{' | '.join(choices)}]",
                    f"      sets {fields} to those of a size in the paper",
                ]
        section = head
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        choices = typing.get_args(field.type) if typing.get_origin(field.type) is typing.Literal else ()
        allowed = f" [{' | '.join(choices)}]" if len(choices) > 1 else ""
        lines += textwrap.wrap(
            f"  --{name}={shown}{allowed}",
            width,
            subsequent_indent=" " * 10,
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += textwrap.wrap(field.metadata["help"], width, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def _default_leaves(config_class):
    """{dotted name: (field, default)} of every field that is a flag; sections are flattened."""
    leaves = {}

    def visit(section_class, section_defaults, prefix):
        for field in dataclasses.fields(section_class):
            if not field.metadata["flag"]:
                continue
            default = (
                getattr(section_defaults, field.name)
                if section_defaults is not None
                else field.default_factory()
                if field.default is dataclasses.MISSING
                else field.default
            )
            if dataclasses.is_dataclass(field.type):
                visit(field.type, default, f"{prefix}{field.name}.")
            else:
                leaves[f"{prefix}{field.name}"] = (field, default)

    visit(config_class, None, "")
    return leaves


def _sizes(config_class, prefix=""):
    """{dotted name of a flag: {size: {field: value}}} of every section that has named sizes.

    A named size is shorthand for the flags of its fields, not a field itself: a config holds the numbers.
    """
    found = {f"{prefix}size": config_class.SIZES} if hasattr(config_class, "SIZES") else {}
    for field in dataclasses.fields(config_class):
        if dataclasses.is_dataclass(field.type) and field.metadata["flag"]:
            found |= _sizes(field.type, f"{prefix}{field.name}.")
    return found


def _spelled_out(argv, sizes):
    """A command line with each named size expanded into its flags, so that later flags win as usual."""
    for argument in argv:
        name, _, value = argument.lstrip("-").partition("=")
        if value in sizes.get(name, ()):
            yield from (
                f"--{name.removesuffix('size')}{field}={number}" for field, number in sizes[name][value].items()
            )
        else:
            yield argument


def _define(values, name, field, default):
    help = field.metadata["help"]
    kind = field.type
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    if {"on", "off"} <= set(choices):
        flag = flags.Flag(_SwitchParser(choices), flags.ArgumentSerializer(), name, default, help, boolean=True)
        flags.DEFINE_flag(flag, flag_values=values)
    elif choices:
        flags.DEFINE_enum(name, default, list(choices), help, flag_values=values)
    elif typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        parser = _ListParser(item)
        flags.DEFINE(parser, name, list(default), help, flag_values=values, serializer=flags.ListSerializer(","))
    else:
        define = {
            bool: flags.DEFINE_bool,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
            str: flags.DEFINE_string,
        }[kind]
        define(name, default, help, flag_values=values)


class _SwitchParser(flags.EnumParser):
    """Choices that include on and off; like a boolean flag, also takes true and false, --name and --noname."""

    _BOOLEANS = {"true": "on", "t": "on", "1": "on", "false": "off", "f": "off", "0": "off"}

    def __init__(self, choices):
        super().__init__(list(choices))

    def parse(self, argument):
        return super().parse(self._BOOLEANS.get(argument.lower(), argument))


class _ListParser(flags.ArgumentParser):
    """Parses `1,2,3` into a list of items of one type."""

    def __init__(self, item):
        super().__init__()
        self._item = item

    def parse(self, argument):
        if isinstance(argument, list):
            return argument
        try:
            return [self._item(part.strip()) for part in argument.split(",") if part.strip()]
        except ValueError as error:
            raise ValueError(f"needs {self._item.__name__} values, separated by commas") from error

    def flag_type(self):
        return f"comma-separated {self._item.__name__}"


def _call(values, argv, known_only=False):
    try:
        return values(argv, known_only=known_only)
    except flags.Error as error:
        raise InputError(one_line(error, lines=1)) from error


def _build(config_class, chosen, prefix=""):
    arguments = {}
    for field in dataclasses.fields(config_class):
        if not field.metadata["flag"]:
            continue
        name = f"{prefix}{field.name}"
        arguments[field.name] = (
            _build(field.type, chosen, f"{name}.") if dataclasses.is_dataclass(field.type) else chosen[name]
        )
    return config_class(**arguments)


def _refuse(error):
    print(f"Error: {one_line(error, lines=1)}", file=sys.stderr)
    return 2


def _terminate(signum, frame):
    raise SystemExit(143)
