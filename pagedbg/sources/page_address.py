# SPDX-License-Identifier: GPL-2.0-or-later
"""From words to page frames: ``pfn 0x1000+8``, ``task 1 0x7ffd1000``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from drgn import Program
from drgn.helpers.linux.mm import (
    follow_phys,
    in_direct_map,
    pfn_to_page,
    virt_to_phys,
    vma_find,
)

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.mm.pid import find_task
from pagedbg.schema.filter_words import number
from pagedbg.target.links import UNREADABLE, limited

__all__ = ("MOST_BEYOND", "Place", "find_place", "parse_range")

MOST_BEYOND = 1 << 20
"""
A range may go past the end of memory, but rows for what is not there have to end
somewhere.
"""


class Place(NamedTuple):
    """
    What was asked for: ranges of page frames, whether it is one page, and the offset of
    an address in it, the virtual address itself.
    """

    ranges: list[tuple[int, int]]
    single: bool
    offset: int = 0
    address: int | None = None
    notes: tuple[str, ...] = ()


def find_place(prog: Program, what: str, where: Sequence[str]) -> Place:
    """
    Find the page frames that were asked for.

    :param what: ``pfn``, ``page``, ``phys``, ``virt`` or ``task``: what the words after
        it are.
    :param where: A number or a range of them; for ``task`` a process id before that.
    """
    if what == "task":
        if len(where) != 2:
            raise UsageError(
                "after task come a process id and an address: inspect task 1 0x7ffd1000"
            )
        return _task(prog, where[0], where[1])
    if len(where) != 1:
        raise UsageError(
            f"after {what} comes one number or range; {where[1]!r} is one too many"
        )
    return _FINDERS[what](prog, where[0])


def parse_range(text: str) -> tuple[int, int, bool]:
    """
    Return ``A``, ``A-B`` or ``A+N`` as the first number, the one after the last, and
    whether it was a single one.
    """
    if text.startswith("-"):
        raise UsageError(f"{text!r} is negative")
    for sign in "+-":
        first, found, second = text.partition(sign)
        if not found:
            continue
        start = number(first.strip())
        end = (
            start + number(second.strip())
            if sign == "+"
            else number(second.strip()) + 1
        )
        if end <= start:
            raise UsageError(
                f"{text!r} is an empty range; write 0x1000-0x1fff or 0x1000+512"
            )
        return start, end, False
    start = number(text)
    return start, start + 1, True


def _pfn(prog: Program, text: str) -> Place:
    start, end, single = parse_range(text)
    return Place([(start, end)], single)


def _page(prog: Program, text: str) -> Place:
    first, end, single = parse_range(text)
    page0 = pfn_to_page(prog, 0).value_()
    size = pfn_to_page(prog, 1).value_() - page0
    start = (first - page0) // size
    last = (end - 1 - page0) // size
    if "+" in text:
        last = start + end - first - 1
    # The memory map is as long as physical addresses may be: at most 52 bits on x86-64
    # and arm64.
    for pfn in (start, last):
        if not 0 <= pfn < 1 << 52 - prog["PAGE_SHIFT"].value_():
            raise PagedbgError(
                f"{page0 + pfn * size:#x} is not the address of a struct page: they"
                f" begin at {page0:#x} and are {size} bytes long"
            )
    notes: tuple[str, ...] = ()
    if single and (first - page0) % size:
        notes = (
            (
                f"{first:#x} is {(first - page0) % size} bytes into the struct page at"
                f" {page0 + start * size:#x}."
            ),
        )
    return Place([(start, last + 1)], single, notes=notes)


def _phys(prog: Program, text: str) -> Place:
    start, end, single = parse_range(text)
    shift = prog["PAGE_SHIFT"].value_()
    return Place(
        [(start >> shift, (end - 1 >> shift) + 1)], single, start & ((1 << shift) - 1)
    )


def _virt(prog: Program, text: str) -> Place:
    start, end, single = parse_range(text)

    def translate(address: int) -> int | None:
        try:
            return int(follow_phys(prog["init_mm"].address_of_(), address).value_())
        except UNREADABLE:
            pass
        # The page tables may not be in the dump.
        return (
            int(virt_to_phys(prog, address).value_())
            if in_direct_map(prog, address)
            else None
        )

    def explain(address: int) -> str:
        # User space is the lower half of all addresses, on x86-64 as on arm64.
        if not address >> 63:
            return (
                f"{address:#x} is no address of the kernel; for one of a process write"
                f" inspect task PID {address:#x}"
            )
        return f"nothing is mapped at {address:#x} in the kernel's page tables"

    return _translated(prog, start, end, single, translate, explain)


def _task(prog: Program, pid_text: str, text: str) -> Place:
    if not pid_text.isdecimal():
        raise UsageError(
            f"{pid_text!r} is not a process id; write inspect task 1 0x7ffd1000"
        )
    start, end, single = parse_range(text)
    try:
        task = find_task(prog, int(pid_text)) if int(pid_text) < 1 << 31 else None
    except UNREADABLE as error:
        raise PagedbgError(f"task {pid_text} cannot be looked for: {error}") from None
    if not task:
        raise PagedbgError(f"there is no task {pid_text}")
    comm = task.comm.string_().decode(errors="backslashreplace")
    who = f"task {pid_text} ({comm})"
    mm = task.mm.read_()
    if not mm:
        raise PagedbgError(
            f"{who} has no memory of its own: it is a kernel thread, or exiting; use"
            " inspect virt"
        )

    def translate(address: int) -> int | None:
        try:
            return int(follow_phys(mm, address).value_())
        except UNREADABLE:
            return None

    def explain(address: int) -> str:
        try:
            vma = limited(vma_find, mm, address)
        except UNREADABLE:
            return f"nothing is mapped at {address:#x} of {who}"
        if vma:
            area = f"{vma.vm_start.value_():#x}-{vma.vm_end.value_():#x}"
            return (
                f"{address:#x} of {who} has no page: it lies in the mapping {area}, but"
                " was never touched or is swapped out"
            )
        return f"{address:#x} lies in no mapping of {who}"

    return _translated(prog, start, end, single, translate, explain)


def _translated(
    prog: Program,
    start: int,
    end: int,
    single: bool,
    translate: Callable[[int], int | None],
    explain: Callable[[int], str],
) -> Place:
    if end > 1 << 64:
        raise UsageError(f"{end - 1:#x} is no address: it has more than 64 bits")
    shift = prog["PAGE_SHIFT"].value_()
    size = 1 << shift
    if end - start > MOST_BEYOND << shift:
        raise UsageError(
            f"a range of {(end - start) >> 30} GiB of virtual addresses is too long;"
            f" ask for {MOST_BEYOND << shift >> 30} GiB at most"
        )
    ranges: list[tuple[int, int]] = []
    missing = 0
    for address in range(start & -size, end, size):
        phys = translate(address)
        if phys is None:
            missing += 1
        elif ranges and ranges[-1][1] == phys >> shift:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        else:
            ranges.append((phys >> shift, (phys >> shift) + 1))
    if not ranges:
        raise PagedbgError(explain(start))
    notes = (f"{missing} pages of the range are not mapped.",) if missing else ()
    return Place(ranges, single, start & (size - 1), start, notes)


_FINDERS: dict[str, Callable[[Program, str], Place]] = {
    "pfn": _pfn,
    "page": _page,
    "phys": _phys,
    "virt": _virt,
}
