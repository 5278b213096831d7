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
from typing import Any

import numpy as np
from drgn import NULL, IntegerLike, Object, Program, cast
from drgn.helpers.common.prog import takes_program_or_default

from pagedbg.mm.page_ext import lookup_page_ext, pfn_to_page_ext
from pagedbg.mm.page_owner_bulk import page_owner_dtype, page_owner_states
from pagedbg.schema.owner_record import decode_comm

__all__ = (
    "PageOwner",
    "get_page_owner",
    "page_owner_compiled",
    "page_owner_inited",
    "page_owner_of_pfn",
    "special_handles",
)


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
    try:
        handles = [int(prog[f"{name}_handle"].value_()) for name in names]
    except LookupError:
        # CONFIG_PAGE_OWNER=n
        return {}
    return {handle: name for handle, name in zip(handles, names, strict=True) if handle}


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


def lookup_page_owner(page: Object) -> Object:
    """
    Return the page_owner record of a page.

    :param page: ``struct page *``
    :return: ``struct page_owner *``, NULL if it has none
    """
    return get_page_owner(lookup_page_ext(page))
