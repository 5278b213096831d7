# SPDX-License-Identifier: GPL-2.0-or-later
"""
Where pages are allocated that ``mm_page_alloc`` does not tell of, though page_owner
keeps a record: in compaction and ``alloc_contig_range()``, and where the charge for a
page to a cgroup fails, so that it is freed again.

There is no function that only those run through. But each calls one, with the page and
its order, at a place that its machine code tells; most of what is allocated comes by
elsewhere, and is not slowed down by what is attached there.
"""

from __future__ import annotations

from collections.abc import Iterator

from drgn import FaultError, Program

from pagedbg.errors import PagedbgError
from pagedbg.target.text_calls import TextCall, find_calls

_SET = "__set_page_owner"

# mm/page_alloc.c; where they are functions by themselves and not part of their callers.
_ON_THE_WAY = ("post_alloc_hook", "prep_new_page")

# What mm_page_alloc tells of, if it succeeds (mm/page_alloc.c). With page_owner on, a
# bulk allocation takes no page by itself.
_TELLS = frozenset(
    {
        "__alloc_frozen_pages",
        "__alloc_pages",
        "alloc_frozen_pages_nolock",
        "alloc_pages_nolock",
    }
)
_TOLD = _TELLS | {
    "__alloc_pages_bulk",
    "__alloc_pages_cpuset_fallback",
    "__alloc_pages_direct_compact",
    "__alloc_pages_direct_reclaim",
    "__alloc_pages_may_oom",
    "__alloc_pages_slowpath",
    "alloc_pages_bulk",
    "get_page_from_freelist",
}

# mm/compaction.c, and alloc_contig_range() of mm/page_alloc.c.
_UNTOLD = frozenset(
    {
        "alloc_contig_frozen_range",
        "alloc_contig_range",
        "compaction_alloc",
        "isolate_freepages",
        "isolate_freepages_range",
        "mark_allocated",
        "release_free_list",
        "release_freepages",
        "split_free_frozen_pages",
        "split_free_pages",
        "split_map_pages",
    }
)

# What is charged and, if that fails, freed by one of these, which is told the page and
# its order: by the first up to 6.12, by the second in 7.3.
_CHARGE = "__memcg_kmem_charge_page"
_FREE = (
    "__free_pages",
    "__free_frozen_pages",
    "free_frozen_pages",
    "free_unref_page",
    "__free_pages_ok",
)


def find_untold(prog: Program) -> list[str]:
    """
    Return the places, ``function+0x1f``, where a function is called with a page and its
    order that is allocated untold.

    :raises PagedbgError: if the kernel's code does not say all that it takes to miss
        nothing
    """
    have = [name for name in (*_ON_THE_WAY, _CHARGE, *_FREE) if _has(prog, name)]
    try:
        calls = find_calls(prog, _SET, *have)
    except (FaultError, LookupError) as error:
        raise PagedbgError(f"the kernel's code cannot be read: {error}") from None
    if not calls[_SET]:
        raise PagedbgError(f"nobody is seen to call {_SET} in the kernel's code")
    places = [
        *(call for name in (_SET, *_ON_THE_WAY) for call in _untold(calls, name)),
        *_uncharged(calls),
    ]
    return [str(call) for call in places]


def _untold(calls: dict[str, list[TextCall]], name: str) -> Iterator[TextCall]:
    """Calls of a function that is told the page and its order first of all."""
    for call in calls.get(name, ()):
        caller = _source_name(call)
        if caller in _UNTOLD:
            yield call
        elif caller not in _TOLD and caller not in _ON_THE_WAY:
            raise PagedbgError(
                f"{call.caller} allocates pages in a way that is not known here"
            )


def _uncharged(calls: dict[str, list[TextCall]]) -> Iterator[TextCall]:
    """Where what has been allocated is freed again since its charge fails."""
    for charge in calls.get(_CHARGE, ()):
        if _source_name(charge) not in _TELLS:
            continue
        frees = [
            call
            for name in _FREE
            for call in calls.get(name, ())
            if _source_name(call) == _source_name(charge)
        ]
        if not frees:
            raise PagedbgError(
                f"{charge.caller} frees in a way that is not known here what cannot be"
                " charged"
            )
        yield from frees


def _source_name(call: TextCall) -> str:
    """
    What the caller is called in the source: without a compiler's suffix, and that of a
    function whose memory is not profiled (v6.10).
    """
    return call.caller.partition(".")[0].removesuffix("_noprof")


def _has(prog: Program, name: str) -> bool:
    try:
        prog.symbol(name)
    except LookupError:
        return False
    return True
