# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which snapshots of a lake are damaged: they are read as a whole, many at once, and each
alone where one of these cannot be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pagedbg.capture.lake import Alone
from pagedbg.capture.snapshot_directory import Snapshot, SnapshotError
from pagedbg.sources.snapshot_tables import check_rows

if TYPE_CHECKING:
    import duckdb

# Read at once. Each is a directory and a file that are open; and more are no faster.
_TOGETHER = 64


def checked(
    db: duckdb.DuckDBPyConnection,
    alone: Sequence[Alone],
    relations: Collection[str] | None = None,
) -> Iterator[tuple[Alone, str | None]]:
    """
    Iterate over snapshots, each with what is wrong with it, as a sentence without its
    full stop.

    :param relations: what they have to have, by default what each says that it has
    """
    for start in range(0, len(alone), _TOGETHER):
        yield from _checked(db, alone[start : start + _TOGETHER], relations)


def _checked(
    db: duckdb.DuckDBPyConnection,
    some: Sequence[Alone],
    relations: Collection[str] | None,
) -> Iterator[tuple[Alone, str | None]]:
    try:
        _read(db, some, relations)
    except SnapshotError as error:
        if len(some) == 1:
            yield some[0], str(error).rstrip(".")
            return
        for each in some:
            yield from _checked(db, [each], relations)
    else:
        for each in some:
            yield each, None


def _read(
    db: duckdb.DuckDBPyConnection,
    some: Sequence[Alone],
    relations: Collection[str] | None,
) -> None:
    """:raises SnapshotError: if any is damaged, or lacks something"""
    with ExitStack() as stack:
        snapshots = [stack.enter_context(Snapshot(each.path)) for each in some]
        if relations is not None:
            for relation in relations:
                check_rows(db, snapshots, relation)
            return
        for relation in {name for each in snapshots for name in each.meta.relations}:
            having = [each for each in snapshots if each.has(relation)]
            check_rows(db, having, relation)
