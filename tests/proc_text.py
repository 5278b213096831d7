# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel says of its memory in /proc, taken apart."""

from __future__ import annotations

import re

ZONE = {
    "spanned": "spanned",
    "present": "present",
    "managed": "managed",
    "free": "free",
    "min": "wmark_min",
    "low": "wmark_low",
    "high": "wmark_high",
    "start_pfn": "start_pfn",
}
"""The words of /proc/zoneinfo, and what the columns are called that say the same."""


def zones(zoneinfo: str) -> dict[str, dict[str, int]]:
    """The same as :func:`zones_of_nodes`, by name, where there is one node."""
    return {zone: numbers for (_, zone), numbers in zones_of_nodes(zoneinfo).items()}


def zones_of_nodes(zoneinfo: str) -> dict[tuple[int, str], dict[str, int]]:
    """
    The zones of /proc/zoneinfo that have pages, by node and name, with the columns of
    :data:`ZONE`, and ``lowmem_reserve``.
    """
    found = {}
    for part in re.split(r"^Node +(?=\d+, zone)", zoneinfo, flags=re.MULTILINE)[1:]:
        numbers: dict[str, int] = {}
        for name, value in re.findall(r"^ +(?:pages )?(\w+):? +(\d+)$", part, re.M):
            # Those of the zone come before those of its CPUs.
            if name in ZONE:
                numbers.setdefault(ZONE[name], int(value))
        # Zones without pages are in it, too.
        if numbers.get("present"):
            (protection,) = re.findall(r"protection: \((.*)\)", part)
            numbers["lowmem_reserve"] = max(map(int, protection.split(", ")))
            node, _, zone = part.split()[:3]
            found[int(node.rstrip(",")), zone] = numbers
    return found


def free_lists(pagetypeinfo: str) -> dict[tuple[str, str], list[int]]:
    """The free blocks by order, of each zone and migratetype of /proc/pagetypeinfo."""
    lines = re.findall(
        r"^Node +\d+, zone +(\w+), type +(\w+) +([\d ]+)$", pagetypeinfo, re.MULTILINE
    )
    return {(zone, name): list(map(int, row.split())) for zone, name, row in lines}


def pageblocks(
    pagetypeinfo: str, title: str = "Number of blocks type"
) -> dict[tuple[str, str], int]:
    """How many pageblocks each zone of /proc/pagetypeinfo has of each migratetype."""
    _, _, table = pagetypeinfo.partition(title)
    heading, *lines = table.split("\n\n")[0].splitlines()
    types = heading.split()
    found = {}
    for line in lines:
        zone = re.match(r"Node +\d+, zone +(\w+) +([\d ]+)", line)
        assert zone, line
        counts = map(int, zone[2].split())
        found |= {
            (zone[1], name): count for name, count in zip(types, counts, strict=True)
        }
    return found
