# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace start``: recording from now on."""

from __future__ import annotations

import argparse
import dataclasses

from pagedbg.capture.recording.recording import Recording
from pagedbg.errors import UsageError
from pagedbg.schema.event_filter import describe
from pagedbg.schema.freezing import UNFROZEN, parse_freeze_on
from pagedbg.session import Session
from pagedbg.shell.begin_recording import begin, check_none_runs
from pagedbg.shell.command import argument, command
from pagedbg.shell.recording_options import (
    HELD,
    LIMITS,
    NEEDS,
    OUTPUT,
    plan_of,
    to_stay,
)
from pagedbg.sources.capture_notes import hooks


@command(
    "trace start",
    long_description="""
Record what happens to pages from now on, as trace set says. A process of its own writes
the events into a directory: they can be looked at while it goes on. It ends with trace
stop, with the prompt, or at a limit, and nothing stays attached.

With --held, the capture is as large as what is held, however long it goes on: of what
was freed it has sums by stack, order and flags. correlate --leaked and --lifetimes
answer as they would otherwise; the events of what was freed are not there.

BPF programs record it, or --backend kmod, a kernel module, where BPF or bcc are not to
be had: it is built for this kernel if need be, loaded, and unloaded at the end. It
attaches with tracepoints and misses nothing; --attach kprobe takes all from kprobes, as
the original project's module does, for nearly twice the cost. Where page_owner is off,
both record allocations and frees from tracepoints, with stacks of their own.

BPF attaches to the tracepoints of allocations and frees. What compaction allocates, and
contiguous ranges (CMA, gigantic pages), pass no tracepoint: kprobes where the kernel's
code has them allocated have them recorded, too (what they miss while another program
runs on the CPU is counted since Linux 6.2). --attach tracepoint leaves these out.
--attach trampoline waits for the end of what page_owner does: that costs twice as much,
and page_owner's stacks of that time begin with the trampoline; it is what is done where
the kernel's code is not understood. --attach kprobe does without BTF. It misses events
where too many calls have not returned, or while another program runs on the CPU; before
Linux 6.2 nothing counts these.

Rings overwrite what is oldest, also what led to a failure, if nobody looks for long.
--freeze-on failure stops them, those of all CPUs at once, at the first allocation that
fails and that the kernel would complain of in its log; failure:4 at one of order 4 or
more. any-failure takes those with __GFP_NOWARN, too, whose callers have something else
to fall back on (most of transparent huge pages), and oom the first OOM kill. What
stopped them, and when, trace status says, before and after trace attach, and of a dump.
""",
    arguments=(
        OUTPUT,
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
        HELD,
        argument(
            "--freeze-on",
            metavar="WHAT",
            type=parse_freeze_on,
            default=UNFROZEN,
            help=(
                "stop the rings at failure[:ORDER], any-failure[:ORDER] or oom;"
                " panic-only, the default, leaves them to the machine's end"
            ),
        ),
        LIMITS,
    ),
    needs=NEEDS,
    examples=(
        ("trace start", "record until trace stop"),
        ("trace start --duration 1m", "for a minute"),
        ("trace start --held", "for days: who holds more and more"),
        (
            "trace start --attach tracepoint",
            "at less cost, where compaction and CMA do not matter",
        ),
        (
            "trace start --flight --freeze-on failure:4",
            "keep what led to the first failure of order 4 or more",
        ),
        ("trace start --backend kmod", "with the kernel module"),
    ),
)
def trace_start(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    check_none_runs(session)
    plan = dataclasses.replace(
        plan_of(session, args, session.filter), freeze_on=args.freeze_on
    )
    if args.flight:
        if args.output or args.ring or args.held or args.duration:
            raise UsageError(
                "--flight writes nothing: give --output to trace attach, and leave"
                " --ring, --held and --duration out"
            )
        plan, done = to_stay(plan)
        until = f" or {args.freeze_on}" if args.freeze_on.reasons else ""
        print(
            f"Recording {describe(session.filter)} in the rings of the kernel until"
            f" trace attach{until}. {hooks(Recording.leave(session.target, plan))}"
            f"{' ' if done else ''}{done}"
        )
        return
    begin(session, plan)
