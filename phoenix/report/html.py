"""The page around the sections: style, contents, tables, figures. What comes in is escaped.

No script, no network, no font of its own: it reads the same in ten years and inside a mail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

STYLE = """
:root { color-scheme: light dark; --surface: #ffffff; --raised: #f5f6f8; --ink: #1b1f26;
  --muted: #5b6472; --grid: #e3e6eb; --first: #1d5fc4; --second: #c2570c; --third: #0f7b6c;
  --fourth: #7a3fb0; --notice: #fff6e0; --notice-edge: #c98a00;
  --font: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
@media (prefers-color-scheme: dark) { :root { --surface: #14171c; --raised: #1d2128;
  --ink: #e8eaee; --muted: #a3abb8; --grid: #323844; --first: #6fa8ff; --second: #ff9a57;
  --third: #4fd0bd; --fourth: #c79bf2; --notice: #2e2713; --notice-edge: #d9a531; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 1.25rem 1rem 4rem; background: var(--surface);
  color: var(--ink); font: 16px/1.5 var(--font); }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: .75rem;
  border-top: 1px solid var(--grid); }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p { max-width: 46rem; margin: .4rem 0 .8rem; }
a { color: var(--first); }
.sub { color: var(--muted); margin: 0; overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; padding: 0;
  margin: 1rem 0 0; font-size: .92rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .6rem;
  margin: 1.2rem 0 0; }
.tile { background: var(--raised); border-radius: .5rem; padding: .6rem .8rem; }
.tile dt { color: var(--muted); font-size: .8rem; }
.tile dd { margin: 0; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; line-height: 1.25; }
.tile dd small { display: block; font-size: .78rem; font-weight: 400; color: var(--muted); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20.5rem), 1fr));
  gap: 1rem; }
figure { margin: 0; min-width: 0; break-inside: avoid; }
figure svg { display: block; width: 100%; height: auto; max-width: 34rem; }
figcaption { font-size: .85rem; color: var(--muted); }
details { font-size: .85rem; margin-top: .25rem; }
summary { cursor: pointer; color: var(--muted); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); font-size: .85rem; padding-bottom: .25rem; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--grid);
  vertical-align: top; }
.facts td { overflow-wrap: anywhere; }
th { font-weight: 600; } tbody th { font-weight: 400; }
.number { text-align: right; white-space: nowrap; }
tr.own { background: var(--raised); } tr.own th { font-weight: 600; }
.missing { background: var(--notice); border-left: 4px solid var(--notice-edge);
  padding: .6rem .9rem; border-radius: 0 .4rem .4rem 0; max-width: 46rem; margin: .6rem 0; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .9em;
  overflow-wrap: anywhere; }
footer { margin-top: 3rem; color: var(--muted); font-size: .85rem; }
@media print { :root { color-scheme: light; --surface: #fff; --raised: #f5f6f8; --ink: #000;
  --muted: #444; --grid: #ddd; --first: #1d5fc4; --second: #c2570c; --third: #0f7b6c;
  --fourth: #7a3fb0; --notice: #fff6e0; --notice-edge: #c98a00; }
  body { max-width: none; padding: 0; font-size: 11px; } nav { display: none; }
  details > summary { display: none; } h2, h3 { break-after: avoid; }
  .grid { grid-template-columns: 1fr 1fr; } tr { break-inside: avoid; } }
""".strip()


@dataclass(frozen=True, slots=True)
class Section:
    """A chapter of the page. `missing`: what is not there and how to make it, in sentences."""

    anchor: str
    title: str
    body: str = ""  # HTML
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The whole report."""

    title: str
    subtitle: str
    tiles: Sequence[tuple[str, str, str]]  # name, value, remark
    sections: Sequence[Section]
    footer: str
    missing: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        missing = tuple(text for section in self.sections for text in section.missing)
        object.__setattr__(self, "missing", missing)


def page(content: Page) -> str:
    """The document."""
    contents = "".join(
        f'<li><a href="#{section.anchor}">{escape(section.title)}</a></li>'
        for section in content.sections
    )
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(content.title)}</title>",
            f"<style>\n{STYLE}\n</style></head>",
            "<body>",
            f"<header><h1>{escape(content.title)}</h1>",
            f'<p class="sub">{escape(content.subtitle)}</p>',
            _tiles(content.tiles),
            f'<nav aria-label="Contents"><ul>{contents}</ul></nav></header>',
            "<main>",
            *(_section(section) for section in content.sections),
            "</main>",
            f"<footer><p>{escape(content.footer)}</p></footer>",
            "</body></html>",
            "",
        ]
    )


def paragraph(text: str) -> str:
    return f"<p>{_text(text)}</p>"


def heading(text: str) -> str:
    return f"<h3>{escape(text)}</h3>"


def notice(text: str) -> str:
    """Something that a reader must not overlook."""
    return f'<p class="missing">{_text(text)}</p>'


def grid(figures: Iterable[str]) -> str:
    return f'<div class="grid">{"".join(figures)}</div>'


def picture(svg: str, caption: str, numbers: str) -> str:
    """An <svg> with its caption and, folded, the table of what it shows."""
    return (
        f"<figure>{svg}<figcaption>{_text(caption)}</figcaption>"
        f"<details><summary>Numbers</summary>{numbers}</details></figure>"
    )


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", own: str = ""
) -> str:
    """A table whose first column names the row and whose others are right-aligned numbers.

    The row named `own` is stressed.
    """
    head = "".join(
        f'<th scope="col"{_number(index)}>{escape(cell)}</th>' for index, cell in enumerate(header)
    )
    body = "".join(
        f"<tr{_own(row[0] == own and own != '')}>"
        f'<th scope="row">{escape(row[0])}</th>'
        + "".join(f'<td class="number">{escape(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(values: Mapping[str, str], caption: str = "") -> str:
    """Names and values as a table of two columns, of text."""
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in values.items()
    )
    return f'<div class="scroll"><table class="facts">{title}<tbody>{rows}</tbody></table></div>'


def _text(text: str) -> str:
    """Escaped; a number and its per cent sign stay on one line."""
    return escape(text).replace(" %", "&nbsp;%")


def _tiles(tiles: Sequence[tuple[str, str, str]]) -> str:
    cells = "".join(
        f'<div class="tile"><dt>{escape(name)}</dt>'
        f"<dd>{escape(value)}<small>{escape(remark)}</small></dd></div>"
        for name, value, remark in tiles
    )
    return f'<dl class="tiles">{cells}</dl>'


def _section(section: Section) -> str:
    missing = "\n".join(notice(text) for text in section.missing)
    return (
        f'<section id="{section.anchor}" aria-label="{escape(section.title, quote=True)}">'
        f"<h2>{escape(section.title)}</h2>\n{missing}\n{section.body}</section>"
    )


def _number(index: int) -> str:
    return ' class="number"' if index else ""


def _own(is_own: bool) -> str:
    return ' class="own"' if is_own else ""
