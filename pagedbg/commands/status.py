# SPDX-License-Identifier: GPL-2.0-or-later
"""``status``: what one is looking at, in a few lines."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable, Iterator

from drgn.helpers.linux.cpumask import num_present_cpus
from drgn.helpers.linux.mm import totalram_pages

from pagedbg.capture.backends.kmod import KMOD
from pagedbg.capture.recovery.recover import UNKNOWN_FILTER
from pagedbg.mm.mmzone import zone_spans
from pagedbg.mm.printk import printk_records
from pagedbg.mm.sched_clock import local_clock
from pagedbg.output.phrases import seconds
from pagedbg.output.printable import printable
from pagedbg.schema.table import Column, Table
from pagedbg.session import Session
from pagedbg.shell.command import command
from pagedbg.sources.capabilities import capabilities_of
from pagedbg.target.links import UNREADABLE

# kernel/panic.c
_PANIC = b"Kernel panic - not syncing: "


@command(
    "status",
    long_description=(
        "Say what is being looked at: the kernel, where it comes from, its memory,"
        " page_owner, and what is missing."
    ),
    examples=(("status", "what am I looking at"),),
    table=True,
)
def status(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    rows = list(_facts(session))
    width = max(len(name) for name, _ in rows)
    return Table.of(
        (Column("what"), Column("value")),
        rows,
        notes=list(session.target.notes),
        text=(f"{name + ':':{width + 1}} {value}" for name, value in rows),
    )


def _facts(session: Session) -> Iterator[tuple[str, str]]:
    target, prog = session.target, session.prog
    machine = prog.platform.arch.name.lower() if prog.platform else "unknown machine"
    yield (
        "kernel",
        (
            f"Linux {target.release}, {machine}, {_try(lambda: num_present_cpus(prog))}"
            f" CPUs, up {_try(lambda: _span(local_clock(prog)))}"
        ),
    )
    if target.dump is None:
        yield "target", f"the running kernel, types from {target.types}"
    else:
        filtered = (
            f", filtered with -d {target.dump.level}" if target.dump.left_out() else ""
        )
        yield (
            "target",
            (
                f"{target.dump.path} ({target.dump.format}{filtered}), types from"
                f" {target.types}"
            ),
        )
    if target.dump is not None and (panic := _panic(session)):
        yield "panic", panic
    yield "memory", str(_try(lambda: _memory(session)))
    capabilities = capabilities_of(target)
    owner = capabilities["page_owner"]
    yield (
        "page_owner",
        f"{owner.detail}" + (f". {owner.remedy}." if owner.remedy else ""),
    )
    if target.dump is not None and (
        recording := str(_try(lambda: _recording(session)))
    ):
        yield "recording", recording
    missing = [c.name for c in capabilities.values() if not c.state]
    yield (
        "missing",
        f"{', '.join(missing)} (doctor says more)" if missing else "nothing",
    )


def _number(count: int | None) -> str:
    return "an unknown number of" if count is None else f"{count:,}"


def _recording(session: Session) -> str:
    found, said = session.recorders
    each = [
        f"{'the kernel module' if one.backend == KMOD else 'BPF'},"
        f" {printable(one.filters[-1] if one.filters else UNKNOWN_FILTER)}:"
        f" {_number(one.recorded)} events"
        for one in found
    ]
    hint = (
        " (trace show lists the last of them)"
        if len(found) == 1
        else " (trace recover opens one)"
    )
    if session.capture is not None and session.capture is not session.recovered:
        hint = " (trace recover N opens what it left)"
    return " ".join([*([f"{' and '.join(each)}{hint}."] if each else []), *said])


def _panic(session: Session) -> str | None:
    """Why the kernel died, as it said itself; None of one that was dumped alive."""
    try:
        for record in printk_records(session.prog):
            if record and record.text and record.text.startswith(_PANIC):
                why = record.text.removeprefix(_PANIC).decode(errors="backslashreplace")
                return (
                    f"{printable(why)} (at {seconds(record.ts_nsec)}; log --last 60"
                    " says more)"
                )
    except UNREADABLE:
        pass
    return None


def _memory(session: Session) -> str:
    prog = session.prog
    size = prog["PAGE_SIZE"].value_()
    spans = zone_spans(prog)
    nodes = len({span.nid for span in spans})
    zones = ", ".join(dict.fromkeys(span.name for span in spans))
    pages = int(totalram_pages(prog))
    return (
        f"{pages * size / 2**20:,.0f} MiB in {pages:,} pages of {size // 1024} KiB,"
        f" {nodes} node{'s' if nodes > 1 else ''}, zones {zones}"
    )


def _span(nanoseconds: int) -> str:
    return str(datetime.timedelta(seconds=nanoseconds // 10**9))


def _try(read: Callable[[], object]) -> object:
    """
    A fact, or "?" where the dump does not hold it: status has to work where little else
    does.
    """
    try:
        return read()
    except UNREADABLE:
        return "?"
