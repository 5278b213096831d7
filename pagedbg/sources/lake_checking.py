# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which snapshots of a lake are damaged: they are read as a whole, many at once, and each
alone where one of these cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pagedbg.capture.lake import Alone
from pagedbg.capture.snapshot_directory import Snapshot, SnapshotError
from pagedbg.schema.snapshot_columns import OWNER_SUMS, STACK_NAMES
from pagedbg.schema.table import Column
from pagedbg.sources.snapshot_tables import check_rows

if TYPE_CHECKING:
    import duckdb

# Read at once. Each is a directory and a file that are open; and more are no faster.
_TOGETHER = 64

ASKED: Mapping[str, Sequence[Column]] = {"owners": OWNER_SUMS, "stacks": STACK_NAMES}
"""What questions of a lake are answered from, with the columns that they know."""


def checked(
    db: duckdb.DuckDBPyConnection,
    alone: Sequence[Alone],
    asked: bool = False,
) -> Iterator[tuple[Alone, str | None]]:
    """
    Iterate over snapshots, each with what is wrong with it, as a sentence without its
    full stop.

    :param asked: whether they need have only what is :data:`ASKED`, by default what
        each says that it has
    """
    for start in range(0, len(alone), _TOGETHER):
        yield from _checked(db, alone[start : start + _TOGETHER], asked)


def _checked(
    db: duckdb.DuckDBPyConnection,
    some: Sequence[Alone],
    asked: bool,
) -> Iterator[tuple[Alone, str | None]]:
    try:
        _read(db, some, asked)
    except SnapshotError as error:
        if len(some) == 1:
            yield some[0], str(error).rstrip(".")
            return
        for each in some:
            yield from _checked(db, [each], asked)
    else:
        for each in some:
            yield each, None


def _read(
    db: duckdb.DuckDBPyConnection,
    some: Sequence[Alone],
    asked: bool,
) -> None:
    """:raises SnapshotError: if any is damaged, or lacks something"""
    with ExitStack() as stack:
        snapshots = [stack.enter_context(Snapshot(each.path)) for each in some]
        if asked:
            for relation, columns in ASKED.items():
                check_rows(db, snapshots, relation, columns)
            return
        for relation in {name for each in snapshots for name in each.meta.relations}:
            having = [each for each in snapshots if each.has(relation)]
            check_rows(db, having, relation, ASKED.get(relation, ()))
