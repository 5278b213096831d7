# SPDX-License-Identifier: GPL-2.0-or-later
"""A request for pages, and the zones that it would be tried from, out of a kernel."""

from __future__ import annotations

from collections.abc import Sequence

from drgn import Object, Program
from drgn.helpers.linux.mmzone import NODE_DATA, for_each_online_pgdat

from pagedbg.analysis.allocation_attempt import Machine, Request
from pagedbg.errors import UsageError
from pagedbg.mm.gfp import (
    decode_gfp_flags,
    gfp_kernel,
    gfp_mask,
    gfp_migratetype,
    gfp_single_flags,
    gfp_zone,
    gfpflag_names,
)
from pagedbg.mm.migrate import decode_migratetype
from pagedbg.mm.mmzone import zone_names
from pagedbg.mm.page_alloc import FALLBACKS
from pagedbg.mm.pageblock_flags import max_page_order, pageblock_order
from pagedbg.mm.zone_state import kswapd_is_running, zonelist_zones
from pagedbg.schema.flag_words import parse_flags
from pagedbg.target.links import Damaged

__all__ = (
    "GFP_DEFAULT",
    "allocation_request",
    "busy_kswapds",
    "extfrag_threshold",
    "machine_of",
    "online_nodes",
    "typed_request",
    "zones_for",
)

GFP_DEFAULT = "GFP_KERNEL"
"""What kernel code asks with that may sleep."""

# The flags by which a request asks for a migratetype, and for a zone.
_OF_TYPE = {
    "Unmovable": (),
    "Movable": ("__GFP_MOVABLE",),
    "Reclaimable": ("__GFP_RECLAIMABLE",),
}
_OF_ZONE = {
    "DMA": ("GFP_DMA",),
    "DMA32": ("GFP_DMA32",),
    "Normal": (),
    "HighMem": ("__GFP_HIGHMEM",),
    "Movable": ("__GFP_HIGHMEM", "__GFP_MOVABLE"),
}


def typed_request(
    prog: Program,
    order: int,
    gfp: str | None = None,
    migratetype: str | None = None,
    zone: str | None = None,
) -> Request:
    """
    Make a request of what a user typed.

    :param gfp: flags by name or number; :data:`GFP_DEFAULT` if there are none
    :param migratetype: what to ask for instead of what the flags ask for
    :param zone: the highest zone, instead of what the flags say
    :raises UsageError: for what no allocation can ask for
    """
    most = max_page_order(prog)
    if not 0 <= order <= most:
        raise UsageError(f"{order} is no order: this kernel has 0 to {most}")
    mask = _default(prog) if gfp is None else parse_flags(gfpflag_names(prog), gfp)
    if zone is not None:
        mask = _asking(prog, mask, _OF_ZONE, zone, "--zone", zone_names(prog))
    if migratetype is not None:
        mask = _asking(
            prog, mask, _OF_TYPE, migratetype, "--migratetype", tuple(FALLBACKS)
        )
    request = allocation_request(prog, order, mask)
    if request is None:
        raise UsageError(
            f"{decode_gfp_flags(prog, mask)} asks for several zones at once"
        )
    return request


def _default(prog: Program) -> int:
    try:
        return gfp_kernel(prog)
    except LookupError:
        raise UsageError(
            f"this kernel does not say what {GFP_DEFAULT} is: give --gfp a number, such"
            " as 0xcc0"
        ) from None


def _asking(
    prog: Program,
    mask: int,
    flags: dict[str, tuple[str, ...]],
    word: str,
    option: str,
    choices: Sequence[str],
) -> int:
    """The flags with those of one choice, and without those of the others."""
    name = next((each for each in choices if each.lower() == word.lower()), None)
    if name not in flags:
        there = ", ".join(each for each in choices if each in flags)
        raise UsageError(f"{option}: {word!r} cannot be asked for; choose from {there}")
    for others in flags.values():
        for each in others:
            mask &= ~gfp_mask(prog, each)
    for each in flags[name]:
        mask |= gfp_mask(prog, each)
    return mask


def allocation_request(prog: Program, order: int, mask: int) -> Request | None:
    """
    Make a request of its flags.

    :param mask: ``gfp_t``
    :return: None for flags that contradict each other
    """
    highest = gfp_zone(prog, mask)
    if highest is None:
        return None
    return Request(
        order=order,
        gfp_mask=mask,
        gfp=decode_gfp_flags(prog, mask),
        flags=gfp_single_flags(prog, mask),
        migratetype=decode_migratetype(prog, gfp_migratetype(prog, mask)),
        highest_zone=highest,
    )


def online_nodes(prog: Program) -> list[int]:
    """
    Return the nodes that have memory online.

    :raises Damaged: if there is none
    """
    nodes = [pgdat.node_id.value_() for pgdat in for_each_online_pgdat(prog)]
    if not nodes:
        raise Damaged("the memory of this kernel is damaged: no node of it is online")
    return nodes


def zones_for(prog: Program, request: Request, node: int | None) -> list[Object]:
    """
    Return the zones that a request is tried from, in this order.

    :param node: The node on which memory is wanted; None for the first one.
    :return: ``struct zone *`` objects
    :raises UsageError: for a node that is not online
    """
    nodes = online_nodes(prog)
    if node is not None and node not in nodes:
        there = ", ".join(map(str, nodes))
        raise UsageError(f"--node: node {node} is not online; there are {there}")
    return zonelist_zones(
        prog,
        nodes[0] if node is None else node,
        request.highest_zone,
        this_node="__GFP_THISNODE" in request.flags,
    )


def machine_of(prog: Program) -> Machine:
    """Return what else an allocation depends on."""
    try:
        prog["ZONE_DMA32"]
        normal = int(prog["ZONE_NORMAL"].value_())
    except LookupError:
        normal = None
    try:
        # Linux kernel commit e3aa7df331bc ("mm: page_alloc: defrag_mode") (in v6.15)
        defrag_mode = bool(prog["defrag_mode"].value_())
    except LookupError:
        defrag_mode = False
    return Machine(pageblock_order(prog), normal, len(online_nodes(prog)), defrag_mode)


def extfrag_threshold(prog: Program) -> int:
    """Return ``vm.extfrag_threshold``, 500 where it is not to be found."""
    try:
        return int(prog["sysctl_extfrag_threshold"].value_())
    except LookupError:
        return 500


def busy_kswapds(prog: Program) -> list[int]:
    """Return the nodes whose kswapd is at work."""
    return [
        node for node in online_nodes(prog) if kswapd_is_running(NODE_DATA(prog, node))
    ]
