# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands that ask a kernel answer where a snapshot is open in its place."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from pagedbg.analysis.grouping import page_amounts
from pagedbg.analysis.pageblock_sums import POLLUTED
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.printable import printable
from pagedbg.schema.block_columns import (
    BLOCK_KEYS,
    BLOCK_SUMS,
    BLOCKS,
    KEPT_BLOCKS,
    STACKS,
)
from pagedbg.schema.columns import MIGRATETYPE, SchemaColumn
from pagedbg.schema.explanation_columns import FAILURES
from pagedbg.schema.filter_words import named, parse_kinds
from pagedbg.schema.kernel_columns import KERNEL
from pagedbg.schema.memory_columns import (
    HEALTH,
    LARGEST,
    MEMORY,
    POOLS,
    SLAB_SUMS,
    UNACCOUNTED,
)
from pagedbg.schema.page_columns import KEPT_PAGES
from pagedbg.schema.pageblock_columns import PAGEBLOCKS
from pagedbg.schema.snapshot_columns import OWNER_KEYS
from pagedbg.schema.table import Column, Row, Table
from pagedbg.schema.zone_columns import FREE_AREAS, ZONES
from pagedbg.shell.table_options import (
    more_rows,
    parse_sort,
    refuse_no_stack,
    without,
    without_stacks,
)
from pagedbg.sources.page_address import parse_range
from pagedbg.sources.snapshot_pages import USES, store_pages
from pagedbg.sources.snapshot_selection import (
    distinct,
    in_mask,
    is_of_blocks,
    keep,
    store_blocks,
    store_owners,
)
from pagedbg.sources.snapshot_tables import SelectedRows, kept_rows, store

if TYPE_CHECKING:
    import duckdb

    from pagedbg.capture.snapshot_directory import Snapshot
    from pagedbg.session import Session

_SECTIONS: dict[str, tuple[str, Sequence[SchemaColumn]]] = {
    "kinds": ("memory", MEMORY),
    "unaccounted": ("unaccounted", UNACCOUNTED),
    "pools": ("pools", POOLS),
    "largest": ("largest", LARGEST),
    "health": ("health", HEALTH),
    "objects": ("slab_sums", SLAB_SUMS),
}

LAST_PFN = (1 << 52) - 1
"""No page frame number has more bits."""

_KEYS_OF_BLOCKS = frozenset(
    {column.name for column in BLOCK_KEYS}
    & {*(column.name for column in (*KEPT_BLOCKS, *STACKS)), *USES}
)


def answer(session: Session, name: str, args: argparse.Namespace) -> Table:
    """
    Return the table that a command gives.

    :param name: of the command
    :param args: of its parser
    :raises PagedbgError: if the snapshot does not hold what it says
    """
    snapshot = session.snapshot
    assert snapshot is not None
    if name not in ANSWERS:
        raise _not_held(
            f"what {name} says",
            f"what it holds answers {', '.join(ANSWERS)}, map, sql and diff",
        )
    return ANSWERS[name](session, snapshot, args)


def _not_held(what: str, instead: str) -> PagedbgError:
    return PagedbgError(f"a snapshot does not hold {what}: {instead}.")


def _refuse(args: argparse.Namespace, names: Collection[str], instead: str) -> None:
    for name in names:
        if getattr(args, name) not in (None, False, []):
            raise _not_held(f"what --{name} asks for", instead)


def _table(
    session: Session,
    snapshot: Snapshot,
    relation: str,
    columns: Sequence[SchemaColumn],
    args: argparse.Namespace | None = None,
) -> Table:
    """
    All rows of a relation, as the command said them.

    :param args: with ``--sort`` and ``--top``, if the command has these
    """
    db = session.db.cursor()
    if args is None or not (args.sort or args.top):
        rows = kept_rows(db, snapshot, relation, columns)
        return Table.of(columns, rows, notes=list(snapshot.meta.notes))
    store(db, snapshot, relation, columns, "kept")
    return _selected(db, snapshot, columns, _same(columns), "kept", args)


def _same(columns: Sequence[Column]) -> dict[str, str]:
    return {each.name: f'"{each.name}"' for each in columns}


def _selected(
    db: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    columns: Sequence[Column],
    made: dict[str, str],
    source: str,
    args: argparse.Namespace,
    *,
    sortable: Sequence[Column] | None = None,
    sort: tuple[str, bool] | None = None,
    ties: Sequence[str] = ("rowid",),
) -> Table:
    """
    The rows of a query, as ``--sort`` and ``--top`` have them.

    :param sortable: the columns that ``--sort`` may name; all, if it is None
    :param sort: what they are sorted by without ``--sort``, if by anything
    :param ties: in SQL, which of equal rows comes first
    """
    sort = parse_sort(args.sort, sortable or columns) or sort
    order = [f'"{sort[0]}" {"DESC" if sort[1] else "ASC"}'] if sort else []
    rows = SelectedRows(db, columns, made, source, [*order, *ties], args.top)
    table = Table(columns, (), notes=list(snapshot.meta.notes))

    def batches() -> Iterator[Sequence[Row]]:
        yield from rows
        if rows.left:
            table.notes.append(more_rows(rows.left))

    table.batches = batches()
    return table


# ---- a command each ----


def _status(session: Session, snapshot: Snapshot, args: argparse.Namespace) -> Table:
    table = _table(session, snapshot, "kernel", KERNEL)
    meta = snapshot.meta
    size = meta.kernel.pages * meta.kernel.page_size / 2**20
    held = ", ".join(f"{rows:,} {name}" for name, rows in meta.relations.items())
    lacks = "; ".join(f"{name} ({why})" for name, why in meta.missing.items())
    lines = {
        "snapshot": f"{snapshot.path}, of {meta.source} at {meta.taken or '?'}",
        "kernel": f"Linux {meta.kernel.release}, {meta.kernel.machine or '?'}, on"
        f" {meta.kernel.host or '?'}",
        "memory": f"{size:,.0f} MiB in {meta.kernel.pages:,} pages of"
        f" {meta.kernel.page_size // 1024} KiB",
        "holds": held,
        "lacks": lacks or "nothing that it could have",
    }
    width = max(map(len, lines))
    table.text = [f"{name + ':':{width + 1}} {said}" for name, said in lines.items()]
    return table


def _zones(session: Session, snapshot: Snapshot, args: argparse.Namespace) -> Table:
    return _table(session, snapshot, "zones", ZONES)


def _free(session: Session, snapshot: Snapshot, args: argparse.Namespace) -> Table:
    if args.by:
        return _table(session, snapshot, "free_areas", FREE_AREAS)
    columns = [column for column in FREE_AREAS if column is not MIGRATETYPE]
    return _table(session, snapshot, "free", columns)


def _explain(session: Session, snapshot: Snapshot, args: argparse.Namespace) -> Table:
    if args.what:
        raise _not_held(
            "the log and the lists of free blocks that this takes apart",
            "explain alone lists what failed, and zones and free --by migratetype say"
            " what was free",
        )
    return _table(session, snapshot, "failures", FAILURES)


def _memory(session: Session, snapshot: Snapshot, args: argparse.Namespace) -> Table:
    _refuse(
        args,
        (
            *("by", "orders", "gfp", "migratetype", "zone", "node", "pid", "comm"),
            *("stack", "module", "age", "pfns", "kind", "memcg", "unaccounted"),
        ),
        "it has sums by kind, and owners has what is on record by more",
    )
    section = args.section or "kinds"
    if section not in _SECTIONS:
        raise _not_held(
            f"the section {section}", f"it has the sections {', '.join(_SECTIONS)}"
        )
    relation, columns = _SECTIONS[section]
    return _table(session, snapshot, relation, columns, args)


def _blocks(session: Session, snapshot: Snapshot, args: argparse.Namespace) -> Table:
    _refuse(
        args,
        ("by", "pinned", "size", "pfns"),
        "it has a row a pageblock; ask a dump, or the kernel",
    )
    db = session.db.cursor()
    store(db, snapshot, "pageblocks", PAGEBLOCKS, "kept")
    if args.zone:
        zones = [zone for zone in distinct(db, "kept", "zone") if zone is not None]
        wanted = named("--zone", lambda: parse_kinds(args.zone, zones, "zone"))
        keep(db, "kept", "zone", wanted)
    if args.node:
        keep(db, "kept", "node", in_mask(args.node.mask))
    if args.polluted:
        db.execute(f"DELETE FROM kept WHERE NOT ({POLLUTED})")
    made = _same(PAGEBLOCKS)
    table = _selected(
        db, snapshot, PAGEBLOCKS, made, "kept", args, sortable=PAGEBLOCKS[:-1]
    )
    table.empty = "No pageblock matches."
    return table


def _owners(session: Session, snapshot: Snapshot, args: argparse.Namespace) -> Table:
    if args.state != "allocated":
        raise _not_held("what was freed", "leave --state out")
    if not args.by:
        return _block_rows(session, snapshot, args)
    refuse_no_stack(args)
    db = session.db.cursor()
    by_uses = snapshot.has("pages") and not set(args.by) <= set(OWNER_KEYS)
    if "pid" in args.by or is_of_blocks(args) or by_uses:
        keys, source = _KEYS_OF_BLOCKS, store_blocks
    else:
        keys, source = frozenset(OWNER_KEYS), store_owners
    unknown = [name for name in args.by if name not in keys]
    if unknown:
        held = ", ".join(column.name for column in BLOCK_KEYS if column.name in keys)
        raise _not_held(f"sums by {', '.join(unknown)}", f"it has {held}")
    if source is store_blocks:
        _check_full(snapshot)
    source(db, snapshot, args, "chosen")
    kernel = snapshot.meta.kernel
    ((blocks, pages),) = db.execute(
        "SELECT coalesce(sum(blocks), 0)::BIGINT, coalesce(sum(pages), 0)::BIGINT"
        " FROM chosen"
    ).fetchall()
    share = 100 * pages / max(kernel.pages, 1)
    total = f"Total: {blocks:,} blocks, {pages:,} pages, {share:.1f}% of RAM."
    sums = page_amounts(kernel.page_size, kernel.pages).columns
    known = {column.name: column for column in BLOCK_KEYS}
    columns = [*(known[name] for name in args.by), *BLOCK_SUMS]
    # What is on record without a stack has an empty one.
    values = {
        name: f'coalesce("{name}", [])' if name == "stack" else f'"{name}"'
        for name in args.by
    }
    made = ", ".join(
        f'{sql} AS "{name}"' for name, sql in (*values.items(), *sums.items())
    )
    table = _selected(
        db,
        snapshot,
        columns,
        _same(columns),
        f"(SELECT {made} FROM chosen GROUP BY {', '.join(values.values())})",
        args,
        sort=("pages", True),
        ties=[f'"{name}"' for name in args.by],
    )
    table.empty = "No block on record matches."
    table.closing.append(total)
    return table


def _check_full(snapshot: Snapshot) -> None:
    if not snapshot.has("blocks"):
        raise _not_held(
            "single blocks",
            "snapshot save --full keeps them; owners --by has sums",
        )


def _block_rows(
    session: Session, snapshot: Snapshot, args: argparse.Namespace
) -> Table:
    _check_full(snapshot)
    db = session.db.cursor()
    store_blocks(db, snapshot, args, "chosen")
    columns: list[Column] = [
        *(without_stacks(BLOCKS) if args.no_stack else BLOCKS),
    ]
    made = {**_same(columns), "stack": "coalesce(stack, [])"}
    sortable = without(columns, "stack")
    table = _selected(db, snapshot, columns, made, "chosen", args, sortable=sortable)
    table.empty = "No block on record matches."
    return table


def _stacks(session: Session, snapshot: Snapshot, args: argparse.Namespace) -> Table:
    _check_full(snapshot)
    db = session.db.cursor()
    rows = kept_rows(db, snapshot, "handles", STACKS)
    if args.handles:
        of = {row[0]: row for row in rows}
        lost = [f"{handle:#x}" for handle in args.handles if handle not in of]
        if lost:
            raise _not_held(f"a stack {', '.join(lost)}", "stacks lists those it has")
        rows = [of[handle] for handle in args.handles]
    return Table.of(STACKS, rows, notes=list(snapshot.meta.notes))


def _inspect(session: Session, snapshot: Snapshot, args: argparse.Namespace) -> Table:
    if args.what != "pfn" or args.drgn:
        raise _not_held("addresses", "inspect pfn takes the number of a page frame")
    if not snapshot.has("pages"):
        raise _not_held("single pages", "snapshot save --full keeps them")
    if len(args.where) != 1:
        raise UsageError("after pfn comes one number or range")
    start, end, single = parse_range(args.where[0])
    db = session.db.cursor()
    store_pages(db, snapshot, min(start, LAST_PFN), min(end, LAST_PFN), "chosen")
    made = {**_same(KEPT_PAGES), "stack": "coalesce(stack, [])"}
    rows = list(SelectedRows(db, KEPT_PAGES, made, "chosen", ["pfn"]))
    lacks = (
        "A snapshot does not hold flags and references of pages, nor what is on record"
        " of those that were freed."
    )
    table = Table(KEPT_PAGES, rows, notes=[*snapshot.meta.notes, lacks])
    table.empty = "There is no memory."
    if single:
        if not rows:
            raise PagedbgError(
                f"there is no page to show at page frame {start:#x}: the snapshot has"
                " no memory there."
            )
        ((row,),) = rows
        table.text = _record(row)
    return table


def _record(row: Row) -> Iterator[str]:
    """The lines of one page: what is known of it."""
    values = dict(zip((column.name for column in KEPT_PAGES), row, strict=True))
    stack = values.pop("stack")
    yield f"page frame {values['pfn']:#x} ({values['pfn']})"
    for name, value in values.items():
        if value is not None:
            yield f"  {name:{max(map(len, values))}}  {printable(str(value))}"
    yield from (f"    {printable(frame)}" for frame in stack)


ANSWERS: dict[str, Callable[[Session, Snapshot, argparse.Namespace], Table]] = {
    "status": _status,
    "memory": _memory,
    "owners": _owners,
    "stacks": _stacks,
    "blocks": _blocks,
    "pageblocks": _blocks,
    "zones": _zones,
    "free": _free,
    "explain": _explain,
    "inspect": _inspect,
}
"""Who answers for a command."""
