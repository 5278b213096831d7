# SPDX-License-Identifier: GPL-2.0-or-later
"""What a capture tells of one page, for ``inspect``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from drgn import FaultError

from pagedbg.errors import PagedbgError
from pagedbg.output.phrases import line, seconds
from pagedbg.output.printable import printable
from pagedbg.schema import event_record
from pagedbg.session import Session
from pagedbg.sources.capture_names import CaptureNames, names_of, what_is_missing
from pagedbg.sources.same_boot import check_same_boot, same_boot
from pagedbg.sources.stack_frames import function_of

# The latest of what may be very much.
_MOST = 20


def history(session: Session, pfn: int) -> Iterator[str]:
    """Lines on what was recorded of a page, if there is a capture of this kernel."""
    try:
        capture = session.refresh_capture()
        if capture is None:
            if session.recorders[1]:
                yield line("captured", " ".join(session.recorders[1]))
            return
        if session.target.live:
            if not same_boot(session, capture):
                return
        else:
            check_same_boot(session, capture)
        events = capture.events()
        names = names_of(session, capture)
    except (PagedbgError, FaultError, LookupError, ValueError) as error:
        # The page is what was asked for.
        yield line("captured", f"{error}")
        return
    page = np.uint64(pfn)
    size = np.uint64(1) << np.maximum(events["order"], events["record_order"]).astype(
        np.uint64
    )
    size[events["event"] == event_record.RESET] = np.uint64(1) << events["order"][
        events["event"] == event_record.RESET
    ].astype(np.uint64)
    about = (events["pfn"] <= page) & (page - events["pfn"] < size)
    about |= (
        (events["event"] == event_record.COPY)
        & (events["other_pfn"] <= page)
        & (page - events["other_pfn"] < size)
    )
    chosen = events[about]
    if len(chosen):
        more = f", the last {_MOST}" if len(chosen) > _MOST else ""
        yield ""
        yield line("captured", f"{len(chosen)} events{more}:")
        chosen = chosen[-_MOST:]
        for record, when in zip(chosen, capture.times(chosen).tolist(), strict=True):
            yield f"  {seconds(when):>14}  {_told(names, record)}"
    else:
        yield line("captured", "no event of this page")
    for sentence in what_is_missing(capture):
        yield f"  {sentence}"


def _told(names: CaptureNames, record: Any) -> str:
    event = int(record["event"])
    who = f"{printable(names.comm(record['comm']))} ({int(record['pid'])})"
    function = (
        function_of(names.stack(int(record["handle"])))
        if event == event_record.SET
        else None
    )
    where = f" in {function}" if function else ""
    order = int(record["order"])
    match event:
        case event_record.SET:
            return f"allocated, order {order}, by {who}{where}"
        case event_record.RESET:
            lived = int(record["time_nsec"]) - int(record["ts_nsec"])
            after = (
                f" after {seconds(lived)}" if record["ts_nsec"] and lived >= 0 else ""
            )
            return f"freed, order {order},{after} by {who}"
        case event_record.SPLIT:
            return f"split from order {order} to {int(record['new_order'])} by {who}"
        case event_record.COPY:
            return (
                f"moved from {int(record['other_pfn']):#x} to {int(record['pfn']):#x}"
                f" by {who}"
            )
        case event_record.SET_MIGRATE:
            return f"to be moved ({names.reason(int(record['reason']))}) by {who}"
        case _:
            return f"{event_record.EVENT_NAMES.get(event, event)} by {who}"
