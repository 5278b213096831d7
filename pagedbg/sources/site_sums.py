# SPDX-License-Identifier: GPL-2.0-or-later
"""Sums by the line of the source, with the kernel's own counters of it beside them."""

from __future__ import annotations

from collections.abc import Iterable

from pagedbg.mm.alloc_tag import AllocTags
from pagedbg.schema.table import Row

__all__ = ("with_counters",)

# What BLOCK_SUMS say of no page.
_NO_PAGES = (0, 0, 0, 0.0, 0.0)


def with_counters(rows: Iterable[Row], tags: AllocTags, notes: list[str]) -> list[Row]:
    """
    Put the counters of tags beside sums by site; lines that have no page of their own,
    since they allocate slab objects, come behind.

    :param rows: the site and :data:`pagedbg.schema.block_columns.BLOCK_SUMS`
    :param notes: where to add what could not be read
    :return: rows of :data:`pagedbg.schema.block_columns.SITE_SUMS` with their site
    """
    counters = tags.counters()
    counted: dict[str, tuple[int, int]] = {}
    # An inline function has a tag wherever the compiler has put it.
    for address, calls, size in zip(
        tags.addresses.tolist(),
        counters.calls.tolist(),
        counters.bytes.tolist(),
        strict=True,
    ):
        if calls or size:
            site = tags.site(address)
            before = counted.get(site, (0, 0))
            counted[site] = before[0] + calls, before[1] + size
    unread = int((~counters.known).sum())
    if unread:
        notes.append(
            f"The counters of {unread} allocation tags could not be read on every CPU:"
            " what could is summed up."
        )
    notes += [f"The {what} could not be read." for what in tags.unread]
    nothing = (None, None)
    found: list[Row] = [(*row, *counted.pop(row[0], nothing)) for row in rows]
    found += [(site, *_NO_PAGES, *sums) for site, sums in counted.items()]
    return found
