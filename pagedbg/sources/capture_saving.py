# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the kernel that is open has for a capture of it that is being kept: the records of
its pages, and stacks that it lacks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.directory import Capture
from pagedbg.schema import event_record
from pagedbg.session import Session
from pagedbg.sources.kernel_names import kernel_names
from pagedbg.sources.same_boot import same_boot

# Of as many pages records are kept with a capture: some 90 bytes each.
_MOST_PAGES = 1 << 19


def pages_to_keep(session: Session, capture: Capture) -> NDArray[Any] | None:
    """
    The records of the pages of what was not seen to be freed, for a capture of the
    running kernel; None of another kernel.
    """
    if not (capture.page_owner and same_boot(session, capture)):
        return None
    from pagedbg.analysis.correlation_pieces import PiecewiseCorrelation
    from pagedbg.mm.page_owner_bulk import page_owners_of_pfns
    from pagedbg.schema.allocation import FREED

    rows = np.concatenate(list(PiecewiseCorrelation(capture).rows(freed=False)))
    rows = rows[rows["state"] != FREED]
    blocks = [(rows["pfn"], rows["order"])]
    blocks += [
        (copies["pfn"], copies["order"])
        for copies in capture.pieces((event_record.COPY,), ("pfn", "order"))
    ]
    heads, orders = (np.concatenate(each) for each in zip(*blocks, strict=True))
    sizes = np.int64(1) << orders.astype(np.int64)
    if sizes.sum() > _MOST_PAGES:
        print(
            f"The records of {sizes.sum():,} pages are too many to be kept: correlate"
            " before the machine goes on.",
            file=sys.stderr,
        )
        return None
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    pfns = np.unique(np.repeat(heads, sizes) + within.astype(np.uint64))
    return page_owners_of_pfns(session.prog, pfns)


def stacks_left(session: Session, capture: Capture) -> Iterator[tuple[int, list[str]]]:
    """
    The stacks that are not in a capture yet: they are written a moment after the
    events.
    """
    if not (capture.page_owner and same_boot(session, capture)):
        return
    names = kernel_names(session)
    handles: set[int] = set()
    for records in capture.pieces(members=("handle", "free_handle")):
        for name in ("handle", "free_handle"):
            handles.update(np.unique(records[name]).tolist())
    for handle in sorted(handles):
        if handle and capture.stack(handle) is None:
            yield handle, [] if names is None else names.stack(handle)
