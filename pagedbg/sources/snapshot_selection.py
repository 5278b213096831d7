# SPDX-License-Identifier: GPL-2.0-or-later
"""What the filters of a command line choose among the sums of a snapshot."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pagedbg.capture.snapshot_directory import Snapshot, SnapshotError
from pagedbg.errors import UsageError
from pagedbg.schema.block_columns import KEPT_BLOCKS, STACKS
from pagedbg.schema.filter_words import named, parse_names
from pagedbg.schema.flag_words import parse_flags
from pagedbg.schema.snapshot_columns import OWNER_SUMS, STACK_NAMES
from pagedbg.sources.snapshot_pages import USES, add_uses
from pagedbg.sources.snapshot_tables import store

if TYPE_CHECKING:
    import duckdb

    from pagedbg.schema.snapshot_meta import SnapshotMeta

_Test = Callable[[Any], bool]

# What only a record of one allocation can answer.
_OF_BLOCKS = ("pid", "age", "pfns")


def store_owners(
    db: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    args: argparse.Namespace,
    into: str,
) -> None:
    """
    Put the sums of a snapshot that the filters choose into a table, with their stacks.

    :param args: what :data:`pagedbg.shell.filter_options.FILTERS` have parsed
    :raises SnapshotError: if the snapshot lacks them, or they are damaged
    :raises UsageError: if a snapshot cannot answer, or a word is unknown
    """
    refuse_of_blocks(args)
    store(db, snapshot, "owners", OWNER_SUMS, "kept_owners")
    store(db, snapshot, "stacks", STACK_NAMES, "kept_stacks")
    db.execute(
        f"CREATE OR REPLACE TEMP TABLE {into} AS"
        " SELECT * FROM kept_owners LEFT JOIN kept_stacks USING (stack_id)"
    )
    narrow(db, into, snapshot.meta, args)


def store_blocks(
    db: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    args: argparse.Namespace,
    into: str,
) -> None:
    """
    Put the blocks of a snapshot that the filters choose into a table, with their
    stacks, and as sums of one block each.

    :param args: what :data:`pagedbg.shell.filter_options.FILTERS` have parsed
    :raises SnapshotError: if the snapshot lacks them, or they are damaged
    :raises UsageError: if a snapshot cannot answer, or a word is unknown
    """
    store(db, snapshot, "blocks", KEPT_BLOCKS, "kept_blocks")
    store(db, snapshot, "handles", STACKS, "kept_handles")
    db.execute(
        f"CREATE OR REPLACE TEMP TABLE {into} AS SELECT *, 1 AS blocks,"
        f" pages * {snapshot.meta.kernel.page_size} AS bytes FROM kept_blocks"
        " LEFT JOIN kept_handles USING (handle) ORDER BY kept_blocks.rowid"
    )
    if args.kind or args.memcg or set(USES) & set(getattr(args, "by", None) or ()):
        add_uses(db, snapshot, into)
    if args.pid:
        chosen = [
            value
            for column in ("pid", "tgid")
            for value in distinct(db, into, column)
            if value is not None and args.pid.mask(np.array([value]))[0]
        ]
        db.execute(
            f"DELETE FROM {into} WHERE NOT coalesce(list_contains($chosen, pid)"
            " OR list_contains($chosen, tgid), false)",
            {"chosen": chosen},
        )
    if args.age:
        now = snapshot.meta.kernel.up_ns
        if now is None:
            raise SnapshotError(f"{snapshot.path} does not say when it is of.")
        db.execute(
            f"DELETE FROM {into} WHERE ts_ns IS NULL OR $now - ts_ns NOT BETWEEN $low"
            " AND $high",
            {"now": now, "low": args.age.low, "high": args.age.high},
        )
    if args.pfns:
        first, end = args.pfns
        db.execute(
            f'DELETE FROM {into} WHERE pfn >= $end OR pfn + (1 << "order") <= $first',
            {"first": first, "end": end},
        )
    narrow(db, into, snapshot.meta, args)


def refuse_of_blocks(args: argparse.Namespace) -> None:
    """
    Refuse what only a single block can answer.

    :raises UsageError: with what to leave out
    """
    for name in _OF_BLOCKS:
        if getattr(args, name):
            raise UsageError(
                f"--{name}: a snapshot has sums, and knows no single allocation; leave"
                f" --{name} out"
            )


def is_of_blocks(args: argparse.Namespace) -> bool:
    """Whether a filter asks what only a single block can answer."""
    return any(getattr(args, name) for name in _OF_BLOCKS)


def narrow(
    db: duckdb.DuckDBPyConnection,
    relation: str,
    meta: SnapshotMeta,
    args: argparse.Namespace,
) -> None:
    """
    Leave those sums in a table that the filters choose; each value is asked for once.

    :param relation: the table, with what a snapshot says of its owners and stacks
    :param args: what :data:`pagedbg.shell.filter_options.FILTERS` have parsed
    :raises UsageError: if a snapshot cannot answer, or a word is unknown
    """
    for column, test in _tests(meta, args):
        keep(db, relation, column, test)


def narrowed_by(meta: SnapshotMeta, args: argparse.Namespace) -> set[str]:
    """
    The columns that :func:`narrow` looks at.

    :raises UsageError: as it does
    """
    return {column for column, _ in _tests(meta, args)}


def keep(
    db: duckdb.DuckDBPyConnection, relation: str, column: str, test: _Test
) -> None:
    """Leave those rows in a table of which a column has a value that passes a test."""
    values = distinct(db, relation, column)
    chosen = [value for value in values if test(value)]
    if len(chosen) == len(values):
        return
    none = "" if None in chosen else f'"{column}" IS NULL OR '
    db.execute(
        f'DELETE FROM {relation} WHERE {none}"{column}" IS NOT NULL'
        f' AND "{column}" NOT IN (SELECT unnest(?))',
        [[value for value in chosen if value is not None]],
    )


def distinct(db: duckdb.DuckDBPyConnection, relation: str, column: str) -> list[Any]:
    """The values that a column has, once each."""
    found = db.execute(f'SELECT DISTINCT "{column}" FROM {relation}').fetchall()
    return [value for (value,) in found]


def _tests(meta: SnapshotMeta, args: argparse.Namespace) -> Iterator[tuple[str, _Test]]:
    """Columns, and what tells which of their values are chosen."""
    if args.orders:
        yield "order", in_mask(lambda order: args.orders.mask(order, order))
    if args.node:
        yield "node", in_mask(args.node.mask)
    if args.gfp:
        wanted = named("--gfp", lambda: parse_flags(meta.gfp, args.gfp))
        yield "gfp_mask", lambda mask: (mask or 0) & wanted == wanted
    for option in ("zone", "migratetype"):
        if typed := getattr(args, option):
            yield option, parse_names(typed, ignore_case=True)
    for option in ("comm", "kind", "memcg", "module"):
        if test := getattr(args, option):
            yield option, test
    if args.stack:
        yield "stack", lambda stack: args.stack(stack or [])


def in_mask(mask: Callable[[Any], Any]) -> _Test:
    """A test of one value, out of one of many."""
    return lambda value: value is not None and bool(mask(np.array([value]))[0])
