# SPDX-License-Identifier: GPL-2.0-or-later
"""
Zones and nodes
---------------

Helpers for ``include/linux/mmzone.h`` and ``page-flags-layout.h``: which zone and which
node a page belongs to, for one page and for millions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from drgn import Object, Program, sizeof
from drgn.helpers.common.prog import takes_program_or_default
from drgn.helpers.linux.mm import page_flags, pfn_to_page
from drgn.helpers.linux.mmzone import NODE_DATA, for_each_online_pgdat
from numpy.typing import NDArray

from pagedbg.mm.bulk_read import (
    array_length,
    byte_order,
    c_string,
    number,
    offset_of,
    read_array,
    record_dtype,
)
from pagedbg.target.links import Damaged

__all__ = (
    "MAX_NUMNODES",
    "ZoneSpan",
    "for_each_populated_zone",
    "for_each_zone",
    "node_of_pfns",
    "page_flags_nid",
    "page_flags_zonenum",
    "page_to_nid",
    "page_zone",
    "page_zonenum",
    "populated_zone",
    "zone_end_pfn",
    "zone_idx",
    "zone_name",
    "zone_names",
    "zone_of_pfns",
    "zone_spans",
)

# How much of the struct page array one read takes: 32,768 pages of 64 bytes are 2 MiB.
_PAGES_PER_READ = 1 << 15

# Physical addresses of 64 bits, and NODES_SHIFT of 10.
_MOST_PFNS, _MOST_NODES = 1 << 52, 1 << 10


@dataclasses.dataclass(frozen=True)
class ZoneSpan:
    """
    The page frames ``start_pfn <= pfn < end_pfn`` that one zone of one node spans;
    there may be holes in it.
    """

    nid: int
    zone: int
    name: str
    start_pfn: int
    end_pfn: int


def _max_nr_zones(prog: Program) -> int:
    # ZONES_SHIFT is 3 at most.
    return number(prog, "__MAX_NR_ZONES", 8, 1)


@takes_program_or_default
def for_each_zone(prog: Program) -> Iterator[Object]:
    """
    Iterate over every zone of every online node, populated or not.

    :return: Iterator of ``struct zone *`` objects.
    """
    nr_zones = _max_nr_zones(prog)
    for pgdat in for_each_online_pgdat(prog):
        for i in range(nr_zones):
            yield pgdat.node_zones[i].address_of_()


@takes_program_or_default
def for_each_populated_zone(prog: Program) -> Iterator[Object]:
    """
    Iterate over every zone that has pages.

    :return: Iterator of ``struct zone *`` objects.
    """
    return (zone for zone in for_each_zone(prog) if populated_zone(zone))


def populated_zone(zone: Object) -> bool:
    """
    Return whether a zone has pages.

    :param zone: ``struct zone *``
    """
    return bool(zone.present_pages)


def zone_name(zone: Object) -> str:
    """
    Get the name of a zone, such as ``Normal``.

    :param zone: ``struct zone *``
    """
    return str(c_string(zone.name).decode("ascii", "replace"))


def zone_idx(zone: Object) -> int:
    """
    Return the place of a zone in its node, an ``enum zone_type``.

    :param zone: ``struct zone *``
    """
    zones = zone.zone_pgdat.node_zones
    return int((zone.value_() - zones.address_) // sizeof(zones[0]))


def zone_end_pfn(zone: Object) -> int:
    """
    Return the first page frame number after the ones that a zone spans.

    :param zone: ``struct zone *``
    """
    return int(zone.zone_start_pfn.value_() + zone.spanned_pages.value_())


@takes_program_or_default
def zone_names(prog: Program) -> list[str]:
    """
    Return the names of the zones by ``enum zone_type``, read from ``zone::name``, which
    the kernel sets for empty zones too.

    >>> zone_names()
    ['DMA', 'DMA32', 'Normal', 'Movable', 'Device']
    """
    try:
        return list(prog.cache["pagedbg_zone_names"])
    except KeyError:
        pass
    pgdat = next(iter(for_each_online_pgdat(prog)), None)
    if pgdat is None:
        raise LookupError("no node of memory is online")
    names = []
    for i in range(_max_nr_zones(prog)):
        name = pgdat.node_zones[i].name.read_()
        names.append(c_string(name).decode("ascii", "replace") if name else f"zone {i}")
    prog.cache["pagedbg_zone_names"] = tuple(names)
    return names


@takes_program_or_default
def zone_spans(prog: Program) -> list[ZoneSpan]:
    """
    Return the spans of the populated zones, by their first page frame number.

    :raises Damaged: if they cannot be
    """
    spans = []
    for zone in for_each_populated_zone(prog):
        start_pfn, end_pfn, node, index = (
            zone.zone_start_pfn.value_(),
            zone_end_pfn(zone),
            zone.zone_pgdat.node_id.value_(),
            zone_idx(zone),
        )
        if not (
            start_pfn <= end_pfn <= _MOST_PFNS
            and 0 <= node < _MOST_NODES
            and 0 <= index < _max_nr_zones(prog)
        ):
            raise Damaged(
                f"the memory of this kernel is damaged: zone {index} of node {node}"
                f" would be {start_pfn:#x}-{end_pfn:#x}"
            )
        spans.append(ZoneSpan(node, index, zone_name(zone), start_pfn, end_pfn))
    return sorted(spans, key=lambda span: (span.start_pfn, span.end_pfn))


@takes_program_or_default
def MAX_NUMNODES(prog: Program) -> int:
    """
    Return ``MAX_NUMNODES``, a macro, from the length of an array that is made of it
    (``include/linux/mmzone.h``): ``struct zoneref zonelist::_zonerefs[MAX_NUMNODES *
    MAX_NR_ZONES + 1]``.
    """
    length = array_length(prog.type("struct zonelist").member("_zonerefs").type)
    if not length:
        raise Damaged(
            "the types of this kernel are damaged: struct zonelist has no zones"
        )
    return (length - 1) // _max_nr_zones(prog)


@dataclasses.dataclass(frozen=True)
class _FlagsLayout:
    """
    Where ``page->flags`` keeps node and zone: ``| NODE | ZONE | ... | FLAGS |``, as
    ``page-flags-layout.h`` has it with a vmemmap.
    """

    page: np.dtype[Any]
    node_shift: int
    node_mask: int
    zone_shift: int
    zone_mask: int


def _flags_layout(prog: Program) -> _FlagsLayout:
    try:
        return prog.cache["pagedbg_flags_layout"]  # type: ignore[no-any-return]
    except KeyError:
        pass
    page_type = prog.type("struct page")
    word = sizeof(prog.type("unsigned long"))
    nodes_width = (MAX_NUMNODES(prog) - 1).bit_length()
    # ZONES_SHIFT is 0, 1, 2 or 3, for up to 1, 2, 4 or 8 zones.
    zones_width = (_max_nr_zones(prog) - 1).bit_length()
    layout = _FlagsLayout(
        page=record_dtype(
            {"flags": (f"{byte_order(prog)}u{word}", offset_of(page_type, "flags"))},
            sizeof(page_type),
        ),
        # A shift by the whole word is not defined, and the mask is 0 then anyway.
        node_shift=min(8 * word - nodes_width, 8 * word - 1),
        node_mask=(1 << nodes_width) - 1,
        zone_shift=min(8 * word - nodes_width - zones_width, 8 * word - 1),
        zone_mask=(1 << zones_width) - 1,
    )
    prog.cache["pagedbg_flags_layout"] = layout
    return layout


def page_flags_zonenum(prog: Program, flags: Any) -> Any:
    """
    Return the zone that page flags name, an ``enum zone_type``.

    :param flags: ``unsigned long``, as a number or as a NumPy array of them.
    """
    layout = _flags_layout(prog)
    return flags >> layout.zone_shift & layout.zone_mask


def page_flags_nid(prog: Program, flags: Any) -> Any:
    """
    Return the NUMA node that page flags name.

    :param flags: ``unsigned long``, as a number or as a NumPy array of them.
    """
    layout = _flags_layout(prog)
    return flags >> layout.node_shift & layout.node_mask


def page_zonenum(page: Object) -> int:
    """
    Return the zone that a page's flags name, an ``enum zone_type``.

    :param page: ``struct page *``
    """
    return int(page_flags_zonenum(page.prog_, page_flags(page).value_()))


def page_to_nid(page: Object) -> int:
    """
    Return the NUMA node that a page's flags name.

    :param page: ``struct page *``
    """
    return int(page_flags_nid(page.prog_, page_flags(page).value_()))


def page_zone(page: Object) -> Object:
    """
    Return the zone of a page.

    :param page: ``struct page *``
    :return: ``struct zone *``
    """
    return (
        NODE_DATA(page.prog_, page_to_nid(page))
        .node_zones[page_zonenum(page)]
        .address_of_()
    )


def _flags_of_pfns(
    prog: Program, pfns: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """
    Read ``page->flags`` of sorted, distinct page frames, and whether each could be
    read.
    """
    page = _flags_layout(prog).page
    page0 = pfn_to_page(prog, 0).value_()
    flags = np.zeros(len(pfns), np.uint64)
    known = np.zeros(len(pfns), np.bool_)
    # Pages less than 4 KiB of struct pages apart are read together, and never more than
    # a piece at once.
    far = (
        np.flatnonzero(
            (np.diff(pfns) > 64) | (np.diff(pfns // np.uint64(_PAGES_PER_READ)) > 0)
        )
        + 1
    )
    for run in np.split(np.arange(len(pfns)), far):
        if not len(run):
            continue
        first = int(pfns[run[0]])
        pages, read = read_array(
            prog, page0 + first * page.itemsize, int(pfns[run[-1]]) - first + 1, page
        )
        index = (pfns[run] - np.uint64(first)).astype(np.intp)
        flags[run] = pages["flags"][index]
        known[run] = read[index]
    return flags, known


def _span_of_pfns(
    spans: list[ZoneSpan], pfns: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """
    Find which span each page frame is in, -1 for none, and where several are, so that
    only the page itself can tell: the spans of nodes whose memory is interleaved
    overlap, and those of ZONE_MOVABLE may.
    """
    bounds = np.array(
        sorted({pfn for span in spans for pfn in (span.start_pfn, span.end_pfn)}),
        np.uint64,
    )
    owner = np.full(len(bounds) + 1, -1, np.int64)
    shared = np.zeros(len(bounds) + 1, np.bool_)
    for i, span in enumerate(spans):
        # Interval k lies between bounds k - 1 and k.
        inside = slice(
            int(np.searchsorted(bounds, span.start_pfn)) + 1,
            int(np.searchsorted(bounds, span.end_pfn)) + 1,
        )
        shared[inside] |= owner[inside] >= 0
        owner[inside] = i
    where = np.searchsorted(bounds, pfns, side="right")
    return owner[where], shared[where]


def _of_pfns(
    prog: Program,
    pfns: NDArray[Any],
    of_span: list[int],
    of_flags: Callable[[Program, Any], Any],
) -> NDArray[np.int16]:
    spans = zone_spans(prog)
    pfns = np.ascontiguousarray(pfns, np.uint64)
    owner, shared = _span_of_pfns(spans, pfns)
    result = np.append(np.array(of_span, np.int16), np.int16(-1))[owner]
    if shared.any():
        ask, back = np.unique(pfns[shared], return_inverse=True)
        flags, known = _flags_of_pfns(prog, ask)
        result[shared] = np.where(
            known, of_flags(prog, flags).astype(np.int16), np.int16(-1)
        )[back]
    return result


@takes_program_or_default
def zone_of_pfns(
    prog: Program, pfns: NDArray[Any]
) -> tuple[list[str], NDArray[np.int8]]:
    """
    Find the zones of many page frames: from the zones' spans, and where those overlap
    from the flags of the pages.

    :return: The names of the zones by ``enum zone_type``, and for each page frame its
        zone, -1 for one outside of every zone.
    """
    of_span = [span.zone for span in zone_spans(prog)]
    return zone_names(prog), _of_pfns(prog, pfns, of_span, page_flags_zonenum).astype(
        np.int8
    )


@takes_program_or_default
def node_of_pfns(prog: Program, pfns: NDArray[Any]) -> NDArray[np.int16]:
    """
    Find the NUMA nodes of many page frames, -1 for one outside of every node, as
    :func:`zone_of_pfns()` finds their zones.
    """
    return _of_pfns(prog, pfns, [span.nid for span in zone_spans(prog)], page_flags_nid)
