# SPDX-License-Identifier: GPL-2.0-or-later
"""
Slab pages that a dump has lost
-------------------------------

makedumpfile 1.7.2 looks for PG_slab, which is no page flag since Linux kernel commit
46df8e73a4a3 ("mm: free up PG_slab") (in v6.10): where it leaves out user data (8 of its
dump level) it takes a slab for that if the word is odd that is ``page->mapping`` in
other pages.
"""

from __future__ import annotations

import itertools

import numpy as np
from drgn import FaultError, Program
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.mm import pfn_to_virt, virt_to_pfn

from pagedbg.mm.page_array import PageDecoder
from pagedbg.mm.page_state import pfn_state
from pagedbg.target.links import UNREADABLE

__all__ = ("LOST_SLABS", "in_lost_slab", "slabs_are_lost")

LOST_SLABS = (
    "the dump has lost pages of slabs: makedumpfile 1.7.2 (Debian 12) takes some of"
    " Linux 6.10 and later for user data, 1.7.6 (Debian 13) does not, and none does"
    " with -d 23"
)
"""A sentence's part that says so, and what helps."""

# Of 30 slab pages one is lost.
_ENOUGH = 1 << 14


@takes_program_or_default
def in_lost_slab(prog: Program, error: BaseException) -> bool:
    """Whether what could not be read is in a slab, of which a dump has all pages."""
    if not isinstance(error, FaultError):
        return False
    try:
        return pfn_state(prog, virt_to_pfn(prog, error.address)).kind == "slab"
    except UNREADABLE:
        return False


@takes_program_or_default
def slabs_are_lost(prog: Program) -> bool:
    """Whether a dump lacks pages of slabs, of the first thousands that there are."""
    for pfn in itertools.islice(_slab_pages(prog), _ENOUGH):
        try:
            prog.read_u8(pfn_to_virt(prog, pfn))
        except FaultError:
            return True
    return False


def _slab_pages(prog: Program) -> itertools.chain[int]:
    """The page frame numbers of slabs."""
    return itertools.chain.from_iterable(
        (pages.first + np.flatnonzero(pages.kind == pages.kinds.index("slab"))).tolist()
        for pages in PageDecoder(prog).pieces(0, prog["max_pfn"].value_())
    )
