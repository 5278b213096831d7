# SPDX-License-Identifier: GPL-2.0-or-later
"""
The report on memory that a kernel logs when an allocation has failed: ``Mem-Info:``, as
``mm/show_mem.c`` writes it (``__show_free_areas()`` of ``mm/page_alloc.c`` before Linux
6.3), taken apart.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from pagedbg.mm.page_alloc import ZoneState

__all__ = ("MEM_INFO", "MemInfo", "MemInfoReader")

MEM_INFO = "Mem-Info:"
"""The line that it begins with."""

# Longer than what any machine says: 1024 nodes of six zones.
_MOST_ZONES, _MOST_NUMBER = 1 << 13, 20

_WORDS = re.compile(rf"([a-z_()]+):\s?(\d{{1,{_MOST_NUMBER}}})([kK]B)?")
# CONFIG_NUMA=n: show_node() writes nothing.
_NODE = r"(?:Node (\d{1,4}) )?"
_ZONE = re.compile(rf"{_NODE}(\w{{1,16}}) (free:.*)")
_AREAS = re.compile(
    rf"{_NODE}(\w{{1,16}}): ((?:\d{{1,{_MOST_NUMBER}}}\*\d+kB .*)?)= \d+kB"
)
_AREA = re.compile(
    rf"(\d{{1,{_MOST_NUMBER}}})\*(\d{{1,{_MOST_NUMBER}}})kB(?: \((\w*)\))?"
)
_RESERVE = re.compile(r"lowmem_reserve\[\]:((?: -?\d{1,20})+)")
_TOTAL = re.compile(rf"(\d{{1,{_MOST_NUMBER}}}) pages (RAM|reserved|cma reserved)")

# show_migration_types()
_LETTERS = {
    "U": "Unmovable",
    "M": "Movable",
    "E": "Reclaimable",
    "H": "HighAtomic",
    "C": "CMA",
    "I": "Isolate",
}


@dataclasses.dataclass(frozen=True)
class MemInfo:
    """
    What a report says. ``counters`` are the kernel's own words for pages of all nodes
    (``active_anon``, ``free``, …), ``zones`` those of which all lines are there, and
    ``unread`` is how many are there in part. ``complete`` says that the report ends.
    """

    counters: dict[str, int]
    zones: tuple[ZoneState, ...]
    unread: int
    complete: bool


class MemInfoReader:
    """
    Reads a report line by line.

    :param zone_names: by ``enum zone_type``, as the kernel has them
    :param page_size: in bytes
    """

    def __init__(self, zone_names: Sequence[str], page_size: int) -> None:
        self._numbers = {name: number for number, name in enumerate(zone_names)}
        self._page_size = page_size
        self._counters: dict[str, int] = {}
        self._zones: dict[tuple[int, str], dict[str, int]] = {}
        self._reserves: dict[tuple[int, str], tuple[int, ...]] = {}
        self._areas: dict[tuple[int, str], tuple[tuple[int, frozenset[str]], ...]] = {}
        self._last: tuple[int, str] | None = None
        self.complete = False
        """Whether the report has ended."""

    def read(self, line: str) -> None:
        """Read the next line; one that is none of the report's says nothing."""
        line = line.strip()
        if match := _ZONE.fullmatch(line):
            self._zone(int(match[1] or 0), match[2], match[3])
        elif match := _RESERVE.fullmatch(line):
            if self._last is not None:
                self._reserves[self._last] = tuple(map(int, match[1].split()))
            self._last = None
        elif match := _AREAS.fullmatch(line):
            self._free_areas(int(match[1] or 0), match[2], match[3])
        elif match := _TOTAL.fullmatch(line):
            self._counters[match[2]] = int(match[1])
            # The last line that every kernel has.
            self.complete |= match[2] == "reserved"
        elif not self._zones and not line.startswith("Node "):
            for name, value, unit in _WORDS.findall(line):
                if not unit:
                    self._counters.setdefault(name, int(value))

    def _zone(self, node: int, name: str, text: str) -> None:
        self._last = node, name
        if name in self._numbers and len(self._zones) < _MOST_ZONES:
            self._zones.setdefault(
                self._last,
                {
                    word: int(value) * 1024 // self._page_size
                    for word, value, unit in _WORDS.findall(text)
                    if unit
                },
            )

    def _free_areas(self, node: int, name: str, text: str) -> None:
        areas = []
        for order, (count, size, letters) in enumerate(_AREA.findall(text)):
            if int(size) * 1024 != self._page_size << order:
                # A line that was cut or mixed with another one.
                return
            types = frozenset(_LETTERS[each] for each in letters if each in _LETTERS)
            areas.append((int(count), types))
        if areas:
            self._areas.setdefault((node, name), tuple(areas))

    def found(self) -> MemInfo:
        """Return what the report has said."""
        zones = tuple(self._whole())
        return MemInfo(
            self._counters, zones, len(self._zones) - len(zones), self.complete
        )

    def _whole(self) -> Iterator[ZoneState]:
        for key, words in self._zones.items():
            areas = self._areas.get(key)
            if areas is None or not {"free", "min", "low", "high"} <= words.keys():
                continue
            node, name = key
            yield ZoneState(
                node=node,
                zone=self._numbers[name],
                name=name,
                free=words["free"],
                wmark_min=words["min"],
                wmark_low=words["low"],
                wmark_high=words["high"],
                boost=words.get("boost", 0),
                lowmem_reserve=self._reserves.get(key, ()),
                # As mm.zone_state has it: the newer name first.
                free_highatomic=words.get(
                    "free_highatomic", words.get("reserved_highatomic", 0)
                ),
                free_cma=words.get("free_cma", 0),
                blocks=tuple(count for count, _ in areas),
                types=tuple(types for _, types in areas),
            )
