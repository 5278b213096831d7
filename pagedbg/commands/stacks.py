# SPDX-License-Identifier: GPL-2.0-or-later
"""``stacks``: call paths by handle, with what they are called in other boots."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from pagedbg.errors import UsageError
from pagedbg.schema.block_columns import STACKS
from pagedbg.schema.table import Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.needs import require
from pagedbg.sources.capture_names import CaptureNames
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.page_batches import PageSource
from pagedbg.sources.recorded_stacks import recorded_handles, stack_rows
from pagedbg.sources.tagged_blocks import tagged_handles
from pagedbg.sources.unread_records import BY_TAGS


def _handle(text: str) -> int:
    try:
        handle = int(text, 0)
    except ValueError:
        handle = 0
    if not 0 < handle < 1 << 32:
        raise UsageError(f"{text!r} is not the handle of a stack; write 0x6c60006")
    return handle


@command(
    "stacks",
    long_description="""
Print stacks by handle, as other commands show it; without one, each stack that
allocated or freed a page on record, once. Of a capture alone, and of one from a kernel
without page_owner, it is each stack that was saved.

A handle is good in this boot only. The same stack has the same stack_id in every boot
of a build, and the same stack_shape in other builds, too, as long as the call path is
the same.
""",
    arguments=(
        argument(
            "handles",
            metavar="HANDLE",
            nargs="*",
            type=_handle,
            help="only the stacks with these handles",
        ),
    ),
    examples=(
        ("stacks 0x6c60006", "the stack with a handle that another command has shown"),
        ("stacks --format jsonl", "what each handle on record stands for"),
    ),
    table=True,
    kernel=False,
)
def stacks(session: Session, args: argparse.Namespace) -> Table:
    """Run the command."""
    notes = list(session.target.notes)
    capture = session.refresh_capture()
    if capture is not None and not (session.target.has_kernel and capture.page_owner):
        captured = CaptureNames(capture, None)
        handles = args.handles or sorted(handle for handle, _ in capture.stacks())
        return Table(STACKS, stack_rows(captured, handles, notes), notes=notes)
    names = KernelNames(session)
    if not args.handles and not names.tagged:
        require(session, "page_owner")
    handles = args.handles or _handles(session, names, notes)
    return Table(STACKS, _kernel_rows(names, handles, notes), notes=notes)


def _handles(session: Session, names: KernelNames, notes: list[str]) -> list[int]:
    """All handles that pages have on record."""
    prog = session.prog
    if not names.tagged:
        return recorded_handles(prog, notes)
    notes.append(BY_TAGS)
    return tagged_handles(PageSource(prog, names.pages), prog["max_pfn"].value_())


def _kernel_rows(
    names: KernelNames, handles: Sequence[int], notes: list[str]
) -> Iterator[Sequence[Row]]:
    yield from stack_rows(names, handles, notes)
    notes += names.target.symbolize.notes
