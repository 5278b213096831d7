# SPDX-License-Identifier: GPL-2.0-or-later
"""What a capture has lost: by what it says, and by what its file shows."""

from __future__ import annotations

from pagedbg.capture.events import Contents
from pagedbg.schema.capture_meta import Meta
from pagedbg.schema.loss import Loss, LossKind


def losses_of(meta: Meta, contents: Contents, *, abandoned: bool) -> list[Loss]:
    """
    Add up what a capture says that it has lost, and what its file shows.

    :param meta: what the capture says
    :param contents: what is in its file
    :param abandoned: whether its recorder was killed
    """
    counts = meta.counts
    overwritten = counts.lost
    if abandoned and counts.cpus:
        # What came after the last count shows by the gaps in the numbers.
        for cpu, count in enumerate(counts.cpus):
            if (newer := int(contents.newer[cpu])) and (
                last := int(contents.last[cpu])
            ) >= count.next:
                overwritten += last + 1 - count.next - newer
    gone, more = _compared(meta, contents)
    # What of it was in the rings, too, is not missing: what is, is counted.
    joined = meta.recovered is not None and meta.recovered.joined is not None
    damaged = 0 if joined else contents.damaged
    found = [
        Loss(LossKind.OVERWRITTEN, overwritten),
        Loss(LossKind.MISSED, counts.missed),
        Loss(LossKind.LEFT_OUT, counts.left_out),
        Loss(LossKind.RING_DAMAGED, counts.damaged),
        Loss(LossKind.NO_ROOM, counts.dropped),
        Loss(LossKind.FORGOTTEN, counts.forgotten),
        Loss(LossKind.DAMAGED, damaged),
        Loss(LossKind.GONE, max(gone - damaged, 0)),
        Loss(LossKind.REPEATED, contents.repeated),
        Loss(LossKind.UNCOUNTED, more if meta.ended is not None else 0),
    ]
    if abandoned:
        found.append(Loss(LossKind.KILLED, None))
    if meta.silenced is not None:
        found.append(Loss(LossKind.SILENCED, None))
    if counts.cpus and sum(cpu.written for cpu in counts.cpus) != counts.kept:
        found.append(Loss(LossKind.CONTRADICTED, None))
    return [loss for loss in found if loss.count != 0]


def _compared(meta: Meta, contents: Contents) -> tuple[int, int]:
    """
    How many records are not in the file that should be, and how many are that should
    not.
    """
    cpus = meta.counts.cpus
    if not cpus:
        # Of a recorder that did not count by CPU.
        difference = meta.counts.kept - contents.records
        return max(difference, 0), max(-difference, 0)
    found = contents.older.copy()
    if meta.ended is not None:
        found += contents.newer
    gone = more = 0
    for cpu, count in enumerate(cpus):
        difference = count.written - int(found[cpu])
        gone, more = gone + max(difference, 0), more + max(-difference, 0)
    return gone, more + int(found[len(cpus) :].sum())
