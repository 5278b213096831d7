# SPDX-License-Identifier: GPL-2.0-or-later
"""
The text of ``/sys/kernel/debug/page_owner``, read back: what the kernel itself says of
its pages.
"""

from __future__ import annotations

import dataclasses
import re

_ALLOCATED = re.compile(
    r"Page allocated via order (?P<order>\d+), mask"
    r" (?P<mask>0x[0-9a-f]+)\((?P<gfp>[^)]*)\), pid (?P<pid>-?\d+), "
    r"tgid (?P<tgid>-?\d+) \((?P<comm>.*)\), ts (?P<ts>\d+) ns(?:, free_ts"
    r" (?P<free_ts>\d+) ns)?"
)
# In decimal up to 6.1, in hexadecimal since.
_PFN = re.compile(
    r"PFN (?P<pfn>0x[0-9a-f]+|\d+) type (?P<type>\w+) Block \d+ type (?P<block>\w+)"
    r" Flags (?P<flags>0x[0-9a-f]+)\((?P<names>.*)\)"
)


@dataclasses.dataclass(frozen=True)
class Record:
    """
    One record of the text; ``stack`` without the blank that each line begins with,
    ``more`` the lines behind it.
    """

    pfn: int
    order: int
    gfp_mask: int
    gfp: str
    pid: int
    tgid: int
    comm: str
    ts: int
    migratetype: str
    pageblock: str
    node: int
    zone: int
    stack: tuple[str, ...]
    more: tuple[str, ...]


def parse(text: str) -> list[Record]:
    """
    Read the whole text.

    A task's name is the task's own choice and may hold anything but a NUL, so a record
    is recognized by its first line and not by the blank line behind the one before it.
    """
    records = []
    for part in re.split(r"^(?=Page allocated via order )", text, flags=re.MULTILINE)[
        1:
    ]:
        lines = part.rstrip("\n").split("\n")
        first, where = _ALLOCATED.fullmatch(lines[0]), _PFN.fullmatch(lines[1])
        assert first and where, part
        stack = [line[1:] for line in lines[2:] if line.startswith(" ")]
        places = dict(re.findall(r"(node|zone)=(\d+)", where["names"]))
        records.append(
            Record(
                int(where["pfn"], 0),
                int(first["order"]),
                int(first["mask"], 16),
                first["gfp"],
                int(first["pid"]),
                int(first["tgid"]),
                first["comm"],
                int(first["ts"]),
                where["type"],
                where["block"],
                int(places.get("node", 0)),
                int(places.get("zone", 0)),
                tuple(stack),
                tuple(line for line in lines[2 + len(stack) :] if line),
            )
        )
    return records
