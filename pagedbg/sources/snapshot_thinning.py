# SPDX-License-Identifier: GPL-2.0-or-later
"""Removing snapshots that are older, or more, than are to be kept."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pagedbg.capture.files import META, Folder
from pagedbg.capture.snapshot_directory import parquet_name
from pagedbg.errors import PagedbgError
from pagedbg.schema.snapshot_meta import SnapshotMeta
from pagedbg.sources.snapshot_series import Listed, find_snapshots


class Keep(NamedTuple):
    """How old snapshots may get, in seconds, and how many there may be."""

    seconds: float | None
    most: int | None


def thin_out(new: Path, meta: SnapshotMeta, keep: Keep) -> list[str]:
    """
    Remove snapshots that stand beside a new one, are of the same host and not later:
    those that are too old by then, and the oldest of those that are too many with it.
    What is no whole snapshot of ours is left alone, and so is a directory with any
    other file in it.

    :return: sentences on what was removed, and on what could not be
    """
    if meta.taken is None:
        return ["When the snapshot is of is not known: none beside it is removed."]
    now = datetime.datetime.fromisoformat(meta.taken)
    said: list[str] = []
    others = [
        each
        for each in find_snapshots([new.absolute().parent], [])
        if each.path.name != new.name and _goes_with(each, meta, now)
    ]
    others.reverse()
    removed = 0
    for place, each in enumerate(others, 1):
        age = (now - _taken(each.meta)).total_seconds()
        if (keep.seconds is None or age <= keep.seconds) and (
            keep.most is None or place < keep.most
        ):
            continue
        try:
            _remove(each)
        except (OSError, PagedbgError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            said.append(f"{each.path} is not removed: {why}.")
        else:
            removed += 1
    if removed:
        said.append(f"{removed} older snapshot{'s' if removed > 1 else ''} removed.")
    return said


def _goes_with(each: Listed, meta: SnapshotMeta, now: datetime.datetime) -> bool:
    if each.path.is_symlink() or each.meta.taken is None or meta.kernel.host is None:
        return False
    try:
        taken = _taken(each.meta)
    except ValueError:
        return False
    return each.meta.kernel.host == meta.kernel.host and taken <= now


def _taken(meta: SnapshotMeta) -> datetime.datetime:
    assert meta.taken is not None
    taken = datetime.datetime.fromisoformat(meta.taken)
    # A time without a zone is no time to compare with.
    if taken.tzinfo is None:
        raise ValueError
    return taken


def _remove(each: Listed) -> None:
    """
    Remove a snapshot: it has another name first, so that it is there whole or not at
    all.

    :raises PagedbgError: if there is something else in its directory
    """
    path = each.path
    ours = {META, *map(parquet_name, each.meta.relations)}
    with Folder(path) as folder:
        if folder.owner != os.geteuid():
            raise PagedbgError("it is somebody else's")
        names = set(folder.names())
        if others := sorted(names - ours):
            raise PagedbgError(f"it has other files: {', '.join(_few(others))}")
        going = path.with_name(f".{path.name}.{os.getpid()}.old")
        path.rename(going)
        # What is left if we are killed is no snapshot.
        folder.remove(META)
        for name in names:
            folder.remove(name)
    going.rmdir()


def _few(names: Sequence[str]) -> Iterator[str]:
    yield from names[:3]
    if len(names) > 3:
        yield "..."
