# SPDX-License-Identifier: GPL-2.0-or-later
"""
A lake: snapshots of many hosts in one directory, which any engine reads.

``date=2026-11-26/host=web1/snapshot=NUMBER/`` is a snapshot as it was saved, and
``date=2026-11-26/compacted=N/`` has a day's snapshots together, a file a relation. Of
these the greatest N is valid: what it has does not count again where it stands alone.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from pagedbg.capture.files import META, Folder
from pagedbg.capture.snapshot_directory import (
    NoSnapshot,
    Snapshot,
    SnapshotError,
    parquet_name,
)
from pagedbg.capture.unfinished import is_left, remove_left
from pagedbg.errors import PagedbgError, few
from pagedbg.schema.snapshot_meta import MOST_BYTES, SnapshotMeta

INDEX = "snapshots"
"""The relation of a compacted day that says which snapshots it has."""

_DATE = re.compile(r"date=(\d{4}-\d\d-\d\d)")
_HOST = re.compile(r"host=([A-Za-z0-9][A-Za-z0-9._-]{0,252})")
_SNAPSHOT = re.compile(r"snapshot=(\d{1,19})")
_UNFINISHED = ".snapshot=*.new"
_COMPACTED = re.compile(r"compacted=(\d{1,9})")


class Alone(NamedTuple):
    """A snapshot that stands in a directory of its own."""

    path: Path
    date: str
    host: str
    number: int
    meta: SnapshotMeta
    size: int


class Compacted(NamedTuple):
    """A day's snapshots in files of their own."""

    path: Path
    date: str

    def file(self, relation: str) -> Path:
        """The file of a relation."""
        return self.path / parquet_name(relation)

    @property
    def relations(self) -> list[str]:
        """What it has, but for the list of its snapshots."""
        found = (each.stem for each in self.path.glob(parquet_name("*")))
        return sorted(each for each in found if each != INDEX)


class Day(NamedTuple):
    """What a lake has of a date."""

    path: Path
    date: str
    compacted: Compacted | None
    outdated: list[Path]
    hosts: list[tuple[str, Path]]


def snapshot_number(meta: bytes) -> int:
    """
    The number of a snapshot, which no other has: a hash of its ``meta.json`` that is no
    less than 0 in 64 bits.
    """
    return int.from_bytes(hashlib.blake2b(meta, digest_size=8).digest(), "big") >> 1


def read_number(snapshot: Path) -> int:
    """
    The number of a snapshot that stands somewhere.

    :raises OSError: if its ``meta.json`` cannot be read
    """
    with Folder(snapshot) as folder:
        return snapshot_number(folder.read(META, MOST_BYTES))


def place_of(date: str, host: str, number: int) -> Path:
    """
    Where a snapshot stands in a lake.

    :raises PagedbgError: if no directory can have the host's name
    """
    place = Path(f"date={date}", f"host={host}", f"snapshot={number}")
    if not _HOST.fullmatch(place.parts[1]):
        raise PagedbgError(
            f"a host called {host!r} can be in no lake: letters, digits, '.', '_' and"
            " '-' make a name"
        )
    return place


def day_of(taken: str | None) -> str | None:
    """The date of a snapshot, in UTC; None where that is not known."""
    try:
        at = datetime.datetime.fromisoformat(taken or "")
    except ValueError:
        return None
    return None if at.tzinfo is None else str(at.astimezone(datetime.UTC).date())


class Lake:
    """
    A lake.

    :raises PagedbgError: if there is no directory
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            os.listdir(path)
        except OSError as error:
            raise PagedbgError(f"{path} cannot be read: {error.strerror}.") from None

    def days(self, notes: list[str]) -> list[Day]:
        """
        Find the days there are, the earliest first.

        :param notes: takes a sentence on what is no part of a lake
        """
        foreign: list[Path] = []
        found = [
            self._day(path, date, foreign, notes)
            for path, date in _named(self.path, _DATE, foreign, notes)
        ]
        notes += few(
            f"{each} is no part of a lake: it is left alone." for each in foreign
        )
        return found

    def _day(self, path: Path, date: str, foreign: list[Path], notes: list[str]) -> Day:
        hosts, compacted = [], []
        for entry in _entries(path, notes):
            if entry.is_symlink() or not entry.is_dir():
                foreign.append(entry)
            elif match := _HOST.fullmatch(entry.name):
                hosts.append((match[1], entry))
            elif match := _COMPACTED.fullmatch(entry.name):
                compacted.append((int(match[1]), entry))
            else:
                foreign.append(entry)
        compacted.sort()
        valid = Compacted(compacted[-1][1], date) if compacted else None
        return Day(path, date, valid, [each for _, each in compacted[:-1]], hosts)

    def alone(
        self, day: Day, notes: list[str], hosts: Collection[str] | None = None
    ) -> Iterator[Alone]:
        """
        Iterate over the snapshots of a day that stand alone, be they compacted as well.

        :param notes: takes a sentence on each that cannot be read
        :param hosts: only those of these hosts
        """
        foreign: list[Path] = []
        for host, folder in day.hosts:
            if hosts is not None and host not in hosts:
                continue
            for path, text in _named(folder, _SNAPSHOT, foreign, notes):
                try:
                    with Snapshot(path) as snapshot:
                        meta, size = snapshot.meta, snapshot.size
                    number = read_number(path)
                except (NoSnapshot, SnapshotError) as error:
                    notes.append(f"{str(error).rstrip('.')}: it is left out.")
                    continue
                except OSError as error:
                    notes.append(f"{path} cannot be read: {error.strerror}.")
                    continue
                if number != int(text):
                    notes.append(f"{path} has another snapshot's name: it is left out.")
                elif day_of(meta.taken) != day.date or meta.kernel.host != host:
                    notes.append(
                        f"{path} is of {meta.kernel.host} at {meta.taken}, and does not"
                        " belong there: it is left out."
                    )
                else:
                    yield Alone(path, day.date, host, number, meta, size)
        notes += few(f"{each} is no snapshot: it is left alone." for each in foreign)


def left_of(host: Path) -> list[Path]:
    """What those have left in a host's directory who were killed while they added."""
    return [path for path in sorted(host.glob(_UNFINISHED)) if is_left(path)]


def remove_left_of(host: Path) -> None:
    """
    Remove that.

    :raises OSError: if it cannot be removed
    """
    for path in host.glob(_UNFINISHED):
        remove_left(path)


def _entries(path: Path, notes: list[str]) -> list[Path]:
    """What is in a directory, but for what is hidden, as what is just written is."""
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        notes.append(f"{path} cannot be read: {error.strerror}.")
        return []
    return [path / name for name in names if not name.startswith((".", "_"))]


def _named(
    path: Path, pattern: re.Pattern[str], foreign: list[Path], notes: list[str]
) -> Iterator[tuple[Path, str]]:
    for entry in _entries(path, notes):
        match = pattern.fullmatch(entry.name)
        if match is None or entry.is_symlink() or not entry.is_dir():
            foreign.append(entry)
        else:
            yield entry, match[1]
