# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands answer, for a report: their tables, and why some cannot be had."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from pagedbg.output.report import Listing
from pagedbg.schema.picture import Picture
from pagedbg.schema.table import Column, Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import NAMESPACE
from pagedbg.shell.failures import explain
from pagedbg.shell.registry import command_of

__all__ = ("Answer", "Answers", "listing")


@dataclasses.dataclass(frozen=True)
class Answer:
    """
    The rows of a command's table, with the sentences below them; ``parts`` are the
    tables that text has below it, each with its heading.
    """

    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str]
    closing: Sequence[str]
    parts: Sequence[tuple[str, Answer]] = ()

    @classmethod
    def of(cls, table: Table) -> Answer:
        """Take all rows of a table."""
        rows = [row for batch in table.batches for row in batch]
        # Notes may be added until the last row is taken.
        parts = [(heading, cls.of(part)) for heading, part in table.sections]
        return cls(table.columns, rows, table.notes, table.closing, parts)

    @property
    def named(self) -> Iterator[dict[str, Any]]:
        """Each row by the names of columns."""
        names = [column.name for column in self.columns]
        return (dict(zip(names, row, strict=True)) for row in self.rows)


class Answers:
    """
    Runs the commands of a report. ``failed`` are sentences on those that could not be
    run, and on what broke; each stands in the section that has asked, too.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.failed: list[str] = []

    def ask(self, words: Sequence[str], unread: list[str]) -> Answer | None:
        """
        Run a command.

        :param words: its name and options
        :param unread: where to say what it could not read, or why it cannot be run
        """
        try:
            answer = Answer.of(self._table(words))
        except Exception as error:
            self._fail(error, unread)
            return None
        unread += answer.notes
        return answer

    def picture(self, words: Sequence[str], unread: list[str]) -> Picture | None:
        """Run a command for its picture; as :meth:`ask`."""
        try:
            table = self._table(words)
            assert table.picture is not None
            picture = table.picture()
        except Exception as error:
            self._fail(error, unread)
            return None
        unread += table.notes
        return picture

    def _table(self, words: Sequence[str]) -> Table:
        name = command_of(words)
        found = NAMESPACE.get(name)
        args = found.parser.parse_line(list(words[len(name.split()) :]))
        return found.table_of(self.session, args)

    def _fail(self, error: Exception, unread: list[str]) -> None:
        sentence = str(explain(error))
        unread.append(sentence)
        if sentence not in self.failed:
            self.failed.append(sentence)


def listing(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    top: int | None = None,
    last: int | None = None,
    folded: bool = False,
) -> Listing:
    """
    The first of some rows, or the last, without columns that say nothing of any; the
    caption says how many rows there are.
    """
    shown = rows[:top] if last is None else rows[-last:]
    if len(shown) < len(rows):
        caption = f"{caption}, {len(shown)} of {len(rows):,}"
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in shown)]
    return Listing(
        caption,
        [columns[i] for i in kept],
        [[row[i] for i in kept] for row in shown],
        folded,
    )
