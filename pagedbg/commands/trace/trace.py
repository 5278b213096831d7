# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace set|start|stop|status|clear|save|load``: recording what happens to pages."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.capture.backends.bpf import BPF
from pagedbg.capture.backends.hooks import BOOT_ONLY
from pagedbg.capture.backends.kmod import KMOD
from pagedbg.capture.directory import Capture
from pagedbg.capture.kernel_filter import EVENT_WORDS, OPTIONS, build_filter, describe
from pagedbg.capture.recording import flight_recorder
from pagedbg.capture.recording.recording import Plan, Recording
from pagedbg.capture.saving import copy_capture
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.phrases import seconds
from pagedbg.output.printable import printable
from pagedbg.schema import event_record
from pagedbg.schema.capture_meta import Attached
from pagedbg.schema.loss import LossKind
from pagedbg.schema.table import Column, Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, argument_group, command, require
from pagedbg.shell.filter_options import FILTERS
from pagedbg.shell.limits import parse_duration, parse_size
from pagedbg.shell.option_values import values
from pagedbg.sources.capture_names import Captured, need_capture, what_is_missing

# Of as many pages records are kept with a capture: some 90 bytes each.
_MOST_PAGES = 1 << 19

NEEDS = ("root", "not locked down")

# By back end, in the order in which they are tried.
_ALSO_NEEDS = {BPF: ("BPF", "bcc"), KMOD: ("kprobes",)}

# What can be filtered in the kernel, as it was typed: it is looked at with the target
# at hand.
KERNEL_FILTERS = argument_group(
    *(
        argument(*arg.args, metavar=arg.kwargs["metavar"], help=arg.kwargs["help"])
        for arg in FILTERS.arguments
        if isinstance(arg, argument) and arg.args[0].removeprefix("--") in OPTIONS
    ),
    argument(
        "--events", metavar="EVENTS", help="only these: " + ", ".join(EVENT_WORDS)
    ),
    title="filters in the kernel",
)

LIMITS = argument_group(
    argument(
        "--size",
        metavar="SIZE",
        type=parse_size,
        default=256 << 20,
        help="stop when the capture is so large (default: 256M)",
    ),
    argument(
        "--duration",
        metavar="TIME",
        type=parse_duration,
        default=0.0,
        help="stop after so long: 30s, 5m, 2h",
    ),
    argument(
        "--slots",
        metavar="N",
        type=int,
        default=0,
        help=(
            "events in the ring of a CPU, a power of two (default: 16 MiB for all CPUs)"
        ),
    ),
    argument(
        "--backend",
        choices=("auto", BPF, KMOD),
        default="auto",
        help="BPF programs, or the kernel module (default: BPF if it works)",
    ),
    argument(
        "--attach",
        choices=("auto", "trampoline", "kprobe", "tracepoint"),
        default="auto",
        help="how BPF attaches: see trace start",
    ),
    title="limits",
)


@values("--events")
def _event_words(session: Session) -> list[str]:
    return list(EVENT_WORDS)


def filter_options(args: argparse.Namespace) -> dict[str, str]:
    """The filters on a command line, as they were typed."""
    return {
        name: value for name in OPTIONS if (value := getattr(args, name)) is not None
    }


def plan_of(
    session: Session, args: argparse.Namespace, options: Mapping[str, str]
) -> Plan:
    """
    What a command line asks to be recorded.

    :raises PagedbgError: if it cannot be, with the reason
    """
    check_slots(args.slots)
    if args.attach != "auto" and args.backend == KMOD:
        raise UsageError(
            "--attach says how BPF attaches, the module has probes of its own: leave"
            " one of them out"
        )
    backends = tuple(_ALSO_NEEDS)
    if args.backend != "auto":
        backends = (args.backend,)
    elif args.attach != "auto":
        backends = (BPF,)
    unusable = {}
    for backend in backends:
        try:
            require(session, *_ALSO_NEEDS[backend])
        except PagedbgError as error:
            unusable[backend] = str(error)
            if len(backends) == 1:
                raise
    return Plan(
        args.output,
        options,
        args.size,
        args.duration,
        args.ring,
        args.slots,
        args.attach,
        backends,
        unusable,
    )


def check_slots(slots: int) -> None:
    """:raises UsageError: if a ring cannot have so many slots"""
    if slots and not event_record.is_ring_size(slots):
        raise UsageError(f"--slots: {slots} is not a power of two from 64 to 1048576")


@command(
    "trace set",
    long_description="""
Say which events are recorded. The kernel drops all others before it does anything else,
so a narrow filter costs next to nothing.

Options add to what was set before, each in place of its own last value. While a trace
runs they take effect at once. The percentage behind an order says how many of its
allocations take part, chosen by when they were made: what happens to one later is in or
out with it. --stack, --module and --age cannot be looked at in the kernel: give them to
trace show or correlate.
""",
    arguments=(
        argument("--all", action="store_true", help="forget what was set before"),
        KERNEL_FILTERS,
    ),
    examples=(
        (
            "trace set --orders 4",
            "only allocations of order 4, and what becomes of them",
        ),
        (
            "trace set --orders 0:1,1-3:20,'>=4'",
            "one of a hundred single pages, a fifth of orders 1 to 3, all larger ones",
        ),
        ("trace set --all", "everything again"),
    ),
)
def trace_set(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if session.target.dump is not None:
        raise PagedbgError(
            "nothing can be recorded in a dump: trace show lists what was recorded on"
            " the machine that it is of."
        )
    options = {**({} if args.all else session.filter), **filter_options(args)}
    build_filter(session.prog, options)
    session.filter = options
    running = session.recording is not None and session.recording.running
    if running:
        assert session.recording is not None
        session.recording.set_filter(session.target, options)
    print(f"{'Recording' if running else 'To be recorded'}: {describe(options)}")


@command(
    "trace start",
    long_description="""
Record what happens to pages from now on, as trace set says. A process of its own writes
the events into a directory: they can be looked at while it goes on. It ends with trace
stop, with the prompt, or at a limit, and nothing stays attached.

BPF programs record it, or --backend kmod, a kernel module, where BPF or bcc are not to
be had: it is built for this kernel if need be, loaded, and unloaded at the end. Where
page_owner is off, BPF takes allocations and frees from tracepoints, with stacks of
their own.

--attach trampoline (or kprobe, on a kernel without BTF) sees all that page_owner does,
adds a fifth to what that costs, and page_owner's stacks of that time begin with the
trampoline. --attach tracepoint costs half as much and leaves the stacks alone. It does
not see what is allocated in bulk, which is of order 0 (vmalloc, network buffers), or as
a contiguous range.
""",
    arguments=(
        argument(
            "--output",
            metavar="DIR",
            type=Path,
            help=(
                "write the capture into this directory, which is made (default: one in"
                " /var/tmp)"
            ),
        ),
        argument(
            "--ring",
            action="store_true",
            help="keep only what fits the rings, and write it when it is asked for",
        ),
        argument(
            "--flight",
            action="store_true",
            help=(
                "leave the kernel recording into its rings when pagedbg has ended,"
                " until trace attach"
            ),
        ),
        LIMITS,
    ),
    needs=NEEDS,
    examples=(
        ("trace start", "record until trace stop"),
        ("trace start --duration 1m", "for a minute"),
        (
            "trace start --attach tracepoint",
            "at half the cost, where order 0 does not matter",
        ),
        ("trace start --backend kmod", "with the kernel module"),
    ),
)
def trace_start(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if session.recording is not None and session.recording.running:
        raise PagedbgError(
            f"a trace is running already, into {session.recording.directory}: trace"
            " stop ends it."
        )
    plan = plan_of(session, args, session.filter)
    if args.flight:
        if args.output or args.ring or args.duration:
            raise UsageError(
                "--flight writes nothing: give --output to trace attach, and leave"
                " --ring and --duration out"
            )
        print(
            f"Recording {describe(session.filter)} in the rings of the kernel until"
            f" trace attach. {hooks(Recording.leave(session.target, plan))}"
        )
        return
    _record(session, plan)


def _record(session: Session, plan: Plan) -> None:
    session.recording = Recording.start(session.target, plan)
    session.capture = capture = Capture(session.recording.directory)
    print(
        printable(
            f"Recording {capture.meta.filters[-1].filter} into {capture.path}."
            f" {hooks(capture.meta.attached)}"
        )
    )


@command(
    "trace attach",
    long_description="""
Take over what goes on recording with no pagedbg: what trace start --flight left, or the
module of a recorder that was killed. What is still in its rings and what happens from
now on is written into a capture; trace stop then ends it all.
""",
    arguments=(
        argument(
            "--output",
            metavar="DIR",
            type=Path,
            help=(
                "write the capture into this directory, which is made (default: one in"
                " /var/tmp)"
            ),
        ),
        argument(
            "--size",
            metavar="SIZE",
            type=parse_size,
            default=256 << 20,
            help="stop when the capture is so large (default: 256M)",
        ),
    ),
    needs=NEEDS,
    examples=(("trace attach", "see what the flight recorder has"),),
)
def trace_attach(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if session.recording is not None and session.recording.running:
        raise PagedbgError(
            f"a trace is running already, into {session.recording.directory}: trace"
            " stop ends it."
        )
    found = flight_recorder.find()
    if found is None:
        raise PagedbgError(
            "nothing records by itself: trace start --flight has something do so."
        )
    _record(session, Plan(args.output, {}, args.size, adopt=found))


def hooks(attached: Attached) -> str:
    """A sentence that says what events are taken from."""
    listed = ", ".join(attached.functions.values())
    if "mm_page_free" in attached.functions.values():
        said = f"page_owner is off: from the tracepoints {listed}."
    elif attached.backend == KMOD:
        said = f"The kernel module has probes on {listed}."
    else:
        said = f"Attached with {attached.attach}s to {listed}."
    failed = "".join(f" {name}: {why}." for name, why in attached.failed.items())
    return said + failed


@command(
    "trace stop",
    long_description=(
        "Detach, and finish the capture. It stays open, and on disk; trace save keeps"
        " it in a better place."
    ),
    examples=(("trace stop", "stop recording"),),
)
def trace_stop(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if session.recording is None:
        raise PagedbgError("no trace is running: trace start begins one.")
    was_running = session.recording.running
    if was_running:
        session.recording.stop()
    capture = need_capture(session)
    ended = capture.meta.ended
    why = (
        ""
        if was_running or ended is None
        else f" It had stopped by itself before: {ended.by}."
    )
    _tell(capture, f"{size(capture)} in {capture.path}.{why}")


def _tell(capture: Capture, said: str) -> None:
    """Say something of a capture, and what is missing in it."""
    for sentence in (said, *what_is_missing(capture)):
        print(printable(sentence))


def size(capture: Capture) -> str:
    """How many events a capture has."""
    kept = capture.contents.records
    return f"{kept:,} events ({kept * event_record.RECORD.itemsize / 1024:,.0f} KiB)"


@command(
    "trace status",
    long_description="""
For each order: how many allocations were seen, how many of them recorded, and their
share. Then what else there is to know: what is attached, how, since when, and how many
events were lost.
""",
    examples=(("trace status", "what is being recorded"),),
    table=True,
    kernel=False,
)
def trace_status(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    columns = (
        Column("order", "int"),
        Column("seen", "int"),
        Column("recorded", "int"),
        Column("share", "share"),
    )
    capture = session.refresh_capture()
    if capture is None:
        if session.target.dump is not None:
            need_capture(session)
        return Table.of(
            columns,
            [],
            empty=(
                "No trace is running. trace start would record"
                f" {describe(session.filter)}.{_left(session)}"
            ),
        )
    meta = capture.meta
    seen, recorded = (
        counts[event_record.SET]
        for counts in (meta.counts.seen, meta.counts.recorded_by)
    )
    rows = [
        (order, int(count), int(kept), 100 * kept / count)
        for order, (count, kept) in enumerate(zip(seen, recorded, strict=True))
        if count
    ]
    return Table.of(
        columns, rows, notes=_notes(capture), empty="No allocation was seen yet."
    )


def _left(session: Session) -> str:
    found = (
        flight_recorder.find()
        if session.target.has_kernel and session.target.live
        else None
    )
    if found is None:
        return ""
    since = f" since {found['begun']['wall']}" if found["begun"] else ""
    what = "The kernel module" if found["backend"] == KMOD else "BPF"
    return (
        f"\n{what} records {found['words']}{since} with no recorder, or another"
        " pagedbg's: trace attach takes it over."
    )


def _notes(capture: Capture) -> list[str]:
    meta = capture.meta
    recovered = meta.recovered
    if recovered:
        state = f"Recovered from {recovered.from_}"
    elif capture.abandoned:
        state = "Abandoned"
    elif meta.ended is None:
        state = (
            f"Recording for {(time.monotonic_ns() - meta.begun.mono_ns) / 1e9:.0f} s"
        )
    else:
        state = (
            f"Ended ({meta.ended.by}) after"
            f" {(meta.ended.mono_ns - meta.begun.mono_ns) / 1e9:.0f} s"
        )
    lost = {loss.kind: loss.count for loss in capture.losses}
    notes = [
        (
            f"{state}, {meta.filters[-1].filter}:"
            f" {size(capture)}{'' if recovered else f' in {capture.path}'}."
        ),
        hooks(meta.attached),
        *(
            _reach(capture)
            if recovered
            else [
                f"{lost.get(LossKind.OVERWRITTEN, 0)} events overwritten unread,"
                f" {meta.counts.missed} missed by the kernel."
            ]
        ),
    ]
    if capture.page_owner:
        early = next(
            (
                handle
                for handle, name in capture.special_handles.items()
                if name == "early"
            ),
            None,
        )
        told = (
            f"; pages from before it was ready have the handle {early:#x}"
            if early
            else ""
        )
        notes.append(
            f"{' and '.join(BOOT_ONLY.values())} ran at boot and are gone: page_owner"
            f" is on since{told}."
        )
    missing = what_is_missing(capture)
    if recovered and not missing:
        missing = ["No event was overwritten, and none was missed by the kernel."]
    return notes + (
        missing
        if recovered
        else [
            each
            for each in missing
            if "overwritten" not in each and "missed by" not in each
        ]
    )


def _reach(capture: Capture) -> list[str]:
    """From when to when the events are."""
    times = capture.times(capture.events())
    times = times[times >= 0]
    return (
        [
            f"The events are from {seconds(int(times.min()))} to"
            f" {seconds(int(times.max()))}."
        ]
        if len(times)
        else []
    )


@command(
    "trace clear",
    long_description=(
        "Forget the events that were recorded so far, and go on recording."
    ),
    examples=(("trace clear", "begin again"),),
)
def trace_clear(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if session.recording is None or not session.recording.running:
        raise PagedbgError("no trace is running: trace start begins one.")
    session.recording.clear()
    print("Forgotten.")


@command(
    "trace save",
    long_description="""
Copy the capture into a directory, to be opened later and elsewhere with pagedbg
--capture DIR or trace load. On the kernel that it is of, the records of its pages as
they are now are kept with it: correlate then says what had become of them.
""",
    arguments=(
        argument(
            "directory",
            metavar="DIR",
            type=Path,
            help="a directory that is not there yet",
        ),
    ),
    examples=(("trace save /var/tmp/leak", "keep it"),),
    kernel=False,
)
def trace_save(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    capture = need_capture(session)
    target: Path = args.directory
    if target.exists():
        raise PagedbgError(f"{target} is there already: give a name that is not.")
    copy_capture(
        capture, target, pages_of(session, capture), _stacks_left(session, capture)
    )
    _tell(capture, f"{size(capture)} in {target}.")


def _stacks_left(session: Session, capture: Capture) -> Iterator[tuple[int, list[str]]]:
    """
    The stacks that are not in a capture yet: they are written a moment after the
    events.
    """
    captured = Captured(session, capture)
    if not (capture.page_owner and captured.same_boot):
        return
    events = capture.events()
    for handle in np.unique(
        np.concatenate((events["handle"], events["free_handle"]))
    ).tolist():
        if handle and capture.stack(handle) is None:
            yield handle, captured.kernel_stack(handle)


def pages_of(session: Session, capture: Capture) -> NDArray[Any] | None:
    """
    The records of the pages of what was not seen to be freed, for a capture of the
    running kernel; None of another kernel.
    """
    if not (capture.page_owner and Captured(session, capture).same_boot):
        return None
    from pagedbg.analysis.correlation import FREED, correlate
    from pagedbg.mm.page_owner import page_owners_of_pfns

    events = capture.events()
    rows = correlate(events).allocations
    rows = rows[rows["state"] != FREED]
    copies = events[events["event"] == event_record.COPY]
    heads = np.concatenate((rows["pfn"], copies["pfn"]))
    sizes = np.int64(1) << np.concatenate((rows["order"], copies["order"])).astype(
        np.int64
    )
    if sizes.sum() > _MOST_PAGES:
        print(
            f"The records of {sizes.sum():,} pages are too many to be kept: correlate"
            " before the machine goes on.",
            file=sys.stderr,
        )
        return None
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    pfns = np.unique(np.repeat(heads, sizes) + within.astype(np.uint64))
    return page_owners_of_pfns(session.prog, pfns)


@command(
    "trace load",
    long_description=(
        "Open a capture: of this boot or another, of this machine or another."
    ),
    arguments=(
        argument(
            "directory",
            metavar="DIR",
            type=Path,
            help="what trace save, record or trace start --output wrote",
        ),
    ),
    examples=(("trace load /var/tmp/leak", "look at it again"),),
    kernel=False,
)
def trace_load(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    if session.recording is not None and session.recording.running:
        raise PagedbgError(
            "a trace is running: trace stop ends it, and keeps what it has."
        )
    session.capture = Capture(args.directory)
    meta = session.capture.meta
    when = meta.begun.wall or (
        f"recovered from {meta.recovered.from_}"
        if meta.recovered
        else "of an unknown time"
    )
    _tell(
        session.capture,
        f"{size(session.capture)} of {meta.kernel.release}, {when},"
        f" {meta.filters[-1].filter}.",
    )
