# SPDX-License-Identifier: GPL-2.0-or-later
"""
A report without names of processes, paths, hosts and addresses. The same name has the
same stand-in throughout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pagedbg.analysis.stand_ins import StandIns
from pagedbg.output.call_tree import Call, CallTree
from pagedbg.output.report import Listing, MemoryReport, Section
from pagedbg.schema.picture import Picture
from pagedbg.schema.table import Column

__all__ = ("redacted",)


def redacted(report: MemoryReport, known: Mapping[str, Iterable[str]]) -> MemoryReport:
    """
    Return a report with stand-ins for names.

    :param known: names that may be in sentences, beside those in the tables, by what
        they are: ``process``, ``host``
    """
    names = StandIns()
    names.learn_all(known)
    for section in report.sections:
        for listing in section.listings:
            for column, values in _columns_of(listing):
                names.learn_column(column, values)
    return dataclasses.replace(
        report,
        title=names.text(report.title),
        sections=[_section(names, section) for section in report.sections],
    )


def _columns_of(listing: Listing) -> Iterator[tuple[Column, tuple[Any, ...]]]:
    if listing.rows:
        yield from zip(listing.columns, zip(*listing.rows, strict=True), strict=True)


def _section(names: StandIns, section: Section) -> Section:
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


def _listing(names: StandIns, listing: Listing) -> Listing:
    rows = [
        [
            names.value(column, value)
            for column, value in zip(listing.columns, row, strict=True)
        ]
        for row in listing.rows
    ]
    return dataclasses.replace(listing, caption=names.text(listing.caption), rows=rows)


def _picture(names: StandIns, picture: Picture) -> Picture:
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


def _calls(names: StandIns, tree: CallTree) -> CallTree:
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
