"""The frame of a report: one HTML file that needs nothing else, in light and dark, narrow and wide."""

import datetime
import html

import vim_tf
from vim_tf.data.files import write_whole


def write_page(path, title, subtitle, sections, created=None):
    """Writes a page.

    Args:
        path: str, of the HTML file.
        title, subtitle: str.
        sections: list of HTML; empty ones are left out.
        created: datetime; None = now.
    """
    created = created or datetime.datetime.now(datetime.UTC)
    page = _PAGE.format(
        title=text(title),
        style=_STYLE,
        subtitle=f"<p>{text(subtitle)}</p>" if subtitle else "",
        machine_time=created.isoformat(timespec="seconds"),
        time=f"{created:%d %B %Y, %H:%M} {created.tzname() or ''}".strip(),
        version=text(vim_tf.__version__),
        sections="\n".join(section for section in sections if section),
    )
    write_whole(path, page)


def text(value):
    """A value as text that HTML takes for nothing else."""
    return html.escape(str(value), quote=True)


def words(name):
    """A key of a dict as people write it."""
    return str(name).replace("num_", "number of ").replace("_", " ")


def breakable(name):
    """A metric's name that may break after its slash and underscores."""
    return text(name).replace("/", "/<wbr>").replace("_", "_<wbr>")


def definitions(values):
    """Nested definition lists of a dict."""
    items = []
    for name, value in values.items():
        label = text(words(name))
        if isinstance(value, dict):
            items.append(f"<div><dt>{label}</dt><dd>{definitions(value)}</dd></div>" if value else "")
        else:
            items.append(f"<div><dt>{label}</dt><dd>{text(value)}</dd></div>")
    return f"<dl>{''.join(items)}</dl>"


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
<header><h1>{title}</h1>{subtitle}
<p class="meta"><time datetime="{machine_time}">{time}</time> · vim_tf {version}</p></header>
{sections}
</main>
</body>
</html>
"""

_STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --panel: #ffffff; --ink: #1d2126; --soft: #5b6470; --faint: #9aa2ac;
  --line: #e3e5e8; --accent: #1f6feb; --good: #1a7f37; --bad: #c0262d; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --panel: #1b1f23; --ink: #e6e8ea; --soft: #9aa4af;
  --faint: #6b7580; --line: #2d333a; --accent: #6cb2ff; --good: #56d364; --bad: #ff8182; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 2rem clamp(1rem, 4vw, 2.5rem) 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; text-wrap: balance; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .8rem; }
h2::first-letter { text-transform: uppercase; }
p { margin: 0 0 .4rem; max-width: 70ch; }
.meta, .meaning, .better, .unit, figcaption, .axis, dt { color: var(--soft); }
.meta, figcaption { font-size: .875rem; }
table { width: 100%; border-collapse: collapse; background: var(--panel); border: 1px solid var(--line); }
th, td { text-align: left; vertical-align: top; padding: .6rem .9rem; border-top: 1px solid var(--line);
  font-weight: normal; }
thead th { font-size: .8rem; color: var(--soft); border-top: 0; padding-block: .4rem; }
thead th:last-child, .value { text-align: right; }
.name { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .875rem;
  overflow-wrap: anywhere; }
.name { display: block; }
.meaning { font-size: .85rem; margin-right: .5rem; }
.meaning:empty { display: none; }
.value { white-space: nowrap; font-variant-numeric: tabular-nums; font-size: 1.1rem; font-weight: 600; }
.unit { font-weight: normal; font-size: .85rem; }
.better { display: block; font-weight: normal; font-size: .78rem; line-height: 1.35; }
details { font-size: .85rem; display: inline-block; }
details[open] { display: block; }
summary { cursor: pointer; color: var(--accent); width: fit-content; }
dl { margin: .3rem 0 .3rem; }
dl dl { margin: 0; padding-left: .8rem; border-left: 2px solid var(--line); }
dl > div { display: grid; grid-template-columns: minmax(6rem, 11rem) 1fr; gap: .1rem .8rem; padding: .1rem 0; }
dl dl > div { grid-template-columns: minmax(5rem, 9rem) 1fr; }
dd { margin: 0; overflow-wrap: anywhere; }
.verdict { font-weight: 600; }
.missed { color: var(--bad); }
.passed { color: var(--good); }
.rows { overflow-x: auto; }
.rows td, .rows th { text-align: right; font-variant-numeric: tabular-nums; }
.rows th:first-child { text-align: left; }
.rows .best { font-weight: 600; }
.rows .name { overflow-wrap: normal; }
.refused { color: var(--soft); font-size: .85rem; }
.lineage { font-size: .875rem; }
.lineage details { display: block; margin-top: .3rem; }
figure { margin: 0; }
.scroll { overflow-x: auto; }
.picture { display: flex; width: fit-content; max-width: 100%; }
.picture img { display: block; height: auto; flex: 0 1 auto; image-rendering: pixelated; }
.labels { display: grid; grid-auto-rows: 1fr; position: sticky; left: 0; background: var(--page); z-index: 1;
  padding-right: .6rem; font-size: .85rem; color: var(--soft); text-align: right; flex: none; }
.labels span { align-self: center; max-width: min(9rem, 28vw); overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
figure > figcaption { margin-top: .5rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 290px), 1fr)); gap: .9rem; }
.plot { background: var(--panel); border: 1px solid var(--line); padding: .6rem .7rem .4rem; }
.plot figcaption { display: flex; justify-content: space-between; gap: .6rem; margin: 0 0 .3rem; }
.plot .last { font-variant-numeric: tabular-nums; color: var(--ink); font-weight: 600; }
.plot svg { display: block; width: 100%; height: auto; font-family: inherit; }
.axis { font-size: .75rem; text-align: right; margin: 0; max-width: none; }
@media (max-width: 560px) {
  th, td { padding: .5rem .6rem; }
  .value { white-space: normal; }
  .unit { display: block; }
  dl > div, dl dl > div { grid-template-columns: 1fr; }
  dl > div > dd { padding-left: .8rem; }
}
@media print { details { display: none; } section { break-inside: avoid; } }
"""
