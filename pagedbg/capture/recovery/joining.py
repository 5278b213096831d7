# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a recorder had drained into a directory before the machine died, joined with what
was in its rings: each event once, and what lies between counted as lost.

The capture stays as it is. What the rings have beyond it is further segments, in a
directory of its own, which is read as if they stood behind those of the capture.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.directory import Capture
from pagedbg.capture.files import STACKS, CaptureError, Folder
from pagedbg.capture.recovery.recovered_rings import RecoveredRecorder
from pagedbg.capture.segments import in_sequence, raw_name, segments_in
from pagedbg.capture.writer import CaptureWriter
from pagedbg.errors import PagedbgError
from pagedbg.schema.capture_meta import Counts, Cpu, Meta, storable
from pagedbg.schema.event_record import VERSION, joined, taken

if TYPE_CHECKING:
    from pagedbg.target.target import Target

# Bits of a record's number beside its CPU's.
_SEQ_BITS = np.uint64(48)


class JoinedCapture(Capture):
    """A capture, and behind it what :func:`join` wrote."""

    def __init__(self, path: Path, behind: Path) -> None:
        """:raises CaptureError: if one of the two cannot be read"""
        self._behind = behind
        super().__init__(path)

    def _folder(self) -> Folder:
        try:
            return _Both(self._behind, self.path)
        except OSError as error:
            raise CaptureError(f"{self.path}: {error.strerror}.") from None


class _Both(Folder):
    """A directory, and what another one has beside."""

    def __init__(self, path: Path, other: Path) -> None:
        super().__init__(path)
        try:
            self._other = Folder(other)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        super().close()
        if hasattr(self, "_other"):
            self._other.close()

    def names(self) -> list[str]:
        return list({*super().names(), *self._other.names()})

    def open(self, name: str, flags: int = 0) -> int:
        try:
            return super().open(name, flags)
        except FileNotFoundError:
            return self._other.open(name, flags)


@dataclasses.dataclass(frozen=True)
class _Drained:
    """By CPU, how far a capture goes, and what it accounts for."""

    last: NDArray[np.int64]
    next: NDArray[np.int64]
    written: NDArray[np.int64]
    lost: NDArray[np.int64]
    older: NDArray[np.int64]
    newer: NDArray[np.int64]

    @classmethod
    def of(cls, capture: Capture) -> _Drained:
        counts, contents = capture.meta.counts.cpus, capture.contents
        next_, lost, written = (
            np.array(each, np.int64)
            for each in zip(
                *((cpu.next, cpu.lost, cpu.written) for cpu in counts), strict=True
            )
        )
        last = contents.last[: len(counts)].astype(np.int64)
        if capture.meta.counts.cleared:
            # What was forgotten on request does not come back out of the rings.
            last = np.where(last == 0, next_ - 1, last)
        older, newer = (
            each[: len(counts)] for each in (contents.older, contents.newer)
        )
        return cls(last, next_, written, lost, older, newer)

    @property
    def renounced(self) -> NDArray[np.int64]:
        """What was forgotten on request, or found no room."""
        found: NDArray[np.int64] = self.next - 1 - self.lost - self.written
        return np.maximum(found, 0, out=found)


def recorder_of(
    drained: Capture, target: Target, recorders: list[RecoveredRecorder]
) -> RecoveredRecorder | None:
    """
    The recorder in a dump that wrote a capture; None if there is none, as far as that
    can be told.

    :raises PagedbgError: if it is one of several, and the events do not tell which
    """
    boots = target.boot_id, drained.meta.kernel.boot_id
    if all(boots) and boots[0] != boots[1]:
        return None
    common = {
        number: count
        for number, recorder in enumerate(recorders)
        # Where it is not known to be the same boot, it shows by its events.
        if (count := _common(drained, recorder)) or (count is not None and all(boots))
    }
    best = [number for number, count in common.items() if count == max(common.values())]
    if len(best) > 1:
        raise PagedbgError(
            f"{drained.path} may be of any of {len(best)} recorders in the dump: open"
            f" the capture alone, with pagedbg --capture {drained.path}."
        )
    return recorders[best[0]] if best else None


def _common(drained: Capture, recorder: RecoveredRecorder) -> int | None:
    """
    How many events a capture has in common with the rings of a recorder; None if it is
    not that recorder's, or has left out what was freed.
    """
    meta = drained.meta
    cpus = meta.counts.cpus
    if (
        meta.held
        or meta.rings != VERSION
        or (meta.backend, meta.slots, len(cpus))
        != (
            recorder.backend,
            recorder.slots,
            recorder.cpus,
        )
    ):
        return None
    rings = [ring for _, ring in recorder.rings()]
    if any(cpu.next > ring.newest + 1 for cpu, ring in zip(cpus, rings, strict=True)):
        return None
    theirs = in_sequence(joined([ring.records for ring in rings]))
    if not len(theirs):
        return 0
    first = np.full(1 << 16, np.iinfo(np.uint64).max, np.uint64)
    for cpu, ring in enumerate(rings):
        first[cpu] = ring.records["seq"].min(initial=first[cpu])
    ours = joined(list(_from(drained, first)))
    places = np.searchsorted(_key(theirs), _key(ours)).clip(max=len(theirs) - 1)
    both = _key(theirs)[places] == _key(ours)
    same = taken(ours, both).tobytes() == taken(theirs, places[both]).tobytes()
    return int(np.count_nonzero(both)) if same else None


def _from(capture: Capture, first: NDArray[np.uint64]) -> Iterator[NDArray[Any]]:
    """Events of a capture from some numbers on, by CPU."""
    begin = len(summaries := capture.summaries())
    for number, summary in enumerate(summaries):
        if any(span.last >= first[span.cpu] for span in summary.cpus):
            begin = number
            break
    for records in capture.pieces(first=begin) if begin < len(summaries) else ():
        yield taken(records, records["seq"] >= first[records["cpu"]])


def _key(records: NDArray[Any]) -> NDArray[np.uint64]:
    key: NDArray[np.uint64] = records["cpu"].astype(np.uint64) << _SEQ_BITS
    key |= records["seq"]
    return key


def join(drained: Capture, recovered: Capture, directory: Path) -> Capture:
    """
    Join a capture with what was in the rings of its recorder.

    :param drained: what it had written; it had not ended
    :param recovered: what was in its rings
    :param directory: where what is missing in ``drained`` is written to; must be empty,
        and is read as long as the result is
    :raises OSError: if there is no room in it
    """
    before = _Drained.of(drained)
    after = np.zeros(1 << 16, np.uint64)
    after[: len(before.last)] = before.last
    writer = CaptureWriter(directory)
    meta = msgspec.structs.replace(drained.meta)
    writer.begin(meta)
    older = np.zeros(len(before.last), np.int64)
    for records in recovered.pieces():
        more = taken(records, records["seq"] > after[records["cpu"]])
        if writer.append(more) < len(more):
            raise CaptureError(f"{directory}: {writer.fault}.")
        written = more["seq"].astype(np.int64) < before.next[more["cpu"]]
        older += np.bincount(more["cpu"][written], minlength=len(older))
    _account(meta, drained, recovered, before, older, writer)
    _add_stacks(writer, drained, recovered)
    writer.close()
    with Folder(directory) as folder, drained.reading(STACKS) as theirs:
        base = max(segments_in(theirs)) + 1
        for number in sorted(segments_in(folder), reverse=True):
            folder.rename(raw_name(number), raw_name(number + base))
    return JoinedCapture(drained.path, directory)


def _account(
    meta: Meta,
    drained: Capture,
    recovered: Capture,
    before: _Drained,
    older: NDArray[np.int64],
    writer: CaptureWriter,
) -> None:
    """
    Say what both have, and how much is in neither.

    :param older: by CPU, how much of what is added the capture had counted as written
    """
    theirs, ours = recovered.meta, drained.meta
    assert theirs.recovered is not None
    newest = np.array([cpu.next - 1 for cpu in theirs.counts.cpus], np.int64)
    added = writer.written[: len(newest)]
    written = (
        np.maximum(before.written, before.older + older)
        + before.newer
        + (added - older)
    )
    missing = np.maximum(newest - written - before.renounced, 0)
    total = int(missing.sum())
    left_out = min(theirs.counts.left_out, total)
    damaged = min(theirs.counts.damaged, total - left_out)
    counted = theirs if theirs.recovered.counters else ours
    meta.counts = Counts(
        recorded=int(newest.sum()),
        read=int(written.sum()) + ours.counts.dropped + ours.counts.cleared,
        lost=total - left_out - damaged,
        dropped=ours.counts.dropped,
        cleared=ours.counts.cleared,
        missed=(theirs if theirs.recovered.missed else ours).counts.missed,
        forgotten=counted.counts.forgotten,
        seen=counted.counts.seen,
        recorded_by=counted.counts.recorded_by,
        left_out=left_out,
        damaged=damaged,
        cpus=[
            Cpu(int(last) + 1, int(lost), int(kept))
            for last, lost, kept in zip(newest, missing, written, strict=True)
        ],
    )
    meta.ended, meta.frozen = theirs.ended, theirs.frozen
    meta.recovered = msgspec.structs.replace(
        theirs.recovered, joined=storable(str(drained.path))
    )


def _add_stacks(writer: CaptureWriter, drained: Capture, recovered: Capture) -> None:
    for handle, stack in (*drained.stacks(), *recovered.stacks()):
        line = json.dumps({"handle": handle, "stack": stack}).encode() + b"\n"
        if os.write(writer.stacks, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
