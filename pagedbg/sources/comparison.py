# SPDX-License-Identifier: GPL-2.0-or-later
"""What a capture is compared with, and how far it can be believed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.correlation import Pages
from pagedbg.analysis.evidence import Evidence
from pagedbg.capture.directory import Capture
from pagedbg.capture.files import CaptureError
from pagedbg.errors import PagedbgError
from pagedbg.mm.page_owner import page_owner_inited
from pagedbg.mm.page_owner_bulk import page_owners_of_pfns
from pagedbg.schema.event_record import (
    COPY,
    EVENT_NAMES,
    KINDS_BY_NAME,
    KINDS_BY_WORD,
    RESET,
    SET,
    SPLIT,
)
from pagedbg.schema.loss import INCOMPLETE, LossKind
from pagedbg.schema.owner_record import PAGE_RECORD
from pagedbg.session import Session
from pagedbg.sources.held_pages import HeldPages
from pagedbg.sources.same_boot import check_same_boot, same_boot

_KINDS = frozenset({SET, RESET, COPY, SPLIT})

# By these, events of kinds that nothing counts are missing.
_OF_ANY_KIND = {
    LossKind.KILLED,
    LossKind.MISSED,
    LossKind.DAMAGED,
    LossKind.GONE,
    LossKind.UNCOUNTED,
    LossKind.SILENCED,
    LossKind.CONTRADICTED,
}


class Comparison(NamedTuple):
    """
    The records of pages, as of when they are, and whether the capture goes on up to
    then. Where there are no records, what the pages say themselves.
    """

    pages: Pages | None
    words: str
    current: bool = False
    held: HeldPages | None = None


def comparison(session: Session, capture: Capture) -> Comparison:
    """
    What there is to compare a capture with.

    :raises PagedbgError: if the kernel that is open is not the one that the capture is
        of
    """
    target = session.target
    if not target.has_kernel:
        return _saved(capture)
    if target.live:
        if not same_boot(session, capture):
            raise PagedbgError(
                f"{capture.path} is of another boot than the kernel that runs here,"
                " whose pages say nothing of it: open it alone, with pagedbg --capture"
                f" {capture.path}."
            )
    else:
        check_same_boot(session, capture)
    if not capture.page_owner or not page_owner_inited(session.prog):
        return Comparison(
            None,
            "There is no page_owner here to compare with: live means that no free was"
            " seen, and that the pages are neither free"
            f" {'now' if target.live else f'in {target.name}'} nor in larger blocks.",
            held=None if capture.page_owner else HeldPages(session.prog),
        )

    def pages(pfns: NDArray[np.uint64]) -> NDArray[Any]:
        return page_owners_of_pfns(session.prog, pfns)

    if target.live:
        return Comparison(
            pages, "Compared with the pages as they are now.", capture.at_work
        )
    return Comparison(pages, f"Compared with the pages as they are in {target.name}.")


def _saved(capture: Capture) -> Comparison:
    without = (
        "There are no pages to compare with: live means held when the capture ended."
    )
    try:
        saved = capture.pages(PAGE_RECORD)
    except CaptureError as error:
        return Comparison(None, f"{error} {without}")
    if saved is None:
        return Comparison(None, without)
    saved = saved[np.argsort(saved["pfn"], kind="stable")]

    def pages(pfns: NDArray[np.uint64]) -> NDArray[Any]:
        found = np.zeros(len(pfns), PAGE_RECORD)
        if len(saved):
            at = np.minimum(np.searchsorted(saved["pfn"], pfns), len(saved) - 1)
            there = saved["pfn"][at] == pfns
            found[there] = saved[at[there]]
        return found

    return Comparison(
        pages, "Compared with the pages as they were when the capture was saved."
    )


def evidence_of(capture: Capture, current: bool) -> tuple[Evidence, list[str]]:
    """How good a capture is, and sentences on what it was not asked for."""
    meta, counts, said = capture.meta, capture.meta.counts, []
    summary = capture.summary
    missing: set[int] = set()
    if capture.page_owner:
        for kind in _KINDS - {KINDS_BY_NAME[name].number for name in meta.functions}:
            missing.add(kind)
            said.append(
                f"This kernel's {EVENT_NAMES[kind]} events could not be captured."
            )
    filters = [entry.filter for entry in meta.filters]
    if None in filters:
        missing |= _KINDS
        said.append(
            "What the capture was asked for cannot be made out: events may be missing."
        )
    if any(filter_ != filters[0] for filter_ in filters):
        missing |= {RESET, COPY, SPLIT}
        said.append(
            "The filters were changed meanwhile: events of earlier allocations may be"
            " missing."
        )
    for filter_ in filters:
        if filter_ is None:
            continue
        if filter_.events is not None:
            asked = {KINDS_BY_WORD[word].number for word in filter_.events}
            left_out = sorted(_KINDS - asked)
            missing |= set(left_out)
            if left_out:
                said.append(
                    "The capture was not asked for the events"
                    f" {', '.join(EVENT_NAMES[kind] for kind in left_out)}."
                )
        if (filter_.pfns, filter_.zone, filter_.node) != (None, None, None):
            # What is migrated out of the pages that were asked for is not followed.
            missing |= {RESET, COPY}
    uncounted = meta.recovered is not None and not (
        meta.recovered.counters and meta.recovered.missed
    )
    lost = {loss.kind for loss in capture.losses}
    if uncounted or lost & _OF_ANY_KIND:
        missing |= _KINDS
    elif lost & INCOMPLETE:
        missing |= {
            kind
            for kind in _KINDS
            if sum(counts.recorded_by[kind]) > summary.kinds[kind]
        }
    if counts.forgotten:
        missing |= {RESET, COPY, SPLIT}
    movable = {name: mask for mask, name in capture.gfp_names}.get("__GFP_MOVABLE", 0)
    evidence = Evidence(
        missing, capture.last_time(), current, movable, meta.kernel.swaps_handles
    )
    return evidence, list(dict.fromkeys(said))
