# SPDX-License-Identifier: GPL-2.0-or-later
"""
Pages that cannot be migrated because somebody has references to them that nothing
accounts for, and who can be asked about it, out of a kernel.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from drgn.helpers.linux.mm import pfn_to_page
from numpy.typing import NDArray

from pagedbg.mm.mmzone import ZoneSpan
from pagedbg.mm.page_array import PageDecoder, Pages
from pagedbg.mm.page_owner_bulk import page_owners_of_pfns
from pagedbg.mm.page_state import PageDetails
from pagedbg.mm.rmap import page_mappings
from pagedbg.schema.owner_record import ALLOCATED
from pagedbg.schema.table import Row
from pagedbg.session import Session
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.pageblock_pages import zone_pages

__all__ = ("PinnedPages",)

# For as long as this it is looked up who maps the pages, and for none as long as that.
_SECONDS, _SECONDS_A_PAGE = 10.0, 0.5
_MOST_MAPPINGS = 16


class PinnedPages:
    """
    Draws rows of :data:`pagedbg.schema.pageblock_columns.PINNED_PAGES`, for one run of
    a command.

    :param names: what the numbers in page_owner's records stand for; None where there
        are none
    :param notes: Where to add what the rows do not say.
    """

    def __init__(
        self, session: Session, names: KernelNames | None, notes: list[str]
    ) -> None:
        self._prog, self._names, self._notes = session.prog, names, notes
        self._decoder = PageDecoder(self._prog, references=True)
        self._words = PageDetails(self._prog, self._decoder)
        self._until = time.monotonic() + _SECONDS
        self._unasked = 0

    def rows(
        self, spans: Sequence[ZoneSpan], start_pfn: int, end_pfn: int | None
    ) -> Iterator[list[Row]]:
        """
        Iterate over the pinned pages of some zones, and compound pages, that have a
        page in a range; some at a time.
        """
        last = -1
        for _, span, pages in zone_pages(
            self._prog, self._decoder, spans, start_pfn, end_pfn
        ):
            at = np.flatnonzero(pages.extra > 0)
            # Each compound page once. (Nodes whose memory is interleaved span each
            # other's pages.)
            mine = (pages.zone(self._prog) == span.zone)[at]
            mine &= (pages.node(self._prog) == span.nid)[at]
            at = at[mine]
            heads, first = np.unique(pages.head[at], return_index=True)
            at = at[first[heads != last]]
            if len(at):
                last = int(heads[-1])
                yield self._drawn(span, pages, at)
        if self._unasked:
            self._notes.append(
                f"Who maps {self._unasked} of these pages was not looked up: that"
                f" would take more than {_SECONDS:.0f} s. Ask for fewer with --pfns."
            )

    def _drawn(self, span: ZoneSpan, pages: Pages, at: NDArray[np.intp]) -> list[Row]:
        heads = pages.head[at]
        owners = self._owners(heads)
        rows: list[Row] = []
        for i, head, owner in zip(at.tolist(), heads.tolist(), owners, strict=True):
            order = int(pages.order[i])
            detail = self._words.detail(
                int(pages.detail[i]), int(pages.key[i]), order, pages.kinds
            )
            rows.append(
                (
                    head,
                    order,
                    1 << order,
                    span.name,
                    span.nid,
                    pages.kinds[pages.kind[i]],
                    detail,
                    int(pages.mapcount[i]),
                    int(pages.extra[i]),
                    self._mapped_by(pages.first + i),
                    *owner,
                )
            )
        return rows

    def _mapped_by(self, pfn: int) -> list[str] | None:
        """The programs that map a page, None if nobody looked."""
        left = self._until - time.monotonic()
        if left <= 0:
            self._unasked += 1
            return None
        found = page_mappings(
            pfn_to_page(self._prog, pfn), _MOST_MAPPINGS, min(_SECONDS_A_PAGE, left)
        )
        who = dict.fromkeys(
            "?" if each.pid is None else f"{each.comm} ({each.pid})"
            for each in found.mappings
        )
        return [*who, *([] if found.complete else ["..."])]

    def _owners(self, heads: NDArray[np.int64]) -> list[tuple[Any, Any, Any]]:
        """The function, the process id and the program that asked for each page."""
        names = self._names
        if names is None:
            return [(None, None, None)] * len(heads)
        records = page_owners_of_pfns(self._prog, heads)
        known = records["state"] == ALLOCATED
        handles = records["handle"].tolist()
        names.stacks({h for h, here in zip(handles, known, strict=True) if here})
        return [
            (names.function(handle), pid, names.comm(comm) or None)
            if here
            else (None, None, None)
            for handle, pid, comm, here in zip(
                handles, records["pid"].tolist(), records["comm"], known, strict=True
            )
        ]
