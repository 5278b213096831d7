# SPDX-License-Identifier: GPL-2.0-or-later
"""
What is kept of full segments by a recorder that keeps only what is still held.

``held.json`` says what there is: it is replaced as a whole, and last, so at any moment
what it says is there. The events that are left, each with its place in the order of
all, are in ``held-N-M.parquet``, and what was freed is summed up in ``freed-N.parquet``
(:mod:`pagedbg.capture.freed_sums`); N is one more each time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.event_clock import Samples
from pagedbg.capture.files import Folder
from pagedbg.capture.freed_sums import FreedSums
from pagedbg.capture.sealed import MOST, SealedReader, SealedWriter, SealError
from pagedbg.capture.summary import CpuSpan, Summary
from pagedbg.schema.event_record import RECORD, joined

HEAD = "held.json"

# More than the head of the largest machine needs, and than any machine holds.
_MOST_HEAD, _MOST_PIECES = 16 << 20, 1 << 10

SAMPLES = 1 << 13
"""
So many of the last that both clocks said tell the times of what is drained late.
"""

_NAME = re.compile(r"(?:held|freed)-(\d+)(?:-\d+)?\.parquet")

OPEN, SPECIAL, RELATED, WAITING = range(4)
"""
How an event is marked: as the set of an allocation that may be freed as a whole, or of
one of which more is known; as another event of such a one; or as one that waits for
events that come late.
"""

_MORE = {"place": "BIGINT", "mark": "UTINYINT"}

_Place = Annotated[int, msgspec.Meta(ge=-1, le=1 << 62)]


class HeldHead(msgspec.Struct):
    """
    What ``held.json`` says: ``segments`` and those before are in the files of
    ``number``. ``summary`` is of all events that were in them, ``targets`` counts
    allocations that only made room for others to be migrated to. What comes next is
    placed by ``latest``, the greatest place of each CPU, and by ``samples`` of both
    clocks.
    """

    number: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
    segments: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
    pieces: Annotated[int, msgspec.Meta(ge=0, le=_MOST_PIECES)]
    summary: Summary
    targets: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)] = 0
    latest: Annotated[
        list[tuple[Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)], _Place]],
        msgspec.Meta(max_length=1 << 16),
    ] = []
    samples: Annotated[
        list[tuple[_Place, Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]]],
        msgspec.Meta(max_length=SAMPLES),
    ] = []

    def piece(self, index: int) -> str:
        """The file of some of the events."""
        return f"held-{self.number}-{index}.parquet"

    @property
    def freed(self) -> str:
        """The file of the sums."""
        return f"freed-{self.number}.parquet"

    @property
    def files(self) -> list[str]:
        """The files that it stands for."""
        return [self.freed, *map(self.piece, range(self.pieces))]

    @property
    def clocks(self) -> Samples:
        """:attr:`samples` as arrays."""
        mono, ahead = np.array(self.samples, np.int64).reshape(-1, 2).T
        return mono, ahead


@dataclasses.dataclass
class Kept:
    """Events that are kept, with their places and marks."""

    records: NDArray[Any] = dataclasses.field(
        default_factory=lambda: np.zeros(0, RECORD)
    )
    places: NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.int64)
    )
    marks: NDArray[np.uint8] = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.uint8)
    )


def read_head(folder: Folder) -> HeldHead | None:
    """
    What there is; None if nothing was folded yet.

    :raises SealError: if it is damaged
    :raises OSError: if it cannot be read
    """
    try:
        data = folder.read(HEAD, _MOST_HEAD)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=HeldHead)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SealError(str(error)) from None


def write_kept(
    folder: Folder, head: HeldHead, kept: Kept, freed: FreedSums, writer: SealedWriter
) -> None:
    """
    Put events and sums in the place of what was kept before.

    :param head: whose ``pieces`` are counted
    :raises SealError: if they cannot be written; what was there stays
    :raises OSError: likewise
    """
    head.pieces = -(-len(kept.records) // MOST)
    for name in head.files:
        folder.remove(name)
    for index in range(head.pieces):
        part = slice(index * MOST, (index + 1) * MOST)
        with _new(folder, head.piece(index)) as descriptor:
            writer.write(
                descriptor,
                kept.records[part],
                more={"place": kept.places[part], "mark": kept.marks[part]},
            )
    with _new(folder, head.freed) as descriptor:
        freed.write(descriptor)
    put_head(folder, head)
    remove_others(folder, head)


def put_head(folder: Folder, head: HeldHead) -> None:
    """Have a head stand for what is there, once its files are on the disk."""
    folder.remove(f"{HEAD}.new")
    with _new(folder, f"{HEAD}.new") as descriptor:
        data = msgspec.json.encode(head)
        while data:
            data = data[os.write(descriptor, data) :]
    folder.sync()
    folder.rename(f"{HEAD}.new", HEAD)
    folder.sync()


def remove_others(folder: Folder, head: HeldHead | None) -> None:
    """Remove the files of other heads."""
    for name in folder.names():
        if _NAME.fullmatch(name) and (head is None or name not in head.files):
            folder.remove(name)


def remove_held(folder: Folder) -> None:
    """Remove all that was kept: what stands for it first."""
    folder.remove(HEAD)
    remove_others(folder, None)


def is_held_file(name: str) -> bool:
    """Whether a file is one of these."""
    return name == HEAD or _NAME.fullmatch(name) is not None


@contextlib.contextmanager
def _new(folder: Folder, name: str) -> Iterator[int]:
    """A file that is made, and on the disk in the end."""
    with folder.opened(name, os.O_RDWR | os.O_CREAT | os.O_EXCL) as descriptor:
        yield descriptor
        os.fsync(descriptor)


def read_piece(reader: SealedReader, descriptor: int) -> Kept:
    """
    The events of a file.

    :raises SealError: if it is damaged
    """
    records, more = reader.records(descriptor), reader.more(descriptor, _MORE)
    places, marks = more["place"], more["mark"]
    if not len(records) == len(places) <= MOST or np.any(marks > WAITING):
        raise SealError("has events that no recorder can have kept")
    return Kept(records, places, marks)


def joined_kept(parts: list[Kept]) -> Kept:
    """Several behind each other."""
    none = Kept()
    return Kept(
        joined([part.records for part in parts]),
        np.concatenate([none.places, *(part.places for part in parts)]),
        np.concatenate([none.marks, *(part.marks for part in parts)]),
    )


def add_spans(cpus: list[CpuSpan], more: list[CpuSpan]) -> list[CpuSpan]:
    """What two pieces have of each CPU, the second of which comes behind the first."""
    found = {span.cpu: span for span in cpus}
    for span in more:
        before = found.get(span.cpu)
        found[span.cpu] = (
            CpuSpan(span.cpu, before.first, span.last, before.count + span.count)
            if before
            else span
        )
    return [found[cpu] for cpu in sorted(found)]


def latest_of(head: HeldHead) -> NDArray[np.int64]:
    """The greatest place of each CPU."""
    latest = np.full(1 << 16, -1, np.int64)
    for cpu, place in head.latest:
        latest[cpu] = place
    return latest
