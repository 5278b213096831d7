# SPDX-License-Identifier: GPL-2.0-or-later
"""
``inspect``: everything that is known of a page, or a row for each page of a range.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from drgn import Program

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.mm.page_state import ABSENT, PageState, page_states
from pagedbg.output.page_text import page_lines, range_table
from pagedbg.schema.nearest import nearest_or_all
from pagedbg.schema.page_columns import PAGE_FACTS, PAGES
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.drgn_scripts import Script
from pagedbg.sources.page_address import MOST_BEYOND, Place, find_place, parse_range
from pagedbg.sources.page_facts import page_facts
from pagedbg.sources.page_rows import PageRows

_WHAT = {
    "pfn": "a page frame by its number",
    "page": "by the address of its struct page",
    "phys": "by a physical address",
    "virt": "by an address of the kernel",
    "task": "by a process and an address of it",
}

# Addresses of a kernel are greater where it shares them with processes.
_LEAST_VIRTUAL = 1 << 47


def _parse_what(text: str) -> str:
    if text in _WHAT:
        return text
    try:
        start, _, _ = parse_range(text)
    except UsageError:
        raise UsageError(
            f"invalid choice: {text!r}{nearest_or_all(text, _WHAT)}"
        ) from None
    may_be, words = (
        ("an address of the kernel or that of a struct page", ("virt", "page"))
        if start >= _LEAST_VIRTUAL
        else ("the number of a page frame or a physical address", ("pfn", "phys"))
    )
    ways = " or ".join(f"inspect {word} {text}" for word in words)
    raise UsageError(f"{text} may be {may_be}: write {ways}")


@command(
    "inspect",
    long_description="""
Show all that is known of a page frame and of who holds it: where it is, what it is used
for, and page_owner's record of its allocation.

  inspect pfn N            a page frame by its number
  inspect page ADDRESS     by the address of its struct page
  inspect phys ADDRESS     by a physical address
  inspect virt ADDRESS     by an address of the kernel (of vmalloc and modules, too)
  inspect task PID ADDRESS by a virtual address of a process

Numbers are decimal or 0x-hexadecimal; a word with letters a to f is hexadecimal anyway.
A-B (both included) and A+N are ranges, N counting pages for pfn and page, bytes for the
others: they give a row for each page.
""",
    arguments=(
        argument(
            "what",
            metavar="pfn|page|phys|virt|task",
            choices=_WHAT,
            type=_parse_what,
            help="what the number is",
        ),
        argument(
            "where",
            metavar="NUMBER",
            nargs="+",
            help=(
                "the number or a range of them; after task, the process and an address"
                " of it"
            ),
        ),
    ),
    examples=(
        ("inspect pfn 0x1200", "one page, with everything one asks next"),
        ("inspect pfn 0x1200+8", "eight pages, a row each"),
        (
            "inspect phys 0x1200000 --format json",
            "a page by an address in it, for a script",
        ),
    ),
    table=True,
    drgn=Script(lambda args: _code(args.what, args.where), ("what", "where")),
)
def inspect(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    place = find_place(session.prog, args.what, args.where)
    rows = PageRows(session, [*session.target.notes, *place.notes])
    return (
        _one(session, rows, place) if place.single else _many(session.prog, rows, place)
    )


def _one(session: Session, rows: PageRows, place: Place) -> Table:
    """The table of one page: for programs a row, for people a record."""
    prog, pfn = session.prog, place.ranges[0][0]
    (state,) = (
        page_states(prog, pfn, pfn + 1)
        if pfn < 1 << 52
        else (PageState(pfn, "beyond the end"),)
    )
    if state.kind in ABSENT:
        more = (
            f" (the last page frame is {_last_pfn(prog):#x})"
            if state.kind == "beyond the end"
            else ""
        )
        raise PagedbgError(
            f"there is no page to show at page frame {pfn:#x}:"
            f" {ABSENT[state.kind]}{more}"
        )
    facts = page_facts(session, rows, place, state)
    return Table(
        (*PAGES, *PAGE_FACTS),
        [[facts.row()]],
        notes=rows.notes,
        text=page_lines(facts, session.target.dump is None),
    )


def _many(prog: Program, rows: PageRows, place: Place) -> Table:
    """
    The table of a range: a row for each page, for people with the columns that matter
    most.
    """
    last = _last_pfn(prog)
    beyond = max(end for _, end in place.ranges) - last - 1
    if beyond > MOST_BEYOND:
        raise PagedbgError(
            f"the range ends {beyond} pages beyond the end of memory (the last page"
            f" frame is {last:#x})"
        )
    return Table(
        PAGES,
        rows.batches(place.ranges),
        notes=rows.notes,
        text=range_table(rows, place.ranges),
    )


def _last_pfn(prog: Program) -> int:
    return int(prog["max_pfn"].value_()) - 1


# ---- the same in drgn ----


_CODE = {
    "pfn": ("", "{0}"),
    "page": (
        "from drgn import Object\nfrom drgn.helpers.linux.mm import page_to_pfn\n",
        'page_to_pfn(Object(prog, "struct page *", {0}))',
    ),
    "phys": ("from drgn.helpers.linux.mm import PHYS_PFN\n", "PHYS_PFN(prog, {0})"),
    "virt": (
        "from drgn.helpers.linux.mm import follow_pfn\n",
        'follow_pfn(prog["init_mm"].address_of_(), {0})',
    ),
    "task": (
        (
            "from drgn.helpers.linux.mm import follow_pfn\nfrom drgn.helpers.linux.pid"
            " import find_task\n"
        ),
        "follow_pfn(find_task(prog, {0}).mm, {1})",
    ),
}


def _code(what: str, where: Sequence[str]) -> str:
    """Return Python for a drgn prompt that prints what is known of the pages."""
    if len(where) != (2 if what == "task" else 1):
        comes = (
            "a process id and an address" if what == "task" else "one number or range"
        )
        raise UsageError(f"after {what} comes {comes}")
    *pid, text = where
    start, end, single = parse_range(text)
    imports, pfn = _CODE[what]
    lines = [
        f"{imports}from pagedbg.mm.page_state import pfn_state",
        "from pagedbg.mm.page_owner import page_owner_of_pfn",
        "from pagedbg.mm.stackdepot import stack_depot_fetch",
        "",
    ]
    if single:
        lines += [
            f"pfn = int({pfn.format(*pid, f'{start:#x}')})",
            "print(pfn_state(prog, pfn))",
            "owner = page_owner_of_pfn(prog, pfn)",
            "print(owner)",
            "if owner is not None:",
            (
                "    print(prog.stack_trace_from_pcs(stack_depot_fetch(prog,"
                " owner.handle)))"
            ),
        ]
    else:
        step = {"pfn": "1", "page": 'prog.type("struct page").size'}.get(
            what, 'prog["PAGE_SIZE"].value_()'
        )
        stop = (
            f"{start:#x} + {end - start} * {step}"
            if what == "page" and "+" in text
            else f"{end:#x}"
        )
        lines += [
            f"for where in range({start:#x}, {stop}, {step}):",
            f"    pfn = int({pfn.format(*pid, 'where')})",
            "    print(pfn_state(prog, pfn), page_owner_of_pfn(prog, pfn))",
        ]
    return "\n".join(lines)
