# SPDX-License-Identifier: GPL-2.0-or-later
"""The options of the commands that record: what is recorded, how much, and by what."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from pagedbg.capture.backends import bpf_file_system
from pagedbg.capture.backends.bpf import BPF, check_stays
from pagedbg.capture.backends.bpf_programs import TRACEPOINT
from pagedbg.capture.backends.kmod import KMOD
from pagedbg.capture.kernel_description import names_of
from pagedbg.capture.recording.recording import Plan
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.mm.page_owner import page_owner_inited
from pagedbg.schema import event_record
from pagedbg.schema.event_filter import OPTIONS, EventFilter, filter_of
from pagedbg.schema.event_record import KINDS_BY_WORD
from pagedbg.schema.filter_record import pack
from pagedbg.session import Session
from pagedbg.shell.command import argument, argument_group
from pagedbg.shell.filter_options import FILTERS
from pagedbg.shell.limits import parse_duration, parse_size
from pagedbg.shell.needs import require

NEEDS = ("root", "not locked down")
"""The capabilities that recording needs."""

# By back end, in the order in which they are tried.
_ALSO_NEEDS = {BPF: ("BPF", "bcc"), KMOD: ("kprobes",)}

# What means more when it is recorded.
_RECORDED = {
    "--orders": "4, 4-9, '>=3', or 0:20,1:50,4 (order:percent of its allocations)"
}

# What can be filtered in the kernel, as it was typed: it is looked at with the target
# at hand.
KERNEL_FILTERS = argument_group(
    *(
        argument(
            *arg.args,
            metavar=arg.kwargs["metavar"],
            help=_RECORDED.get(arg.args[0], arg.kwargs["help"]),
        )
        for arg in FILTERS.arguments
        if isinstance(arg, argument) and arg.args[0].removeprefix("--") in OPTIONS
    ),
    argument(
        "--events",
        metavar="EVENTS",
        help=(
            f"only these: {', '.join(KINDS_BY_WORD)}, or all (default: all but read, of"
            " which one look at page_owner's text makes thousands)"
        ),
    ),
    title="filters in the kernel",
)

OUTPUT = argument(
    "--output",
    metavar="DIR",
    type=Path,
    help=(
        "write the capture into this directory, which is made (default: one in"
        " /var/tmp)"
    ),
)

HELD = argument(
    "--held",
    action="store_true",
    help=(
        "keep only what is not freed yet, and sum up what was freed: for days and weeks"
    ),
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
            "events in the ring of a CPU, a power of two (default: 16 MiB for all CPUs,"
            " but 4096 at least)"
        ),
    ),
    argument(
        "--backend",
        metavar="BACKEND",
        choices=("auto", BPF, KMOD),
        default="auto",
        help=(
            "bpf (programs), kmod (the kernel module) or auto: BPF if it works (the"
            " default)"
        ),
    ),
    argument(
        "--attach",
        metavar="WAY",
        choices=("auto", "combined", "trampoline", "kprobe", "tracepoint"),
        default="auto",
        help=(
            "how BPF attaches: auto (the default), combined, trampoline, kprobe or"
            " tracepoint; see trace start"
        ),
    ),
    title="limits",
)


def filter_asked(
    session: Session, args: argparse.Namespace, base: EventFilter
) -> EventFilter:
    """
    Return what the filters on a command line ask to be recorded, each in place of what
    ``base`` has for it.

    :raises UsageError: for what means nothing, or the kernel cannot be told
    """
    typed = {
        name: value for name in OPTIONS if (value := getattr(args, name)) is not None
    }
    names = names_of(session.prog)
    asked = filter_of(typed, names, base)
    pack(asked, names)
    return asked


def plan_of(session: Session, args: argparse.Namespace, filter_: EventFilter) -> Plan:
    """
    What a command line asks to be recorded.

    :raises PagedbgError: if it cannot be, with the reason
    """
    _check_slots(args.slots)
    if args.held and args.ring:
        raise UsageError(
            "--ring keeps all events that the rings have room for, --held those of what"
            " is not freed yet: choose one"
        )
    if args.held and not page_owner_inited(session.prog):
        raise PagedbgError(
            "--held needs page_owner: without it, a free does not say which allocation"
            " it is of."
        )
    if args.backend == KMOD and args.attach not in ("auto", "tracepoint", "kprobe"):
        raise UsageError(
            "--attach: the module attaches with tracepoints (tracepoint, the default)"
            " or with kprobes alone (kprobe)"
        )
    backends = tuple(_ALSO_NEEDS)
    with_records = page_owner_inited(session.prog)
    if not with_records:
        _check_without_page_owner(session, args)
    if args.backend != "auto":
        backends = (args.backend,)
    elif args.attach != "auto" and with_records:
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
        filter_,
        args.size,
        args.duration,
        args.ring,
        args.held,
        args.slots,
        args.attach,
        backends,
        unusable,
    )


def _check_without_page_owner(session: Session, args: argparse.Namespace) -> None:
    """:raises PagedbgError: if what is asked for needs page_owner"""
    require(session, "tracepoints")
    if args.attach not in ("auto", TRACEPOINT):
        raise PagedbgError(
            f"--attach {args.attach} needs page_owner: where it is off, tracepoints are"
            " what is recorded from. Leave --attach out."
        )


def to_stay(plan: Plan) -> tuple[Plan, str]:
    """
    A plan for what is to go on when pagedbg has ended, and a sentence about what was
    done for that, if anything.

    :raises PagedbgError: if it would end
    """
    if BPF not in plan.backends or BPF in plan.unusable:
        return plan, ""
    check_stays(plan.attach)
    try:
        mounted = bpf_file_system.mount()
    except PagedbgError as error:
        if len(plan.backends) == 1:
            raise
        return dataclasses.replace(
            plan, unusable={**plan.unusable, BPF: str(error)}
        ), ""
    return plan, (
        f"A BPF file system was mounted at {bpf_file_system.PLACE}, in which the"
        " programs stay."
        if mounted
        else ""
    )


def _check_slots(slots: int) -> None:
    """:raises UsageError: if a ring cannot have so many slots"""
    if slots and not event_record.is_ring_size(slots):
        raise UsageError(f"--slots: {slots} is not a power of two from 64 to 1048576")
