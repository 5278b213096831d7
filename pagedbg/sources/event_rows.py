# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of a capture as rows."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from pagedbg.schema import event_record
from pagedbg.schema.table import Row
from pagedbg.sources.capture_names import CaptureNames


def event_rows(
    names: CaptureNames, records: NDArray[Any], stacks: bool = True
) -> list[Row]:
    """
    Return the rows of :data:`pagedbg.schema.event_columns.EVENTS` of some records.

    :param stacks: whether with the columns of stacks, which come last
    """
    times = names.capture.times(records).tolist()
    events = records["event"].tolist()
    no_record = (records["flags"] & event_record.NO_RECORD != 0).tolist()
    column = {
        name: records[name].tolist()
        for name in records.dtype.names or ()
        if "comm" not in name
    }
    rows: list[Row] = []
    for i, (when, event) in enumerate(zip(times, events, strict=True)):
        known = not no_record[i] or event == event_record.SET
        pfn, handle = column["pfn"][i], column["handle"][i]
        row: list[Any] = [
            when if when >= 0 else None,
            event_record.EVENT_NAMES.get(event, str(event)),
            pfn if pfn != event_record.NO_PFN else None,
            column["order"][i] if pfn != event_record.NO_PFN else None,
            column["pid"][i],
            names.comm(records["comm"][i]),
            column["owner_pid"][i] if known else None,
            names.comm(records["owner_comm"][i]) if known else None,
            names.gfp(column["gfp_mask"][i]) if known else None,
            names.migratetype(column["gfp_mask"][i]) if known else None,
            column["ts_nsec"][i] if known else None,
            column["other_pfn"][i] if event == event_record.COPY else None,
            column["new_order"][i] if event == event_record.SPLIT else None,
            (
                names.reason(column["reason"][i])
                if event == event_record.SET_MIGRATE
                else None
            ),
            handle if known else None,
            column["tgid"][i],
            int(column["flags"][i] & event_record.NESTED != 0),
            column["cpu"][i],
            column["seq"][i],
        ]
        if stacks:
            row += (
                names.stack(handle),
                names.stack_id(handle),
                names.stack_shape(handle),
            )
        rows.append(row)
    return rows
