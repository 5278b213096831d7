# SPDX-License-Identifier: GPL-2.0-or-later
"""
Putting a day's snapshots together: a file a relation, where each snapshot had its own.

What is new is written under another name, and then has the next number; only then is
removed what it is made of. Whoever is killed in between leaves what readers take for
unfinished or outdated, or know already, and the next compaction removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pagedbg.analysis.stored_rows import add_rows, create_table
from pagedbg.capture.files import META, Folder
from pagedbg.capture.lake import INDEX, Alone, Compacted, Day, Lake, remove_left_of
from pagedbg.capture.snapshot_directory import parquet_name
from pagedbg.errors import PagedbgError
from pagedbg.progress import measured
from pagedbg.schema.fleet_columns import LAKE_SNAPSHOTS
from pagedbg.schema.table import Table
from pagedbg.sources.lake_checking import checked
from pagedbg.sources.lake_index import index_row

if TYPE_CHECKING:
    import duckdb

_UNFINISHED = ".compacted=*.new"
_GOING = ".snapshot=*.old"


def compact_day(
    db: duckdb.DuckDBPyConnection, lake: Lake, date: str, notes: list[str]
) -> int:
    """
    Put the snapshots of a day together, and remove what others have left who were
    killed while they did, or added one.

    :param notes: takes a sentence on each that is damaged, which stays as it is
    :return: how many snapshots stand no longer alone
    :raises PagedbgError: if somebody else does, or it cannot be done
    """
    import duckdb

    path = lake.path / f"date={date}"
    try:
        with _locked(path):
            # Somebody else may have been here since it was looked at.
            (day,) = [each for each in lake.days([]) if each.date == date]
            known, alone = _standing_alone(db, lake, day, notes)
            if alone:
                _write(db, day, alone)
            _clean_up(day, bool(alone), [*known, *alone])
    except duckdb.Error as error:
        said = str(error).partition("\n")[0].rstrip(".")
        raise PagedbgError(f"{path} cannot be compacted: {said}.") from None
    except OSError as error:
        raise PagedbgError(
            f"{path} cannot be compacted: {error.strerror or error}."
        ) from None
    return len(alone)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Be the only one who compacts a day."""
    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise PagedbgError(f"{path} is being compacted by another.") from None
    except OSError:
        os.close(held)
        raise
    try:
        yield
    finally:
        os.close(held)


def _standing_alone(
    db: duckdb.DuckDBPyConnection, lake: Lake, day: Day, notes: list[str]
) -> tuple[list[Alone], list[Alone]]:
    """What is compacted and stands alone all the same, and what has to be compacted."""
    numbers: set[int] = set()
    if day.compacted is not None:
        answer = db.execute(
            "SELECT snapshot FROM read_parquet(?, hive_partitioning = false)",
            [str(day.compacted.file(INDEX))],
        )
        numbers = {number for (number,) in answer.fetchall()}
    known: list[Alone] = []
    new: list[Alone] = []
    for each in lake.alone(day, notes):
        (known if each.number in numbers else new).append(each)
    whole = []
    with measured(f"reading {day.date}", len(new), "snapshots") as done:
        for each, damage in checked(db, new):
            if damage is None:
                whole.append(each)
            else:
                notes.append(f"{damage}: it stays as it is.")
            done(1)
    return known, whole


def _write(db: duckdb.DuckDBPyConnection, day: Day, alone: Sequence[Alone]) -> None:
    """Write what is compacted of a day anew, with what is not yet."""
    before = day.compacted
    number = int(before.path.name.partition("=")[2]) + 1 if before else 1
    to = day.path / f"compacted={number}"
    new = to.with_name(f".{to.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    _write_index(db, before, alone, new)
    relations = {relation for each in alone for relation in each.meta.relations}
    relations |= set(before.relations if before else ())
    with measured(f"writing {day.date}", len(relations)) as done:
        for relation in sorted(relations):
            _write_relation(db, before, alone, relation, new)
            done(1)
    with Folder(new) as folder:
        for name in folder.names():
            with folder.opened(name) as file:
                os.fsync(file)
        folder.sync()
    new.rename(to)
    with Folder(day.path) as parent:
        parent.sync()


def _write_index(
    db: duckdb.DuckDBPyConnection,
    before: Compacted | None,
    alone: Sequence[Alone],
    new: Path,
) -> None:
    """The list of snapshots, with what ``meta.json`` of each has said."""
    create_table(db, "members", LAKE_SNAPSHOTS)
    add_rows(db, "members", Table.of(LAKE_SNAPSHOTS, list(map(index_row, alone))))
    db.execute("CREATE OR REPLACE TEMP TABLE metas (snapshot BIGINT, meta VARCHAR)")
    db.execute(
        "INSERT INTO metas SELECT unnest(?::BIGINT[]), unnest(?::VARCHAR[])",
        [
            [each.number for each in alone],
            [(each.path / META).read_text(encoding="utf-8") for each in alone],
        ],
    )
    select = "SELECT * FROM members JOIN metas USING (snapshot)"
    _copy(db, select, {}, before, INDEX, new, "host, taken")


def _write_relation(
    db: duckdb.DuckDBPyConnection,
    before: Compacted | None,
    alone: Sequence[Alone],
    relation: str,
    new: Path,
) -> None:
    """
    The rows that all snapshots have of a relation, with their numbers; of a stack one.
    """
    files = {
        str(each.path / parquet_name(relation)): each.number
        for each in alone
        if relation in each.meta.relations
    }
    if not files:
        assert before is not None
        shutil.copyfile(before.file(relation), new / parquet_name(relation))
        return
    db.execute("CREATE OR REPLACE TEMP TABLE files (file VARCHAR, snapshot BIGINT)")
    db.execute(
        "INSERT INTO files SELECT unnest(?::VARCHAR[]), unnest(?::BIGINT[])",
        [list(files), list(files.values())],
    )
    select = (
        "SELECT rows.* EXCLUDE (filename), files.snapshot FROM read_parquet($files,"
        " hive_partitioning = false, filename = true, union_by_name = true) AS rows"
        " JOIN files ON files.file = rows.filename"
    )
    _copy(db, select, {"files": list(files)}, before, relation, new, "snapshot")


def _copy(
    db: duckdb.DuckDBPyConnection,
    select: str,
    parameters: dict[str, object],
    before: Compacted | None,
    relation: str,
    new: Path,
    order: str,
) -> None:
    if before is not None and before.file(relation).exists():
        select += (
            " UNION ALL BY NAME SELECT * FROM"
            " read_parquet($before, hive_partitioning = false)"
        )
        parameters = {**parameters, "before": str(before.file(relation))}
    if relation == "stacks":
        select, order = f"SELECT DISTINCT ON (stack_id) * FROM ({select})", "stack_id"
    to = str(new / parquet_name(relation)).replace("'", "''")
    db.execute(
        f"COPY (FROM ({select}) ORDER BY {order}) TO '{to}'"
        " (FORMAT parquet, COMPRESSION zstd)",
        parameters,
    )


def _clean_up(day: Day, written: bool, alone: Sequence[Alone]) -> None:
    """Remove what is compacted by now, and what those have left who were killed."""
    outdated = list(day.outdated)
    if written and day.compacted is not None:
        outdated.append(day.compacted.path)
    for each in alone:
        going = each.path.with_name(f".{each.path.name}.old")
        each.path.rename(going)
    for path in outdated:
        shutil.rmtree(path)
    for path in day.path.glob(_UNFINISHED):
        shutil.rmtree(path)
    for _, host in day.hosts:
        for path in host.glob(_GOING):
            shutil.rmtree(path)
        remove_left_of(host)
        with contextlib.suppress(OSError):
            # Where there are others still, or new ones.
            host.rmdir()
