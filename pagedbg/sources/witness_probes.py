# SPDX-License-Identifier: GPL-2.0-or-later
"""
What else than page_owner can say whose pages are: the questions that ``doctor`` asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagedbg.mm.alloc_tag import alloc_tags_compiled, mem_alloc_profiling_enabled
from pagedbg.mm.slab_track import tracked_caches

if TYPE_CHECKING:
    from pagedbg.target.target import Target

__all__ = ("NO_TAGS", "NO_TRACKS", "TAGS", "TRACKS", "has_tags", "has_tracks")

NO_TAGS = "owners --by site has nothing to list; page_owner knows more, and costs more"
TAGS = (
    "Boot a kernel with CONFIG_MEM_ALLOC_PROFILING=y (6.10 and later) with"
    " sysctl.vm.mem_profiling=1 on its command line: 8 bytes a page, and some percent"
    " of each allocation's time"
)
NO_TRACKS = "inspect virt does not say who allocated a slab object"
TRACKS = (
    "Boot with slub_debug=U, or slub_debug=U,NAME for one cache; it takes 64 bytes an"
    " object, and each allocation walks its stack"
)


def has_tags(target: Target) -> tuple[bool, str]:
    """Whether allocations are tagged, and what was found."""
    if not alloc_tags_compiled(target.prog):
        return False, "this kernel was built without CONFIG_MEM_ALLOC_PROFILING"
    return (
        (True, "on: each line of the source has its allocations counted")
        if mem_alloc_profiling_enabled(target.prog)
        else (False, "memory allocation profiling is off")
    )


def has_tracks(target: Target) -> tuple[bool, str]:
    """Whether slab caches write down who allocates their objects, and which do."""
    caches = tracked_caches(target.prog)
    if not caches:
        return False, "no slab cache writes down who allocates its objects"
    more = f" and {len(caches) - 3} more" if len(caches) > 3 else ""
    return True, f"of {', '.join(caches[:3])}{more}"
