# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing a snapshot: Parquet files and ``meta.json``, all of them or none."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pagedbg.capture.files import META, Folder
from pagedbg.capture.machine_identity import machine_identity
from pagedbg.capture.snapshot_directory import parquet_name
from pagedbg.capture.unfinished import begin_directory
from pagedbg.errors import PagedbgError
from pagedbg.mm.gfp import gfpflag_names
from pagedbg.mm.sched_clock import known_local_clock
from pagedbg.mm.timekeeping import getboottime64
from pagedbg.schema.relations import SCHEMA_VERSION
from pagedbg.schema.snapshot_meta import (
    SnapshotKernel,
    SnapshotMeta,
    encode_snapshot_meta,
)
from pagedbg.session import Session
from pagedbg.sources.memory_counters import ram_pages
from pagedbg.target.links import UNREADABLE

if TYPE_CHECKING:
    from typing import TypeVar

    import duckdb

    _T = TypeVar("_T")


def snapshot_meta(session: Session) -> SnapshotMeta:
    """What a snapshot of a session's kernel says of it, as yet without a relation."""
    target, prog = session.target, session.prog
    up = known_local_clock(prog)
    return SnapshotMeta(
        schema=SCHEMA_VERSION,
        taken=_time(session, up),
        source="the running kernel" if target.live else target.name,
        kernel=SnapshotKernel(
            release=target.release,
            build_id=target.vmcoreinfo.get("BUILD-ID"),
            boot_id=_try(lambda: target.boot_id) or None,
            machine=prog.platform.arch.name.lower() if prog.platform else None,
            host=target.host,
            page_size=prog["PAGE_SIZE"].value_(),
            pages=_try(lambda: ram_pages(prog)) or 0,
            up_ns=up,
            host_id=machine_identity() if target.live else None,
        ),
        gfp=list(_try(lambda: gfpflag_names(prog)) or ()),
        relations={},
    )


def _time(session: Session, up: int | None) -> str | None:
    """When the kernel was as it is seen: now, or when it was dumped."""
    if session.target.live:
        at = datetime.datetime.now(datetime.UTC)
    else:
        booted = _try(lambda: getboottime64(session.prog))
        if booted is None or up is None:
            return None
        at = datetime.datetime.fromtimestamp((booted + up) // 10**9, datetime.UTC)
    return at.isoformat(timespec="seconds")


def _try(read: Callable[[], _T]) -> _T | None:
    """A fact, or None where the dump does not hold it."""
    try:
        return read()
    except UNREADABLE:
        return None


@contextlib.contextmanager
def new_directory(to: Path) -> Iterator[Folder]:
    """
    A directory to be filled, which has another name until all is on the disk, and which
    is gone if that fails.

    :raises PagedbgError: if there is something of that name, or it cannot be written
    """
    new = to.with_name(f".{to.name}.{os.getpid()}.new")
    try:
        if to.exists() or to.is_symlink():
            raise PagedbgError(f"{to} is there already: give a name that is not.")
        begun = begin_directory(new)
        try:
            with begun as folder:
                yield folder
                folder.sync()
            # Fails where another has made one of that name meanwhile, unless it is
            # empty.
            new.rename(to)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        with Folder(to.absolute().parent) as parent:
            parent.sync()
    except OSError as error:
        raise PagedbgError(
            f"{to} cannot be written: {error.strerror or error}."
        ) from None


def write_relation(
    db: duckdb.DuckDBPyConnection, folder: Folder, relation: str, select: str
) -> int:
    """
    Write what a query gives as a relation of a snapshot; return how many rows it has.

    :raises PagedbgError: if it cannot be written
    """
    import duckdb

    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    with folder.opened(parquet_name(relation), flags) as file:
        try:
            answer = db.execute(f"""
                COPY ({select}) TO '/proc/{os.getpid()}/fd/{file}' (
                    FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false
                )""")
            ((count,),) = answer.fetchall()
        except duckdb.Error as error:
            raise PagedbgError(
                f"{parquet_name(relation)} cannot be written:"
                f" {str(error).partition(chr(10))[0]}."
            ) from None
        os.fsync(file)
    return int(count)


def write_meta(folder: Folder, meta: SnapshotMeta) -> None:
    """Write ``meta.json``, which makes a snapshot of the files beside it."""
    with folder.opened(META, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
        data = memoryview(encode_snapshot_meta(meta))
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)
