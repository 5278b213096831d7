# SPDX-License-Identifier: GPL-2.0-or-later
"""
Events a member at a time, as sealed segments have them: one of a kind beside the other.
Who asks for a few members of all events looks at no more memory than these take.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.schema.event_record import RECORD, taken

# Records that are looked at together: a CPU's cache holds them while they are copied.
_BLOCK = 4096

# Two words of text are two columns.
_WORDS = ("comm", "owner_comm")

COLUMNS = {
    column: RECORD[name].base
    for name in RECORD.names or ()
    if name != "check"
    for column in ((f"{name}_0", f"{name}_1") if name in _WORDS else (name,))
}
"""The types of the columns that events are kept in, by their names."""


def columns_for(members: Collection[str]) -> list[str]:
    """The columns that members are kept in, of all for none."""
    return [
        column
        for column in COLUMNS
        if not members or column.rpartition("_")[0] in members or column in members
    ]


def in_columns(
    records: NDArray[Any], order: NDArray[np.intp]
) -> dict[str, NDArray[Any]]:
    """All columns of records, in another order."""
    columns = {name: np.empty(len(order), dtype) for name, dtype in COLUMNS.items()}
    for part in _blocks(len(order)):
        block = taken(records, order[part])
        for name, column in columns.items():
            column[part] = _column(block, name)
    return columns


class Members:
    """Some members of events; ``columns`` has them by their names."""

    def __init__(self, columns: dict[str, NDArray[Any]]) -> None:
        self.columns = columns

    @classmethod
    def of(cls, records: NDArray[Any], members: Collection[str] = ()) -> Members:
        """Those of an array of records, all for none."""
        return cls({name: _column(records, name) for name in columns_for(members)})

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def take(self, which: NDArray[Any]) -> Members:
        """Those of some events, by their indices or by a mask."""
        return Members({name: column[which] for name, column in self.columns.items()})

    def behind(self, records: NDArray[Any]) -> Members:
        """The same of these events, behind those of some records."""
        if not len(records):
            return self
        return Members(
            {
                name: np.concatenate((_column(records, name), column))
                for name, column in self.columns.items()
            }
        )

    def records(self, which: NDArray[Any] | None = None) -> NDArray[Any]:
        """
        Some events, all for none, as an array of
        :data:`pagedbg.schema.event_record.RECORD`, in which the other members are 0.
        """
        columns = self.columns if which is None else self.take(which).columns
        found = np.zeros(len(next(iter(columns.values()))), RECORD)
        for part in _blocks(len(found)):
            for name, column in columns.items():
                _column(found[part], name)[:] = column[part]
        return found


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))


def _column(records: NDArray[Any], name: str) -> NDArray[Any]:
    """The member, or the word of one, that a column is."""
    member, _, word = name.rpartition("_")
    found: NDArray[Any] = (
        records[member][:, int(word)] if member in _WORDS else records[name]
    )
    return found
