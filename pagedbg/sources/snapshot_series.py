# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of many times, one after the other."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pagedbg.analysis.stored_rows import listed
from pagedbg.capture.files import META
from pagedbg.capture.snapshot_directory import NoSnapshot, Snapshot, SnapshotError
from pagedbg.errors import PagedbgError
from pagedbg.schema.snapshot_columns import OWNER_SUMS, STACK_NAMES
from pagedbg.schema.snapshot_meta import SnapshotMeta
from pagedbg.sources.snapshot_selection import (
    narrow,
    narrowed_by,
    refuse_of_blocks,
)
from pagedbg.sources.snapshot_tables import store_together

if TYPE_CHECKING:
    import duckdb

# Files that are open at once: a process may have 1,024.
_TOGETHER = 64


class Listed(NamedTuple):
    """A snapshot that was found: where, what it says, and how large its files are."""

    path: Path
    meta: SnapshotMeta
    size: int


def find_snapshots(paths: Iterable[Path], notes: list[str]) -> list[Listed]:
    """
    Find snapshots, the earliest first, those of an unknown time last.

    :param paths: snapshots, and directories of some
    :param notes: takes a sentence on each that cannot be read
    :raises PagedbgError: if a path is none of these
    """
    found = [each for path in paths for each in _found(path, notes)]
    found.sort(
        key=lambda one: (
            one.meta.taken is None,
            one.meta.taken or "",
            one.meta.kernel.up_ns or 0,
            str(one.path),
        )
    )
    return found


def _found(path: Path, notes: list[str]) -> Iterator[Listed]:
    if not path.is_dir():
        raise PagedbgError(f"{path} is no directory.")
    if (path / META).exists():
        candidates = [path]
    else:
        try:
            candidates = sorted(
                each for each in path.iterdir() if (each / META).exists()
            )
        except OSError as error:
            raise PagedbgError(f"{path} cannot be read: {error.strerror}.") from None
    for each in candidates:
        try:
            with Snapshot(each) as snapshot:
                yield Listed(each, snapshot.meta, snapshot.size)
        except NoSnapshot as error:
            # Beside snapshots there may be captures.
            if each == path:
                notes.append(str(error))
        except SnapshotError as error:
            notes.append(str(error))


def in_boots(found: Sequence[Listed], notes: list[str]) -> list[Listed]:
    """
    Leave out snapshots that do not say of which boot they are and of when in it, and
    all but one of those that are of one time.
    """
    chosen: dict[tuple[str, int], Listed] = {}
    unknown: list[Path] = []
    repeated: list[tuple[Path, Path]] = []
    for each in found:
        boot, up = each.meta.kernel.boot_id, each.meta.kernel.up_ns
        if boot is None or up is None:
            unknown.append(each.path)
        elif (boot, up) in chosen:
            repeated.append((each.path, chosen[boot, up].path))
        else:
            chosen[boot, up] = each
    notes += _left_out(unknown, repeated)
    # Within a boot its own clock is right, whatever the wall's has done.
    boots = dict.fromkeys(boot for boot, _ in chosen)
    place = {boot: i for i, boot in enumerate(boots)}
    return [
        chosen[key] for key in sorted(chosen, key=lambda key: (place[key[0]], key[1]))
    ]


def _left_out(
    unknown: Sequence[Path], repeated: Sequence[tuple[Path, Path]]
) -> Iterator[str]:
    """One sentence on all that are left out for one reason: there may be thousands."""
    if unknown:
        yield (
            f"{unknown[0]} does not say of which boot it is, or when it was:"
            f" it is left out{_others(len(unknown))}."
        )
    if repeated:
        one, same = repeated[0]
        yield (f"{one} is the same as {same}: it is left out{_others(len(repeated))}.")


def _others(count: int) -> str:
    return f", and so are {count - 1:,} others like it" if count > 1 else ""


def store_series(
    db: duckdb.DuckDBPyConnection,
    series: Sequence[Listed],
    keys: Sequence[str],
    args: argparse.Namespace,
    notes: list[str],
) -> list[Listed]:
    """
    Put what the owners of each snapshot sum up to into two tables of a database:
    ``series_held`` has the keys, ``time`` and ``bytes``, and ``series_stacks`` the keys
    and the first of their stacks.

    :param args: which owners are chosen
    :param notes: takes a sentence on each snapshot that is left out
    :return: those that are in it, in the order of ``time``
    """
    refuse_of_blocks(args)
    by = listed(keys)
    within: list[Listed] = []
    for _, same in itertools.groupby(series, lambda one: one.meta.gfp):
        for some in _batches(list(same)):
            wanted = {*keys, *narrowed_by(some[0].meta, args), "stack"}
            for batch in _readable(db, some, wanted, notes):
                narrow(db, "joined", batch[0].meta, args)
                held = (
                    f"SELECT {by}, place + {len(within)} AS time,"
                    " sum(bytes)::BIGINT AS bytes"
                    f" FROM joined GROUP BY {by}, place"
                )
                stacks = (
                    f"SELECT {by}, min(stack) AS first_stack FROM joined GROUP BY {by}"
                )
                for table, select in (("series_held", held), ("series_stacks", stacks)):
                    into = "INSERT INTO" if within else "CREATE OR REPLACE TEMP TABLE"
                    between = "" if within else " AS"
                    db.execute(f"{into} {table}{between} {select}")
                within += batch
    return within


def _batches(series: Sequence[Listed]) -> Iterator[Sequence[Listed]]:
    for at in range(0, len(series), _TOGETHER):
        yield series[at : at + _TOGETHER]


def _readable(
    db: duckdb.DuckDBPyConnection,
    some: Sequence[Listed],
    wanted: set[str],
    notes: list[str],
) -> Iterator[Sequence[Listed]]:
    """
    Have the owners of snapshots with their stacks in a table ``joined``: of all at
    once, or one after the other where one of them cannot be read.

    :param wanted: which columns, beside ``bytes``
    """
    try:
        _join(db, some, wanted)
    except SnapshotError as error:
        if len(some) == 1:
            notes.append(f"{error} It is left out.")
            return
        for each in some:
            yield from _readable(db, [each], wanted, notes)
    else:
        yield some


def _join(
    db: duckdb.DuckDBPyConnection, some: Sequence[Listed], wanted: set[str]
) -> None:
    # Of what nobody asks for there may be more than of the rest.
    wanted = {*wanted, "stack_id", "bytes"}
    with ExitStack() as stack:
        snapshots = [stack.enter_context(Snapshot(each.path)) for each in some]
        for relation, columns in (("owners", OWNER_SUMS), ("stacks", STACK_NAMES)):
            asked = [column for column in columns if column.name in wanted]
            store_together(db, snapshots, relation, asked, f"some_{relation}")
    db.execute(
        "CREATE OR REPLACE TEMP TABLE joined AS SELECT * FROM some_owners"
        " LEFT JOIN some_stacks USING (place, stack_id)"
    )
