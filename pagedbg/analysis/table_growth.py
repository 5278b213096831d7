# SPDX-License-Identifier: GPL-2.0-or-later
"""By how much the rows of a table have grown since it was first looked at."""

from __future__ import annotations

from collections.abc import Sequence

from pagedbg.errors import UsageError
from pagedbg.schema.table import Row, Table

# Columns that are counted or measured: of these growth can be said.
_AMOUNTS = ("int", "bytes")

# Numbers that name something.
_NUMBERS = ("order", "node", "pid", "tgid", "cpu", "gfp_mask")


class TableGrowth:
    """
    What a table had at first.

    :raises UsageError: if it has nothing that can grow
    """

    def __init__(self, table: Table) -> None:
        amounts = [
            i
            for i, column in enumerate(table.columns)
            if column.kind in _AMOUNTS and column.name not in _NUMBERS
        ]
        if not amounts:
            raise UsageError("--diff: nothing in this table is counted or measured")
        self._amounts = amounts
        self._names = [
            i
            for i, column in enumerate(table.columns)
            if i not in amounts and column.kind not in ("share", "ns")
        ]
        self._first = self._by_name(table)

    def _by_name(self, table: Table) -> dict[tuple[object, ...], Sequence[int]]:
        found: dict[tuple[object, ...], Sequence[int]] = {}
        for row in (row for batch in table.batches for row in batch):
            cells = (row[i] for i in self._names)
            name = tuple(tuple(x) if isinstance(x, list) else x for x in cells)
            found[name] = [row[i] or 0 for i in self._amounts]
        return found

    def since(self, table: Table) -> Table:
        """Return what has changed since, the greatest growth first."""
        now = self._by_name(table)
        none = [0] * len(self._amounts)
        rows: list[tuple[int, Row]] = []
        for name in dict.fromkeys([*now, *self._first]):
            pairs = zip(now.get(name, none), self._first.get(name, none), strict=True)
            grown = [new - old for new, old in pairs]
            if any(grown):
                rows.append((grown[0], (*name, *grown)))
        rows.sort(key=lambda row: -row[0])
        columns = [table.columns[i] for i in (*self._names, *self._amounts)]
        return Table.of(
            columns,
            [row for _, row in rows],
            notes=table.notes,
            empty="Nothing has changed.",
        )
