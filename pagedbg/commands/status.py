# SPDX-License-Identifier: GPL-2.0-or-later
"""``status``: what one is looking at, in a few lines."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from drgn.helpers.linux.cpumask import num_present_cpus
from drgn.helpers.linux.mm import totalram_pages

from pagedbg.errors import PagedbgError
from pagedbg.mm.printk import printk_records
from pagedbg.mm.sched_clock import local_clock
from pagedbg.mm.timekeeping import getboottime64
from pagedbg.output.phrases import or_unknown, seconds
from pagedbg.output.printable import printable
from pagedbg.schema.capture_meta import KMOD
from pagedbg.schema.event_filter import describe
from pagedbg.schema.kernel_columns import KERNEL
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.shell.command import command
from pagedbg.sources.capabilities import Capability, capabilities_of
from pagedbg.sources.capture_names import what_is_missing
from pagedbg.sources.capture_notes import size
from pagedbg.sources.free_memory import zone_rows
from pagedbg.sources.recorder_rows import recorder_rows
from pagedbg.sources.witness_probes import WITNESS_PROBES
from pagedbg.target.links import UNREADABLE

if TYPE_CHECKING:
    from pagedbg.capture.directory import Capture

_T = TypeVar("_T")

# kernel/panic.c
_PANIC = b"Kernel panic - not syncing: "


@command(
    "status",
    long_description=(
        "Say what is being looked at: the kernel, where it comes from, its memory,"
        " page_owner, and what is missing; or the capture, if that is all there is."
    ),
    examples=(("status", "what am I looking at"),),
    table=True,
    kernel=False,
)
def status(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    if session.target.has_kernel:
        values = _values(session)
        lines = _lines(session, values)
        notes = [*session.target.notes, *session.recorders[1]]
    else:
        capture = session.refresh_capture()
        if capture is None:
            raise PagedbgError("nothing is open here: trace load DIR opens a capture.")
        values, lines = _of_capture(capture), _capture_lines(capture)
        notes = what_is_missing(capture)
    return Table.of(
        KERNEL,
        [[values.get(column.name) for column in KERNEL]],
        notes=notes,
        text=_aligned(list(lines)),
    )


def _aligned(lines: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        yield f"{name + ':':{width + 1}} {value}"


def _of_capture(capture: Capture) -> dict[str, Any]:
    """What a capture says of its kernel, by the names of columns."""
    kernel = capture.meta.kernel
    return {
        "release": kernel.release,
        "build_id": kernel.build_id or None,
        "boot_id": kernel.boot_id or None,
        "live": False,
        "path": str(capture.path),
        "format": "capture",
        "page_size": kernel.page_size,
        "page_owner": capture.page_owner,
        "recorded": capture.meta.counts.recorded,
    }


def _capture_lines(capture: Capture) -> Iterator[tuple[str, str]]:
    """The same for people."""
    meta = capture.meta
    yield "capture", f"{printable(str(capture.path))}: {size(capture)}"
    yield "kernel", f"Linux {printable(meta.kernel.release)}, which is not open"
    begun = f"from {meta.begun.wall or 'an unknown time'}"
    if meta.recovered is not None:
        begun, until = f"up to the end of {meta.recovered.from_}", ""
    elif meta.ended is not None:
        until = f" to {meta.ended.wall or 'an unknown time'} ({meta.ended.by})"
    else:
        until = ", and goes on" if capture.at_work else "; it was not ended"
    filter_ = describe(meta.filters[-1].filter)
    yield (
        "recorded",
        printable(f"{begun}{until}, by {_recorder(meta.backend)}, {filter_}"),
    )
    yield "page_owner", "on" if capture.page_owner else "off"


def _recorder(backend: str) -> str:
    return "the kernel module" if backend == KMOD else "BPF"


def _values(session: Session) -> dict[str, Any]:
    """What is known, by the names of columns; None where the dump does not hold it."""
    target, prog, dump = session.target, session.prog, session.target.dump
    guest = target.guest
    capabilities = capabilities_of(target)
    zones = _try(lambda: zone_rows(prog))
    panic, panic_ns = (_try(lambda: _panic(session)) if target.elsewhere else None) or (
        None,
        None,
    )
    found = session.recorders[0]
    counts = [one.recorded for one in found if one.recorded is not None]
    return {
        "release": target.release,
        "build_id": target.vmcoreinfo.get("BUILD-ID"),
        "boot_id": _try(lambda: target.boot_id) or None,
        "host": target.host,
        "machine": prog.platform.arch.name.lower() if prog.platform else None,
        "cpus": _try(lambda: int(num_present_cpus(prog))),
        "booted_s": _try(lambda: getboottime64(prog) // 10**9),
        "up_ns": _try(lambda: local_clock(prog)),
        "live": target.live,
        "path": dump.path if dump else guest.path if guest else None,
        "format": dump.format if dump else "QEMU guest" if guest else None,
        "level": dump.level if dump else None,
        "types": target.types,
        "panic": panic,
        "panic_ns": panic_ns,
        "pages": _try(lambda: int(totalram_pages(prog))),
        "page_size": _try(lambda: int(prog["PAGE_SIZE"].value_())),
        "nodes": len({node for node, *_ in zones}) if zones else None,
        "zones": zones or None,
        "page_owner": capabilities["page_owner"].state,
        "recording": recorder_rows(found),
        "recorded": sum(counts) if len(counts) == len(found) else None,
        "missing": [
            each.name
            for each in capabilities.values()
            if not each.state and not _spare(each.name, capabilities)
        ],
    }


def _lines(session: Session, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The same for people."""
    dump = session.target.dump
    up = values["up_ns"]
    host = f" on {printable(values['host'])}" if values["host"] else ""
    elapsed = None if up is None else datetime.timedelta(seconds=up // 10**9)
    yield (
        "kernel",
        f"Linux {values['release']}{host}, {values['machine'] or 'unknown machine'},"
        f" {or_unknown(values['cpus'])} CPUs, up {or_unknown(elapsed)}",
    )
    if session.target.guest is not None:
        waits = "runs" if session.target.changes else "waits"
        where = f"a guest of QEMU's that {waits} ({session.target.guest.path})"
    elif dump is None:
        where = "the running kernel"
    else:
        filtered = f", filtered with -d {dump.level}" if dump.left_out() else ""
        where = f"{dump.path} ({dump.format}{filtered})"
    if values["booted_s"] is not None:
        booted = datetime.datetime.fromtimestamp(values["booted_s"], datetime.UTC)
        where += f", booted {booted:%Y-%m-%d %H:%M:%S} UTC"
    yield "target", f"{where}, types from {values['types']}"
    if values["panic"] is not None:
        yield (
            "panic",
            f"{printable(values['panic'])} (at {seconds(values['panic_ns'])}; log"
            " --last 60 says more)",
        )
    yield "memory", _memory(values)
    owner = capabilities_of(session.target)["page_owner"]
    yield "page_owner", owner.detail + (f". {owner.remedy}." if owner.remedy else "")
    if session.target.elsewhere and (recording := _recording(session)):
        yield "recording", recording
    missing = ", ".join(values["missing"])
    yield "missing", f"{missing} (doctor says more)" if missing else "nothing"


def _spare(name: str, capabilities: Mapping[str, Capability]) -> bool:
    """Whether nobody misses it: it is for one question, or stands in for page_owner."""
    return name in WITNESS_PROBES and (
        name != "allocation tags" or capabilities["page_owner"].state
    )


def _memory(values: dict[str, Any]) -> str:
    pages, size, nodes = (values[name] for name in ("pages", "page_size", "nodes"))
    if None in (pages, size, nodes):
        return "?"
    zones = dict.fromkeys(name for _, name, *_ in values["zones"])
    return (
        f"{pages * size / 2**20:,.0f} MiB in {pages:,} pages of {size // 1024} KiB,"
        f" {nodes} node{'s' if nodes > 1 else ''}, zones {', '.join(zones)}"
    )


def _recording(session: Session) -> str:
    found = session.recorders[0]
    if not found:
        return ""
    each = [
        f"{_recorder(one.backend)},"
        f" {printable(describe(one.filters[-1] if one.filters else None))}:"
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
    return f"{' and '.join(each)}{hint}."


def _number(count: int | None) -> str:
    return "an unknown number of" if count is None else f"{count:,}"


def _panic(session: Session) -> tuple[str, int | None] | None:
    """
    Why the kernel died, as it said itself, and when; None of one that was dumped alive.
    """
    for record in printk_records(session.prog):
        if record and record.text and record.text.startswith(_PANIC):
            why = record.text.removeprefix(_PANIC).decode(errors="backslashreplace")
            return why, record.ts_nsec
    return None


def _try(read: Callable[[], _T]) -> _T | None:
    """
    A fact, or None where the dump does not hold it: status has to work where little
    else does.
    """
    try:
        return read()
    except UNREADABLE:
        return None
