# SPDX-License-Identifier: GPL-2.0-or-later
"""A report as a page: one file that fetches nothing, and in which names stay text."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any

from pagedbg.output.icicle_page import ICICLE_STYLE, icicle_part
from pagedbg.output.page_files import whole_page
from pagedbg.output.printable import printable
from pagedbg.output.render import text_cells
from pagedbg.output.report import Listing, MemoryReport, Section
from pagedbg.output.svg import svg
from pagedbg.schema.columns import SchemaColumn
from pagedbg.schema.picture import Picture
from pagedbg.schema.table import Column
from pagedbg.sources.stack_frames import function_of

__all__ = ("report_page",)

# Calls with a smaller share are not seen in the picture, nor looked for in a page.
_LEAST_SHARE = 2000

# What went wrong is said before what there is.
_URGENT = ("machine", "explanation", "leaks", "trend")

# A text that is longer is not made as narrow as a word.
_LONG = 40

_TEXT = ("str", "list", "stack", "row", "rows")


def report_page(report: MemoryReport) -> str:
    """Return the page; what is not printable in a name is written as in a terminal."""
    return whole_page(
        "report.html",
        _text(report.title),
        (ICICLE_STYLE, "report.css"),
        MADE=_text(report.made),
        CONTENTS="".join(_contents(report.sections)),
        BODY="".join(_body(report.sections)),
    )


def _contents(sections: Sequence[Section]) -> Iterator[str]:
    yield "<ul>"
    for name, heading in (
        ("findings", "Findings"),
        *((section.name, section.heading) for section in sections),
        ("unread", "What could not be read"),
        ("methods", "How each figure was computed"),
    ):
        yield f'<li><a href="#{name}">{_text(heading)}</a></li>'
    yield "</ul>"


def _body(sections: Sequence[Section]) -> Iterator[str]:
    urgent = sorted(sections, key=lambda section: section.name not in _URGENT)
    findings = " ".join(each for section in urgent for each in section.findings)
    yield from _headed("findings", "Findings")
    yield from _paragraphs([findings or "Nothing was found that has to be said here."])
    yield "</section>\n"
    for section in sections:
        yield from _section(section)
    yield from _headed("unread", "What could not be read")
    yield from _unread(sections)
    yield "</section>\n"
    yield from _headed("methods", "How each figure was computed")
    yield from _methods(sections)
    yield "</section>\n"


def _headed(name: str, heading: str) -> Iterator[str]:
    yield f'<section aria-labelledby="{name}">\n<h2 id="{name}">{_text(heading)}</h2>\n'


def _section(section: Section) -> Iterator[str]:
    yield from _headed(section.name, section.heading)
    yield from _paragraphs(section.words)
    if section.facts:
        yield from _described(section.facts)
    for picture in section.pictures:
        yield from _picture(picture)
    if section.calls is not None:
        least = section.calls.root.weight // _LEAST_SHARE
        yield icicle_part(section.calls, least)
    for listing in section.listings:
        yield from _listing(listing)
    yield from _paragraphs(list(dict.fromkeys(section.unread)), "faint")
    if section.commands:
        commands = ", ".join(f"<code>{_text(each)}</code>" for each in section.commands)
        yield f'<p class="faint">The same at the prompt: {commands}</p>\n'
    yield "</section>\n"


def _paragraphs(texts: Sequence[str], kind: str = "") -> Iterator[str]:
    opened = f'<p class="{kind}">' if kind else "<p>"
    for text in texts:
        yield f"{opened}{_text(text)}</p>\n"


def _picture(picture: Picture) -> Iterator[str]:
    yield from _scrolled(picture.title)
    yield "\n".join(svg(picture))
    yield "\n</div>\n"


def _scrolled(name: str) -> Iterator[str]:
    """Begin what may be wider than a window, and is scrolled with the keyboard, too."""
    yield f'<div class="wide" tabindex="0" role="region" aria-label="{_text(name)}">\n'


def _listing(listing: Listing) -> Iterator[str]:
    if listing.folded:
        yield f"<details>\n<summary>{_text(listing.caption)}</summary>\n"
    yield from _scrolled(listing.caption)
    yield "<table>\n"
    if not listing.folded:
        yield f"<caption>{_text(listing.caption)}</caption>\n"
    yield "<thead><tr>"
    for column in listing.columns:
        kind = "" if column.kind in _TEXT else ' class="number"'
        yield f'<th scope="col"{kind}{_meaning(column)}>{_text(column.name)}</th>'
    yield "</tr></thead>\n<tbody>\n"
    values = list(zip(*listing.rows, strict=True))
    cells = [
        list(_cells(column, each))
        for column, each in zip(listing.columns, values, strict=bool(values))
    ]
    for row in zip(*cells, strict=True):
        yield f"<tr>{''.join(row)}</tr>\n"
    yield "</tbody>\n</table>\n</div>\n"
    if listing.folded:
        yield "</details>\n"


def _meaning(column: Column) -> str:
    """What a column means, for who points at its name; at the end it is for all."""
    if isinstance(column, SchemaColumn):
        return f' title="{_text(column.meaning)}"'
    return ""


def _cells(column: Column, values: Sequence[Any]) -> Iterator[str]:
    if column.kind == "stack":
        for stack in values:
            yield f"<td>{_stack(stack)}</td>"
        return
    kind = "text" if column.kind in _TEXT else "number"
    for cell in text_cells(column, values):
        long = " long" if len(cell) > _LONG else ""
        yield f'<td class="{kind}{long}">{html.escape(cell)}</td>'


def _stack(frames: Sequence[str] | None) -> str:
    if not frames:
        return "(no stack)"
    lines = "\n".join(_text(frame) for frame in frames)
    function = _text(function_of(frames) or frames[0])
    return f"<details><summary>{function}</summary><pre>{lines}</pre></details>"


def _unread(sections: Sequence[Section]) -> Iterator[str]:
    """Each sentence once, with the sections that it is of."""
    said: dict[str, list[str]] = {}
    for section in sections:
        for sentence in dict.fromkeys(section.unread):
            said.setdefault(sentence, []).append(section.heading)
    if not said:
        yield "<p>Everything that was looked for could be read.</p>\n"
        return
    yield "<ul>\n"
    for sentence, headings in said.items():
        yield f"<li>{_text(', '.join(headings))}: {_text(sentence)}</li>\n"
    yield "</ul>\n"


def _methods(sections: Sequence[Section]) -> Iterator[str]:
    yield from _described([(each.heading, each.method) for each in sections])
    meanings = {
        column.name: column.meaning
        for section in sections
        for listing in section.listings
        for column in listing.columns
        if isinstance(column, SchemaColumn)
    }
    if meanings:
        yield "<details>\n<summary>What the columns mean</summary>\n"
        yield from _described(sorted(meanings.items()))
        yield "</details>\n"


def _described(names: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield "<dl>\n"
    for name, text in names:
        yield f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>\n"
    yield "</dl>\n"


def _text(text: str) -> str:
    return html.escape(printable(text))
