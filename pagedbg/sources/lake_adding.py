# SPDX-License-Identifier: GPL-2.0-or-later
"""Putting snapshots into a lake: each whole or not at all, and none over another."""

from __future__ import annotations

import datetime
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pagedbg.capture.files import META, Folder
from pagedbg.capture.lake import Lake, day_of, place_of, read_number, remove_left_of
from pagedbg.capture.snapshot_directory import Snapshot, parquet_name
from pagedbg.errors import PagedbgError
from pagedbg.sources.lake_checking import ASKED
from pagedbg.sources.lake_index import TABLE
from pagedbg.sources.snapshot_saving import new_directory
from pagedbg.sources.snapshot_series import Listed
from pagedbg.sources.snapshot_tables import check_rows

if TYPE_CHECKING:
    import duckdb

# How far ahead of ours the clock of a host may be.
_AHEAD = datetime.timedelta(hours=1)


class Known(NamedTuple):
    """What a lake knows already: numbers of snapshots, and of each host its ids."""

    numbers: set[int]
    hosts: dict[str, set[str]]


def known_of(db: duckdb.DuckDBPyConnection) -> Known:
    """What is known once a lake is indexed."""
    numbers = {
        number for (number,) in db.execute(f"SELECT snapshot FROM {TABLE}").fetchall()
    }
    hosts: dict[str, set[str]] = {}
    for host, host_id in db.execute(
        f"SELECT DISTINCT host, host_id FROM {TABLE} WHERE host_id IS NOT NULL"
    ).fetchall():
        hosts.setdefault(host, set()).add(host_id)
    return Known(numbers, hosts)


def add_snapshot(
    db: duckdb.DuckDBPyConnection,
    lake: Lake,
    found: Listed,
    known: Known,
    called: Path,
) -> bool:
    """
    Put a snapshot into a lake, and into what is known of it.

    :param called: the path by which people know it
    :return: False if it is in it already
    :raises PagedbgError: if it does not go into one, or is damaged
    """
    meta, path = found.meta, found.path
    number = read_number(path)
    if number in known.numbers:
        return False
    date, host = day_of(meta.taken), meta.kernel.host
    if date is None or host is None:
        raise PagedbgError(
            f"{called} does not say {'when' if date is None else 'of which host'} it is"
            " of, and can be in no lake."
        )
    _check_clock(called, meta.taken or "")
    ids = known.hosts.setdefault(host, set())
    if meta.kernel.host_id is not None and ids - {meta.kernel.host_id}:
        raise PagedbgError(
            f"{called} is of another machine that is called {host}, too: give one of"
            " them another name."
        )
    try:
        place = lake.path / place_of(date, host, number)
    except PagedbgError as error:
        raise PagedbgError(f"{called} is of {error}") from None
    for parent in (place.parent.parent, place.parent):
        _make(parent)
    _remove_left(place.parent)
    with new_directory(place) as folder:
        _copy(path, folder, (META, *map(parquet_name, meta.relations)))
        if read_number(folder.path) != number:
            raise PagedbgError(f"{called} has changed while it was copied: try again.")
        with Snapshot(folder.path) as copied:
            for relation in meta.relations:
                check_rows(db, [copied], relation, ASKED.get(relation, ()), called)
    known.numbers.add(number)
    if meta.kernel.host_id is not None:
        ids.add(meta.kernel.host_id)
    return True


def _check_clock(path: Path, taken: str) -> None:
    ahead = datetime.datetime.fromisoformat(taken) - datetime.datetime.now(datetime.UTC)
    if ahead > _AHEAD:
        raise PagedbgError(
            f"{path} says that it is of {taken}, which has not come yet: the clock of"
            " its host is wrong, or that of this one."
        )


def _remove_left(host: Path) -> None:
    try:
        remove_left_of(host)
    except OSError as error:
        raise PagedbgError(
            f"what a killed fleet add has left in {host} cannot be removed:"
            f" {error.strerror or error}."
        ) from None


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        return
    except OSError as error:
        raise PagedbgError(
            f"{directory} cannot be made: {error.strerror or error}."
        ) from None
    with Folder(directory.parent) as parent:
        parent.sync()


def _copy(path: Path, folder: Folder, names: tuple[str, ...]) -> None:
    """:raises PagedbgError: if a file cannot be read"""
    with Folder(path) as source:
        for name in names:
            try:
                read = source.open(name)
            except OSError as error:
                raise PagedbgError(
                    f"{path} lacks {name}: {error.strerror or error}. Was it copied in"
                    " part?"
                ) from None
            with (
                os.fdopen(read, "rb") as old,
                os.fdopen(
                    folder.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb"
                ) as new,
            ):
                shutil.copyfileobj(old, new, 1 << 20)
                new.flush()
                os.fsync(new.fileno())
