# SPDX-License-Identifier: GPL-2.0-or-later
"""
A report without names of processes, paths, hosts and addresses. The same name has the
same stand-in throughout.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pagedbg.output.call_tree import Call, CallTree
from pagedbg.output.report import Listing, MemoryReport, Section
from pagedbg.schema.picture import Picture
from pagedbg.schema.table import Column

__all__ = ("redacted",)

_COLUMNS: dict[str, str] = {
    **dict.fromkeys(
        ("comm", "owner_comm", "free_comm", "reused_comm", "victim"), "process"
    ),
    **dict.fromkeys(("file", "path", "memcg", "oom_memcg"), "path"),
}
"""Columns that hold nothing but such a name."""

_OF_THE_KERNEL = ("module", "function")
"""Columns with the kernel's own names, of which no process is one."""

_FILTER = re.compile(r"--(?:comm|memcg)[ =]('[^']*'|\S+)")

_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("path", re.compile(r"(?<![\w.:<>/])/[^\s'\"(),:;]*[\w*]")),
    ("address", re.compile(r"\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b")),
    ("address", re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")),
    ("address", re.compile(r"\b(?:0x[0-9a-fA-F]{9,16}|[0-9a-f]{16})\b")),
)
"""What is known by what it looks like."""

# No page frame is as large, and every address of a kernel is.
_ADDRESS = 1 << 40


def redacted(report: MemoryReport, known: Mapping[str, Iterable[str]]) -> MemoryReport:
    """
    Return a report with stand-ins for names.

    :param known: names that may be in sentences, beside those in the tables, by what
        they are: ``process``, ``host``
    """
    names = _Names()
    for kind, each in known.items():
        for name in each:
            names.learn(kind, name)
    for section in report.sections:
        for listing in section.listings:
            for column, values in _columns_of(listing):
                if column.name in _COLUMNS:
                    for value in values:
                        names.learn(_COLUMNS[column.name], value)
    return dataclasses.replace(
        report,
        title=names.text(report.title),
        sections=[_section(names, section) for section in report.sections],
    )


class _Names:
    """The names that were met, each with its stand-in."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._pattern: re.Pattern[str] | None = None

    def learn(self, kind: str, name: str | None) -> None:
        """Look for a name in sentences from now on."""
        if name:
            self._kinds.setdefault(name, kind)
            self._pattern = None

    def stand_in(self, kind: str, name: str) -> str:
        """What stands for a name."""
        kind = self._kinds.get(name, kind)
        of_kind = sum(each == kind for each, _ in self._numbers)
        number = self._numbers.setdefault((kind, name), of_kind + 1)
        return f"({kind} {number})"

    def text(self, text: str) -> str:
        """A sentence with stand-ins."""
        if self._pattern is None:
            # The longest first: it may begin with another.
            words = sorted(self._kinds, key=len, reverse=True)
            each = "|".join(re.escape(word) for word in words)
            self._pattern = re.compile(rf"(?<!\w)(?:{each})(?!\w)" if each else r"(?!)")
        text = _FILTER.sub(self._filter, text)
        text = self._pattern.sub(
            lambda match: self.stand_in(self._kinds[match[0]], match[0]), text
        )
        return self.frame(text)

    def _filter(self, match: re.Match[str]) -> str:
        # A pattern for names; where it lies is known to the expression only.
        start = match.start(1) - match.start()
        return match[0][:start] + self.stand_in("process", match[1].strip("'"))

    def _matched(self, kind: str, match: re.Match[str]) -> str:
        return self.stand_in(kind, match[0])

    def frame(self, text: str) -> str:
        """A line of a stack, in which no name of a process is."""
        for kind, form in _FORMS:
            text = form.sub(functools.partial(self._matched, kind), text)
        return text

    def value(self, column: Column, value: Any) -> Any:
        """A cell; what cannot be told from an address is not known."""
        if value is None:
            return None
        if column.name in _COLUMNS:
            return self.stand_in(_COLUMNS[column.name], value) if value else value
        match column.kind:
            case "str":
                kept = column.name in _OF_THE_KERNEL
                return self.frame(value) if kept else self.text(str(value))
            case "stack":
                return [self.frame(frame) for frame in value]
            case "list":
                return [self.text(word) for word in value]
            case "hex":
                return None if value >= _ADDRESS else value
            case "row" | "rows":
                return None
        return value


def _columns_of(listing: Listing) -> Iterator[tuple[Column, tuple[Any, ...]]]:
    if listing.rows:
        yield from zip(listing.columns, zip(*listing.rows, strict=True), strict=True)


def _section(names: _Names, section: Section) -> Section:
    def texts(each: Iterable[str]) -> list[str]:
        return [names.text(text) for text in each]

    return dataclasses.replace(
        section,
        commands=texts(section.commands),
        findings=texts(section.findings),
        words=texts(section.words),
        facts=[(fact, names.text(value)) for fact, value in section.facts],
        listings=[_listing(names, listing) for listing in section.listings],
        pictures=[_picture(names, picture) for picture in section.pictures],
        calls=None if section.calls is None else _calls(names, section.calls),
        unread=texts(section.unread),
    )


def _listing(names: _Names, listing: Listing) -> Listing:
    rows = [
        [
            names.value(column, value)
            for column, value in zip(listing.columns, row, strict=True)
        ]
        for row in listing.rows
    ]
    return dataclasses.replace(listing, caption=names.text(listing.caption), rows=rows)


def _picture(names: _Names, picture: Picture) -> Picture:
    return dataclasses.replace(
        picture,
        title=names.text(picture.title),
        boxes=[
            dataclasses.replace(box, title=names.text(box.title))
            for box in picture.boxes
        ],
        labels=[
            dataclasses.replace(label, text=names.text(label.text))
            for label in picture.labels
        ],
    )


def _calls(names: _Names, tree: CallTree) -> CallTree:
    root = Call(tree.root.name, tree.root.weight)
    # Without recursion: a damaged dump may have stacks of any depth.
    ahead = [(tree.root, root)]
    while ahead:
        call, into = ahead.pop()
        for each in call.calls.values():
            made = Call(names.frame(each.name), each.weight)
            into.calls[made.name] = made
            ahead.append((each, made))
    return dataclasses.replace(tree, root=root)
