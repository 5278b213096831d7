# SPDX-License-Identifier: GPL-2.0-or-later
"""What pages, and who holds them, are looked up with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pagedbg.mm.page_owner import page_owner_compiled, page_owner_inited
from pagedbg.sources.probes import Probes
from pagedbg.target.dump_header import USER_DATA

if TYPE_CHECKING:
    from pagedbg.target.target import Target

__all__ = ("COMPLETENESS_PROBES", "PAGE_PROBES")

PAGE_PROBES = Probes()


@PAGE_PROBES.add(
    "types", cost="nothing works", remedy="Give the kernel's vmlinux with -s"
)
def _types(target: Target) -> tuple[bool, str]:
    return True, f"from {target.types}"


@PAGE_PROBES.add(
    "kallsyms",
    cost="stacks may name another alias of a function than the kernel does",
    remedy="Linux 6.0 and later put into vmcoreinfo where kallsyms is",
)
def _kallsyms(target: Target) -> tuple[bool, str]:
    return (
        target.has_kallsyms,
        (
            "the kernel's own"
            if target.has_kallsyms
            else "not found; symbols come from debug info"
        ),
    )


@PAGE_PROBES.add(
    "kallsyms_all",
    cost="variables are not found without debug info",
    remedy="Build with CONFIG_KALLSYMS_ALL=y, or give the vmlinux with -s",
)
def _kallsyms_all(target: Target) -> tuple[bool, str]:
    return (
        (True, "data symbols are there")
        if target.has_symbol("init_task")
        else (False, "only functions are there")
    )


@PAGE_PROBES.add(
    "unrestricted symbols",
    cost="symbols are read from kernel memory instead, which takes longer",
    remedy="sysctl kernel.kptr_restrict=1",
    only_live=True,
)
def _kptr(target: Target) -> tuple[bool, str]:
    value = Path("/proc/sys/kernel/kptr_restrict").read_text().strip()
    return value != "2", f"kernel.kptr_restrict={value}"


def _page_owner_remedy(target: Target) -> str:
    """What helps depends on why it is off, and on whether the kernel still runs."""
    record = (
        "trace start records allocations from now on, of which owners and correlate"
        " tell"
    )
    if page_owner_compiled(target.prog):
        boot = (
            "Boot with page_owner=on on the kernel's command line: some 64 bytes a"
            " page, and each allocation and each free walks its stack"
        )
        return f"{boot}; {record}" if target.live else boot
    kernel = (
        "a kernel with CONFIG_PAGE_OWNER=y says who holds all the rest (Fedora,"
        " openSUSE and AlmaLinux build theirs so)"
    )
    answer = "memory, blocks, explain and map answer without it"
    return "; ".join([answer, *([record] if target.live else []), kernel])


@PAGE_PROBES.add(
    "page_owner",
    cost="owners has nothing to list, inspect shows no owner",
    remedy=_page_owner_remedy,
)
def _page_owner(target: Target) -> tuple[bool, str]:
    if not page_owner_compiled(target.prog):
        return False, "this kernel was built without CONFIG_PAGE_OWNER"
    return (
        (True, "on since boot")
        if page_owner_inited(target.prog)
        else (False, "page_owner is off")
    )


# ---- what a dump leaves out ----

COMPLETENESS_PROBES = Probes()


def _complete_remedy(target: Target) -> str:
    from pagedbg.mm.lost_slabs import LOST_SLABS

    said = "Dump with a lower level: makedumpfile -d 0"
    return f"{said}; {LOST_SLABS}" if _slabs_are_lost(target) else said


def _slabs_are_lost(target: Target) -> bool:
    """Whether makedumpfile has taken slabs for user data, which it did leave out."""
    from pagedbg.mm.lost_slabs import slabs_are_lost

    dump = target.dump
    return (
        dump is not None
        and bool((dump.level or 0) & USER_DATA)
        and "NUMBER(PG_slab)" not in target.vmcoreinfo
        and slabs_are_lost(target.prog)
    )


@COMPLETENESS_PROBES.add(
    "complete dump",
    cost="the contents of those pages cannot be read; who holds them can",
    remedy=_complete_remedy,
)
def _complete(target: Target) -> tuple[bool, str]:
    dump = target.dump
    if dump is None:
        return True, "a running kernel" if target.live else "a guest's memory"
    if dump.missing:
        return False, f"the file is cut short by {dump.missing} bytes"
    if dump.left_out():
        return (
            False,
            f"left out: {', '.join(dump.left_out())} (makedumpfile -d {dump.level})",
        )
    if dump.holes:
        return False, f"{len(dump.holes)} ranges of memory are left out"
    return True, f"{dump.format}, nothing left out"
