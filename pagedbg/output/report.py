# SPDX-License-Identifier: GPL-2.0-or-later
"""A report on a machine's memory as what it says, whatever draws it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pagedbg.output.call_tree import CallTree
from pagedbg.schema.picture import Picture
from pagedbg.schema.table import Column, Row

__all__ = ("Listing", "MemoryReport", "Section")


@dataclasses.dataclass(frozen=True)
class Listing:
    """
    The rows of a table, all of them there, under a caption. ``folded`` is whether they
    are seen only when somebody asks.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    folded: bool = False


@dataclasses.dataclass(frozen=True)
class Section:
    """
    One question and its answer: sentences, names with what they are, tables, pictures
    and a tree of calls.
    ``findings`` are what stands of it at the top of the report, ``commands`` give the
    same figures at the prompt, ``method`` says how they are computed, and ``unread``
    what could not be read or has to be kept in mind.
    """

    name: str
    heading: str
    method: str
    commands: Sequence[str] = ()
    findings: Sequence[str] = ()
    words: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    listings: Sequence[Listing] = ()
    pictures: Sequence[Picture] = ()
    calls: CallTree | None = None
    unread: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class MemoryReport:
    """A report: ``made`` says when and by what."""

    title: str
    made: str
    sections: Sequence[Section]
