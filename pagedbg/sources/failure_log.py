# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel's log says of allocations that failed."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Program

from pagedbg.analysis.allocation_log import LogLine, Report, reports
from pagedbg.errors import PagedbgError
from pagedbg.mm.mmzone import zone_names
from pagedbg.mm.printk import PrintkRecord, printk_records

__all__ = ("failures_of",)


def failures_of(prog: Program, notes: list[str]) -> list[Report]:
    """
    Return the reports in the kernel's log, the oldest first.

    :param notes: Where to add what is missing of the log.
    :raises PagedbgError: for a log that is damaged
    """
    unreadable = 0
    records: list[PrintkRecord] = []
    try:
        for record in printk_records(prog):
            if record is None:
                unreadable += 1
            else:
                unreadable += record.text is None
                records.append(record)
    except ValueError as error:
        raise PagedbgError(f"the kernel's log is damaged: {error}.") from None
    records.reverse()
    found = reports(_lines(records), zone_names(prog), prog["PAGE_SIZE"].value_())
    if records and records[0].seq:
        notes.append(
            f"The log begins {records[0].ts_nsec / 1e9:.6f} s after boot:"
            f" {records[0].seq:,} messages before were overwritten."
        )
    if found.beheaded:
        notes.append(
            f"Of {found.beheaded} more report{'s' if found.beheaded > 1 else ''} the"
            " beginning is lost."
        )
    if unreadable:
        notes.append(
            f"{unreadable:,} message{'s' if unreadable > 1 else ''} could not be read."
        )
    return found.found


def _lines(records: list[PrintkRecord]) -> Iterator[LogLine]:
    for record in records:
        # What programs write into the log may look like anything.
        if not record.facility:
            text = record.text
            yield LogLine(
                record.ts_nsec,
                record.caller_id,
                None if text is None else text.decode(errors="backslashreplace"),
                record.continues,
            )
