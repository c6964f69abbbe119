"""Renders a report as one self-contained HTML file, for light and dark, narrow and wide screens."""

import datetime
import functools
import math
import pathlib

import jinja2
import markupsafe

import vim_tf
from vim_tf.storage.files import write_whole

_FOLDER = pathlib.Path(__file__).parent


def write_page(path, template, title, subtitle="", created=None, **content):
    """Writes a page.

    Args:
        path: str, of the HTML file.
        template: str, name of a file in `templates/`.
        title, subtitle: str.
        created: datetime; None = now.
        **content: what the template shows; text is escaped.
    """
    page = _environment().get_template(template)
    write_whole(
        path,
        page.render(
            title=title,
            subtitle=subtitle,
            created=created or datetime.datetime.now(datetime.UTC),
            version=vim_tf.__version__,
            style=(_FOLDER / "style.css").read_text(encoding="utf-8"),
            **content,
        ),
    )


@functools.cache
def _environment():
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"value": format_value, "words": words, "breakable": _breakable, "moment": _moment}
    return environment


def format_value(value):
    """A metric's value for people: four significant digits, or a dash where it is not finite."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e5:
        return f"{value:.3e}"
    return f"{value:.{max(3 - math.floor(math.log10(abs(value))), 0)}f}"


def words(name):
    """A key of a dict as people write it."""
    return str(name).replace("num_", "number of ").replace("_", " ")


def _breakable(name):
    """A metric's name that can break after its slash and underscores."""
    escaped = str(markupsafe.escape(name))
    return markupsafe.Markup(escaped.replace("/", "/<wbr>").replace("_", "_<wbr>"))


def _moment(time):
    return f"{time:%d %B %Y, %H:%M} {time.tzname() or ''}".strip()
