# SPDX-License-Identifier: GPL-2.0-or-later
"""
Page owner in bulk
------------------

The records of :mod:`pagedbg.mm.page_owner` of many pages at once, as arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from drgn import Program, TypeKind, sizeof
from drgn.helpers.common.prog import takes_program_or_default
from numpy.typing import NDArray

from pagedbg.errors import PagedbgError
from pagedbg.mm.bulk_read import byte_order, number, read_array, record_dtype
from pagedbg.mm.page_ext import (
    PageExtRanges,
    for_each_page_ext_range,
    page_ext_size,
    read_page_ext,
)
from pagedbg.schema.owner_record import (
    ALLOCATED,
    FREED,
    GREATEST_ORDER,
    NEVER,
    PAGE_RECORD,
)
from pagedbg.target.links import Damaged

__all__ = (
    "has_tail_times",
    "in_state",
    "page_owner_dtype",
    "page_owner_states",
    "page_owners_of_pfns",
    "read_page_owners",
)

# Records that lie no further apart are read with those between them: a read of 32 KiB
# takes hardly longer than one of a single record.
_NEAR = 512
_MOST_AT_ONCE = 1 << 15

# Within so many nanoseconds the pages of one block are written.
_WHILE_WRITING = 10**8


@takes_program_or_default
def page_owner_dtype(prog: Program) -> np.dtype[Any]:
    """
    Return how NumPy views a page's extended data: ``flags`` of ``struct page_ext``,
    then the members of ``struct page_owner`` that this kernel has. ``comm`` is viewed
    as two 64-bit words (see :func:`pagedbg.schema.owner_record.decode_comm`).
    """
    found: np.dtype[Any] | None = prog.cache.get(page_owner_dtype)
    if found is None:
        order, base = byte_order(prog), prog["page_owner_ops"].offset.value_()
        if base + sizeof(prog.type("struct page_owner")) > page_ext_size(prog):
            raise PagedbgError(
                f"page_owner's data begins at byte {base} of {page_ext_size(prog)},"
                " which cannot be: the memory of this kernel is damaged."
            )
        fields = {"flags": (f"{order}u8", 0)}
        for member in prog.type("struct page_owner").members or ():
            kind = member.type.unaliased_kind()
            if (
                not member.name
                or member.bit_offset is None
                or kind not in (TypeKind.INT, TypeKind.ARRAY)
            ):
                raise Damaged(
                    "the types of this kernel are damaged: struct page_owner has a"
                    " member that is no number"
                )
            if kind == TypeKind.ARRAY:
                format_ = f"({sizeof(member.type) // 8},){order}u8"
            else:
                signed = member.type.unaliased().is_signed
                format_ = f"{order}{'i' if signed else 'u'}{sizeof(member.type)}"
            fields[member.name] = (format_, base + member.bit_offset // 8)
        missing = {
            "order",
            "last_migrate_reason",
            "gfp_mask",
            "handle",
            "pid",
        } - fields.keys()
        if missing:
            raise Damaged(
                "the types of this kernel are damaged: struct page_owner has no member"
                f" {min(missing)}"
            )
        found = record_dtype(fields, page_ext_size(prog))
        prog.cache[page_owner_dtype] = found
    return found


@takes_program_or_default
def page_owner_states(prog: Program, records: NDArray[Any]) -> NDArray[np.uint8]:
    """
    Return the state of each record (:data:`NEVER`, :data:`FREED` or :data:`ALLOCATED`),
    from the flags in ``enum page_ext_flags``.
    """
    states = np.zeros(len(records), np.uint8)
    for state in (FREED, ALLOCATED):
        states[in_state(prog, records, state)] = state
    return states


def in_state(prog: Program, records: NDArray[Any], state: int) -> NDArray[np.bool_]:
    try:
        at, owner, both = prog.cache[in_state]
    except KeyError:
        # Both are among the first flags of enum page_ext_flags. One byte is compared
        # faster than a whole word.
        owner = 1 << number(prog, "PAGE_EXT_OWNER", 7)
        both = owner | 1 << number(prog, "PAGE_EXT_OWNER_ALLOCATED", 7)
        assert records.dtype.fields is not None
        kind, at = records.dtype.fields["flags"][:2]
        at += 0 if byte_order(prog) == "<" else kind.itemsize - 1
        prog.cache[in_state] = at, owner, both
    flags = np.ascontiguousarray(records).view(np.uint8)[at :: records.dtype.itemsize]
    # ALLOCATED without OWNER does not occur; counted as never written.
    among = owner if state == NEVER else both
    wanted = {NEVER: 0, FREED: owner, ALLOCATED: both}[state]
    found: NDArray[np.bool_] = (flags & np.uint8(among)) == np.uint8(wanted)
    return found


@takes_program_or_default
def read_page_owners(
    prog: Program,
    start_pfn: int = 0,
    end_pfn: int | None = None,
    ranges: PageExtRanges | None = None,
) -> Iterator[tuple[int, NDArray[Any], NDArray[np.bool_]]]:
    """
    Read the records of all pages in bulk.

    :param ranges: where they are, for who reads many pieces
    :return: Pieces in order of page frame numbers: the first pfn, an array of
        :func:`page_owner_dtype` with an element a page, and for each whether it could
        be read (if not, what is missing is zero)
    """
    return read_page_ext(prog, page_owner_dtype(prog), start_pfn, end_pfn, ranges)


@takes_program_or_default
def page_owners_of_pfns(prog: Program, pfns: NDArray[Any]) -> NDArray[Any]:
    """
    Read the records of some pages; those that lie near each other together.

    :param pfns: page frame numbers, in any order
    :return: an array of :data:`PAGE_RECORD`, an element for each of them
    """
    distinct, which = np.unique(pfns.astype(np.uint64), return_inverse=True)
    found = np.zeros(len(distinct), PAGE_RECORD)
    found["pfn"] = distinct
    if not len(distinct):
        return found
    dtype = page_owner_dtype(prog)
    members = [name for name in PAGE_RECORD.names or () if name in (dtype.names or ())]
    for name in ("tgid", "free_pid", "free_tgid"):
        found[name] = 0 if name in members else -1
    for part in for_each_page_ext_range(prog, int(distinct[0]), int(distinct[-1]) + 1):
        start, end = np.searchsorted(
            distinct, np.array((part.start_pfn, part.end_pfn), np.uint64)
        ).tolist()
        inside = distinct[start:end].astype(np.int64) - part.start_pfn
        edges = (
            np.flatnonzero(
                (np.diff(inside) > _NEAR) | (np.diff(inside // _MOST_AT_ONCE) > 0)
            )
            + 1
        )
        for run in np.split(np.arange(len(inside)), edges):
            if not len(run):
                continue
            first = int(inside[run[0]])
            records, known = read_array(
                prog,
                part.address + dtype.itemsize * first,
                int(inside[run[-1]]) + 1 - first,
                dtype,
            )
            at = inside[run] - first
            records, known = records[at], known[at]
            into = found[start + run[0] : start + run[-1] + 1]
            for name in members:
                into[name] = np.where(
                    known.reshape(-1, *[1] * (records[name].ndim - 1)), records[name], 0
                )
            into["state"] = np.where(known, page_owner_states(prog, records), NEVER)
            into["known"] = known
    if has_tail_times(prog):
        _adopt_time_of_head(prog, found)
    return found[which]


def has_tail_times(prog: Program) -> bool:
    """
    Whether each page of a block has a ``ts_nsec`` of its own: before "mm/page_owner:
    record and dump free_pid and free_tgid" (in v6.8) and its companions
    ``__set_page_owner_handle()`` looked at the clock for each page of a block.
    """
    return not prog.type("struct page_owner").has_member("free_pid")


def _adopt_time_of_head(prog: Program, records: NDArray[Any]) -> None:
    """Give the tails of blocks the time of their head."""
    order = records["order"].astype(np.uint64)
    tails = np.flatnonzero(
        (order > 0)
        & (order <= GREATEST_ORDER)
        & (records["pfn"] & ((np.uint64(1) << order) - np.uint64(1)) > 0)
    )
    if not len(tails):
        return
    of = records[tails]
    heads = page_owners_of_pfns(prog, of["pfn"] >> order[tails] << order[tails])
    late = of["ts_nsec"].astype(np.int64) - heads["ts_nsec"].astype(np.int64)
    same = (late >= 0) & (late < _WHILE_WRITING) & heads["known"]
    for name in ("order", "handle", "pid", "gfp_mask"):
        same &= heads[name] == of[name]
    records["ts_nsec"][tails[same]] = heads["ts_nsec"][same]
