# SPDX-License-Identifier: GPL-2.0-or-later
"""Which slabs are on their nodes' lists of partial ones, by walking the lists."""

from __future__ import annotations

from drgn import Object, Program, cast
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mm import page_to_pfn
from drgn.helpers.linux.nodemask import for_each_online_node
from drgn.helpers.linux.slab import for_each_slab_cache


def partial_slabs(prog: Program) -> set[int]:
    """Return the page frame numbers of their first pages."""
    return {
        page_to_pfn(cast("struct page *", slab)).value_()
        for cache in for_each_slab_cache(prog)
        for nid in for_each_online_node(prog)
        for slab in list_for_each_entry(
            "struct slab", _node(cache, nid).partial.address_of_(), "slab_list"
        )
    }


def _node(cache: Object, nid: int) -> Object:
    # In 7.3 a node stands beside what else is kept by node.
    try:
        return cache.node[nid]
    except AttributeError:
        return cache.per_node[nid].node
