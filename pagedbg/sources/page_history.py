# SPDX-License-Identifier: GPL-2.0-or-later
"""What a capture tells of one page."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from drgn import FaultError
from numpy.typing import NDArray

from pagedbg.errors import PagedbgError
from pagedbg.schema import event_record
from pagedbg.schema.table import Row
from pagedbg.session import Session
from pagedbg.sources.capture_names import names_of, what_is_missing
from pagedbg.sources.event_rows import event_rows
from pagedbg.sources.same_boot import check_same_boot, same_boot

MOST_EVENTS = 20
"""How many events are told: the latest of what may be very much."""


class PageHistory(NamedTuple):
    """
    What was recorded of a page.

    ``captured`` is how many events there are, ``events`` the rows of the last of them,
    and ``losses`` rows of :data:`pagedbg.schema.event_columns.LOSSES`.
    """

    captured: int
    events: list[Row]
    losses: list[Row]


def page_history(session: Session, pfn: int, notes: list[str]) -> PageHistory | None:
    """
    What was recorded of a page, if there is a capture of this kernel.

    :param notes: Where to add why it cannot be told, or what is missing.
    """
    try:
        capture = session.refresh_capture()
        if capture is None:
            notes += session.recorders[1]
            return None
        if session.target.live:
            if not same_boot(session, capture):
                return None
        else:
            check_same_boot(session, capture)
        count, last = 0, np.zeros(0, event_record.RECORD)
        for records, _ in capture.events_in_order():
            chosen = _about(records, np.uint64(pfn))
            count += len(chosen)
            last = np.concatenate((last, chosen))[-MOST_EVENTS:]
        notes += what_is_missing(capture)
        return PageHistory(
            count,
            event_rows(names_of(session, capture), last),
            [(loss.kind.name.lower(), loss.count) for loss in capture.losses],
        )
    except (PagedbgError, FaultError, LookupError, ValueError) as error:
        # The page is what was asked for.
        notes.append(f"What was recorded of the page cannot be told: {error}")
        return None


def _about(events: NDArray[Any], page: np.uint64) -> NDArray[Any]:
    """The events of blocks that the page was in, there or where they came from."""
    kind = events["event"]
    order = np.where(
        kind == event_record.RESET,
        events["order"],
        np.maximum(events["order"], events["record_order"]),
    )
    size = np.uint64(1) << order.astype(np.uint64)
    about = (events["pfn"] <= page) & (page - events["pfn"] < size)
    about |= (
        (kind == event_record.COPY)
        & (events["other_pfn"] <= page)
        & (page - events["other_pfn"] < size)
    )
    chosen: NDArray[Any] = events[about]
    return chosen
