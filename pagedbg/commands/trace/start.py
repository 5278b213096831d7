# SPDX-License-Identifier: GPL-2.0-or-later
"""``trace start``: recording from now on."""

from __future__ import annotations

import argparse

from pagedbg.capture.recording.recording import Recording
from pagedbg.errors import UsageError
from pagedbg.schema.event_filter import describe
from pagedbg.session import Session
from pagedbg.shell.begin_recording import begin, check_none_runs
from pagedbg.shell.command import argument, command
from pagedbg.shell.recording_options import LIMITS, NEEDS, OUTPUT, plan_of
from pagedbg.sources.capture_notes import hooks


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
    check_none_runs(session)
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
    begin(session, plan)
