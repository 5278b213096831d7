# SPDX-License-Identifier: GPL-2.0-or-later
"""
Page owner
----------

Helpers for ``mm/page_owner.c``: who allocated a page, from where, and who freed it
last.

The records lie in the page's extended data (:mod:`pagedbg.mm.page_ext`). Every page of
a block has a full copy of its block's record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from drgn import NULL, IntegerLike, Object, Program, TypeKind, cast, sizeof
from drgn.helpers.common.prog import takes_program_or_default
from numpy.typing import NDArray

from pagedbg.errors import PagedbgError
from pagedbg.mm.bulk_read import byte_order, number, read_array, record_dtype
from pagedbg.mm.page_ext import (
    for_each_page_ext_range,
    lookup_page_ext,
    page_ext_size,
    pfn_to_page_ext,
    read_page_ext,
)
from pagedbg.target.links import Damaged

__all__ = (
    "ALLOCATED",
    "FREED",
    "GREATEST_ORDER",
    "NEVER",
    "PAGE_RECORD",
    "Blocks",
    "PageOwner",
    "decode_comm",
    "for_each_block",
    "get_page_owner",
    "has_tail_times",
    "page_owner_compiled",
    "page_owner_dtype",
    "page_owner_inited",
    "page_owner_of_pfn",
    "page_owner_states",
    "page_owners_of_pfns",
    "read_page_owners",
    "special_handles",
)

NEVER, FREED, ALLOCATED = range(3)
"""
The state of a page's record: never written; of an allocation that is over; of one that
lasts.
"""

GREATEST_ORDER = 20
"""
No allocation has a greater order: gigantic huge pages have 18 or 19. A record with more
is torn or damaged.
"""

PAGE_RECORD: np.dtype[Any] = np.dtype(
    [
        ("pfn", "<u8"),
        ("ts_nsec", "<u8"),
        ("free_ts_nsec", "<u8"),
        ("comm", "<u8", 2),
        ("gfp_mask", "<u4"),
        ("handle", "<u4"),
        ("free_handle", "<u4"),
        ("pid", "<i4"),
        ("tgid", "<i4"),
        ("free_pid", "<i4"),
        ("free_tgid", "<i4"),
        ("order", "<u2"),
        ("last_migrate_reason", "<i2"),
        ("state", "u1"),
        ("known", "?"),
    ]
)
"""
What is on record of one page, the same for every kernel: members by the kernel's names,
``state`` (:data:`NEVER`, :data:`FREED` or
:data:`ALLOCATED`) and whether the record is ``known``; if not, all but ``pfn`` is zero.
Processes that this kernel does not write down are −1.
"""

# Records that lie no further apart are read with those between them: a read of 32 KiB
# takes hardly longer than one of a single record.
_NEAR = 512
_MOST_AT_ONCE = 1 << 15


@takes_program_or_default
def page_owner_compiled(prog: Program) -> bool:
    """Return whether the kernel was built with ``CONFIG_PAGE_OWNER``."""
    try:
        prog.symbol("page_owner_inited")
    except LookupError:
        return False
    return True


@takes_program_or_default
def page_owner_inited(prog: Program) -> bool:
    """
    Return whether page_owner is on, which ``page_owner=on`` on the kernel's command
    line does (``page_owner_inited``, a static key).
    """
    return (
        page_owner_compiled(prog)
        and prog["page_owner_inited"].key.enabled.counter.value_() > 0
    )


def get_page_owner(page_ext: Object) -> Object:
    """
    Return the page_owner record in a page's extended data.

    :param page_ext: ``struct page_ext *``
    :return: ``struct page_owner *``; NULL for NULL
    """
    prog = page_ext.prog_
    if not page_ext:
        return NULL(prog, "struct page_owner *")
    return cast(
        "struct page_owner *", cast("char *", page_ext) + prog["page_owner_ops"].offset
    )


@takes_program_or_default
def special_handles(prog: Program) -> dict[int, str]:
    """
    Return what page_owner files in place of a stack, by handle: ``dummy`` (allocated by
    page_owner itself), ``failure`` (the stack depot was full) and ``early`` (allocated
    before page_owner was ready).
    """
    names = ("dummy", "failure", "early")
    return {
        prog[f"{name}_handle"].value_(): name
        for name in names
        if prog[f"{name}_handle"]
    }


# ---- one page ----


@dataclasses.dataclass(frozen=True)
class PageOwner:
    """
    A copy of a ``struct page_owner``, its members by the kernel's names; None for those
    that this kernel has not.

    ``state`` is :data:`NEVER`, :data:`FREED` or :data:`ALLOCATED`. Times are
    ``local_clock()`` in nanoseconds.
    """

    state: int
    order: int
    last_migrate_reason: int
    gfp_mask: int
    handle: int
    free_handle: int | None
    ts_nsec: int | None
    free_ts_nsec: int | None
    comm: str | None
    pid: int
    tgid: int | None
    free_pid: int | None
    free_tgid: int | None


@takes_program_or_default
def page_owner_of_pfn(prog: Program, pfn: IntegerLike) -> PageOwner | None:
    """
    Return a copy of the record of a page frame, None if it has no extended data.

    :raises FaultError: if the record cannot be read
    """
    page_ext = pfn_to_page_ext(prog, pfn)
    if not page_ext:
        return None
    dtype = page_owner_dtype(prog)
    record = np.frombuffer(prog.read(page_ext.value_(), dtype.itemsize), dtype)
    fields: dict[str, Any] = {
        name: int(record[name][0])
        for name in dtype.names or ()
        if name not in ("flags", "comm")
    }
    fields["comm"] = (
        decode_comm(record["comm"][0]) if "comm" in (dtype.names or ()) else None
    )
    fields["state"] = int(page_owner_states(prog, record)[0])
    wanted: dict[str, Any] = {
        field.name: fields.get(field.name) for field in dataclasses.fields(PageOwner)
    }
    return PageOwner(**wanted)


# ---- all pages ----


@takes_program_or_default
def page_owner_dtype(prog: Program) -> np.dtype[Any]:
    """
    Return how NumPy views a page's extended data: ``flags`` of ``struct page_ext``,
    then the members of ``struct page_owner`` that this kernel has. ``comm`` is viewed
    as two 64-bit words (see :func:`decode_comm`).
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


def decode_comm(words: NDArray[Any]) -> str:
    """
    Return the text of a ``char comm[TASK_COMM_LEN]``: what follows the first NUL is
    left from a longer name.
    """
    return bytes(words.tobytes()).split(b"\0")[0].decode(errors="backslashreplace")


@takes_program_or_default
def page_owner_states(prog: Program, records: NDArray[Any]) -> NDArray[np.uint8]:
    """
    Return the state of each record (:data:`NEVER`, :data:`FREED` or :data:`ALLOCATED`),
    from the flags in ``enum page_ext_flags``.
    """
    states = np.zeros(len(records), np.uint8)
    for state in (FREED, ALLOCATED):
        states[_in_state(prog, records, state)] = state
    return states


def _in_state(prog: Program, records: NDArray[Any], state: int) -> NDArray[np.bool_]:
    try:
        at, owner, both = prog.cache[_in_state]
    except KeyError:
        # Both are among the first flags of enum page_ext_flags. One byte is compared
        # faster than a whole word.
        owner = 1 << number(prog, "PAGE_EXT_OWNER", 7)
        both = owner | 1 << number(prog, "PAGE_EXT_OWNER_ALLOCATED", 7)
        assert records.dtype.fields is not None
        kind, at = records.dtype.fields["flags"][:2]
        at += 0 if byte_order(prog) == "<" else kind.itemsize - 1
        prog.cache[_in_state] = at, owner, both
    flags = np.ascontiguousarray(records).view(np.uint8)[at :: records.dtype.itemsize]
    # ALLOCATED without OWNER does not occur; counted as never written.
    among = owner if state == NEVER else both
    wanted = {NEVER: 0, FREED: owner, ALLOCATED: both}[state]
    found: NDArray[np.bool_] = (flags & np.uint8(among)) == np.uint8(wanted)
    return found


@takes_program_or_default
def read_page_owners(
    prog: Program, start_pfn: int = 0, end_pfn: int | None = None
) -> Iterator[tuple[int, NDArray[Any], NDArray[np.bool_]]]:
    """
    Read the records of all pages in bulk.

    :return: Pieces in order of page frame numbers: the first pfn, an array of
        :func:`page_owner_dtype` with an element a page, and for each whether it could
        be read (if not, what is missing is zero)
    """
    return read_page_ext(prog, page_owner_dtype(prog), start_pfn, end_pfn)


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


# Within so many nanoseconds the pages of one block are written.
_WHILE_WRITING = 10**8


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


@dataclasses.dataclass
class Blocks:
    """
    Blocks of pages, a row a block.

    ``pfn`` is where the block begins, ``pages`` how many of its pages are in the state
    asked for (fewer than ``1 << order`` where it was freed in part). The record of the
    first of these pages is element ``index`` of ``source`` (or, where ``index`` is
    None, that of the same row):
    :meth:`column` takes one member out of all of them, :attr:`records` copies them,
    which is dear. ``unread`` and ``damaged`` count the pages of this piece whose record
    could not be read, or says an order that no allocation can have.
    """

    pfn: NDArray[np.uint64]
    order: NDArray[np.uint8]
    pages: NDArray[np.int64]
    source: NDArray[Any]
    index: NDArray[np.int64] | None = None
    unread: int = 0
    damaged: int = 0

    def __len__(self) -> int:
        return len(self.pfn)

    @property
    def end_pfn(self) -> NDArray[np.uint64]:
        """The first page frame behind each block."""
        end: NDArray[np.uint64] = self.pfn + (
            np.uint64(1) << self.order.astype(np.uint64)
        )
        return end

    @property
    def records(self) -> NDArray[Any]:
        """Each block's record, of :func:`page_owner_dtype`."""
        return self.source if self.index is None else self.source[self.index]

    @property
    def members(self) -> tuple[str, ...]:
        """
        The names that :meth:`column` knows: the members that this kernel's records
        have.
        """
        return self.source.dtype.names or ()

    def column(self, member: str) -> NDArray[Any]:
        """A member of each block's record."""
        column: NDArray[Any] = self.source[member]
        return column if self.index is None else column[self.index]

    def take(self, which: NDArray[Any]) -> Blocks:
        """The rows that an index or a mask chooses."""
        index = np.arange(len(self)) if self.index is None else self.index
        return Blocks(
            self.pfn[which],
            self.order[which],
            self.pages[which],
            self.source,
            index[which],
        )

    def before(self, other: Blocks) -> Blocks:
        """These rows and those of ``other`` behind them."""
        return Blocks(
            np.concatenate((self.pfn, other.pfn)),
            np.concatenate((self.order, other.order)),
            np.concatenate((self.pages, other.pages)),
            np.concatenate((self.records, other.records)),
        )


@takes_program_or_default
def for_each_block(
    prog: Program,
    state: int = ALLOCATED,
    start_pfn: int = 0,
    end_pfn: int | None = None,
) -> Iterator[Blocks]:
    """
    Iterate over the blocks that have pages in a state, in order of page frame numbers
    and some ten thousand at a time.

    Two blocks of one order that begin at one page cannot exist together, so the pages
    with the same order that lie in the same naturally aligned range are one block,
    whatever has become of the others of that range: a page that was freed out of a
    block and allocated again has a record of its own. (Their times are not compared: up
    to 6.1 ``__folio_copy_owner()`` updates the head's record only.)
    """
    held: Blocks | None = None
    for first, records, known in read_page_owners(prog, start_pfn, end_pfn):
        chosen = _in_state(prog, records, state)
        unread = int(len(known) - np.count_nonzero(known))
        if unread:
            # Of a record that lies half in a page that is missing, some members are
            # zero.
            chosen &= known
        blocks = _group(first, records, chosen)
        blocks.unread = unread
        if held is not None and len(held):
            blocks = dataclasses.replace(
                held.before(blocks), unread=blocks.unread, damaged=blocks.damaged
            )
        held = None
        greatest = int(blocks.order.max(initial=0))
        if greatest:
            blocks = _join_parts(blocks)
        # A gigantic page goes on in the next piece. Blocks are aligned to their size:
        # one that is no larger than what this piece's end is aligned to does not reach
        # across.
        end = first + len(records)
        if 1 << greatest > end & -end:
            unfinished = blocks.end_pfn > np.uint64(end)
            held = blocks.take(unfinished)
            blocks = dataclasses.replace(
                blocks.take(~unfinished), unread=blocks.unread, damaged=blocks.damaged
            )
        yield blocks
    if held is not None:
        yield held


# Most blocks are single pages, and NumPy takes as long for one of them as for any
# other. So what only larger ones need is done to them alone.


def _group(first: int, records: NDArray[Any], mask: NDArray[np.bool_]) -> Blocks:
    """
    Make blocks of neighbouring pages that are of the same block; only of those in the
    mask.
    """
    order, index = records["order"], None
    if not mask.all():
        index = np.flatnonzero(mask)
        order = order[index]
    damaged = 0
    if order.max(initial=0) > GREATEST_ORDER:
        sane = np.flatnonzero(order <= GREATEST_ORDER)
        damaged = len(order) - len(sane)
        order, index = order[sane], sane if index is None else index[sane]
    order = order.astype(np.uint8)
    head = np.uint64(first) + (
        np.arange(len(order), dtype=np.uint64)
        if index is None
        else index.view(np.uint64)
    )
    large = np.flatnonzero(order)
    if not len(large):
        return Blocks(
            head, order, np.ones(len(order), np.int64), records, index, damaged=damaged
        )
    orders = order[large]
    heads = head[large] >> orders << orders
    head[large] = heads
    same = (
        (large[1:] == large[:-1] + 1)
        & (heads[1:] == heads[:-1])
        & (orders[1:] == orders[:-1])
    )
    begins = np.ones(len(order), np.bool_)
    begins[large[1:][same]] = False
    starts = np.flatnonzero(begins)
    pages = np.full(len(starts), len(order))
    pages[:-1] = starts[1:]
    pages -= starts
    return Blocks(
        head[starts],
        order[starts],
        pages,
        records,
        starts if index is None else index[starts],
        damaged=damaged,
    )


def _join_parts(blocks: Blocks) -> Blocks:
    """Join the parts of a block between which other blocks lie."""
    large = np.flatnonzero(blocks.order)
    parts = large[
        blocks.pages[large] < np.int64(1) << blocks.order[large].astype(np.int64)
    ]
    if len(parts) < 2:
        return blocks
    key = np.stack((blocks.pfn[parts], blocks.order[parts]))
    _, first, which, count = np.unique(
        key, axis=1, return_index=True, return_inverse=True, return_counts=True
    )
    if not (count > 1).any():
        return blocks
    pages = blocks.pages.copy()
    pages[parts[first]] = np.bincount(
        which.ravel(), weights=blocks.pages[parts]
    ).astype(np.int64)
    keep = np.ones(len(blocks), np.bool_)
    keep[parts] = False
    keep[parts[first]] = True
    joined = dataclasses.replace(blocks, pages=pages).take(keep)
    return dataclasses.replace(joined, unread=blocks.unread, damaged=blocks.damaged)


def lookup_page_owner(page: Object) -> Object:
    """
    Return the page_owner record of a page.

    :param page: ``struct page *``
    :return: ``struct page_owner *``, NULL if it has none
    """
    return get_page_owner(lookup_page_ext(page))
