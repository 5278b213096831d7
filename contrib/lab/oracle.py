#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Say what a dump holds about page owners, slowly and with debug info: what pagedbg's own
readers are compared with.

    oracle.py CORE VMLINUX | xz > oracle.json.xz

Everything comes from drgn's objects and helpers, one page at a time, and shares nothing
with pagedbg.

The JSON has ``release``; ``columns``, the names of what each of ``records`` holds, one
record for each page that ever had an owner; ``stacks``, lists of ``[address,
function]`` by handle; ``zones`` with the free blocks by order; and ``special``, the
handles that are no real stacks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import drgn
from drgn.helpers.linux.kallsyms import load_module_kallsyms
from drgn.helpers.linux.list import list_count_nodes
from drgn.helpers.linux.mmzone import pfn_to_section
from drgn.helpers.linux.stackdepot import stack_depot_fetch

OWNER, ALLOCATED = 1, 2
PAGE_EXT_INVALID = 1
FIELDS = (
    *(
        "order",
        "last_migrate_reason",
        "gfp_mask",
        "handle",
        "free_handle",
        "ts_nsec",
        "free_ts_nsec",
    ),
    *("comm", "pid", "tgid", "free_pid", "free_tgid"),
)


def open_program(core: str, vmlinux: str) -> drgn.Program:
    prog = drgn.Program()
    prog.set_core_dump(core)
    prog.load_debug_info([vmlinux])
    prog.register_symbol_finder("modules", load_module_kallsyms(prog), enable_index=0)
    return prog


def records(prog: drgn.Program) -> Iterator[list[Any]]:
    """
    A row for each page that has an owner or had one: pfn, state, and those of FIELDS
    that this kernel knows.
    """
    names = field_names(prog)
    size, offset = (
        prog["page_ext_size"].value_(),
        prog["page_owner_ops"].offset.value_(),
    )
    for pfn in range(prog["max_pfn"].value_()):
        section = pfn_to_section(prog, pfn)
        base = section.page_ext.value_() if section else 0
        if not base or base & PAGE_EXT_INVALID:
            continue
        page_ext = drgn.Object(prog, "struct page_ext", address=base + size * pfn)
        flags = page_ext.flags.value_()
        if flags & OWNER:
            owner = drgn.Object(
                prog, "struct page_owner", address=page_ext.address_ + offset
            )
            yield [
                pfn,
                "allocated" if flags & ALLOCATED else "freed",
                *(field(owner, name) for name in names),
            ]


def field_names(prog: drgn.Program) -> list[str]:
    known = {member.name for member in prog.type("struct page_owner").members}
    return [name for name in FIELDS if name in known]


def field(owner: drgn.Object, name: str) -> int | str:
    member = owner.member_(name)
    return member.string_().decode("latin-1") if name == "comm" else member.value_()


def stack(prog: drgn.Program, handle: int) -> list[list[Any]]:
    """
    The stack's addresses, and for each the function it is in, if any: a return address
    belongs to the call before it.
    """
    entries = []
    for frame in stack_depot_fetch(drgn.Object(prog, "depot_stack_handle_t", handle)):
        if entries and entries[-1][0] == frame.pc:
            continue  # inlined functions are frames of their own at the same address
        try:
            name = prog.symbol(frame.pc - 1).name
        except LookupError:
            name = None
        entries.append([frame.pc, name])
    return entries


def zones(prog: drgn.Program) -> Iterator[dict[str, Any]]:
    """
    Each populated zone, and how many free blocks of every order it has in each migrate
    type's list.
    """
    node = (
        prog["node_data"][0]
        if "node_data" in prog
        else prog["contig_page_data"].address_of_()
    )
    for zone in node.node_zones:
        if not zone.present_pages:
            continue
        lists = [
            [list_count_nodes(head.address_of_()) for head in area.free_list]
            for area in zone.free_area
        ]
        yield {
            "name": zone.name.string_().decode(),
            "start_pfn": zone.zone_start_pfn.value_(),
            "spanned": zone.spanned_pages.value_(),
            "present": zone.present_pages.value_(),
            "managed": zone.managed_pages.counter.value_(),
            "free_blocks": lists,
            "nr_free": [area.nr_free.value_() for area in zone.free_area],
        }


def oracle(core: str, vmlinux: str) -> dict[str, Any]:
    prog = open_program(core, vmlinux)
    columns = ["pfn", "state", *field_names(prog)]
    rows = list(records(prog))
    special = {
        name: prog[name].value_()
        for name in ("dummy_handle", "failure_handle", "early_handle")
    }
    handles = {
        row[columns.index(name)] for row in rows for name in ("handle", "free_handle")
    } - {0}
    return {
        "release": prog["init_uts_ns"].name.release.string_().decode(),
        "columns": columns,
        "records": rows,
        "stacks": {str(handle): stack(prog, handle) for handle in sorted(handles)},
        "special": special,
        "zones": list(zones(prog)),
    }


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: oracle.py CORE VMLINUX")
    json.dump(oracle(*sys.argv[1:]), sys.stdout, separators=(",", ":"))
