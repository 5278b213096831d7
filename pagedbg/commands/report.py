# SPDX-License-Identifier: GPL-2.0-or-later
"""``report``: all there is to say of a machine's memory, in one page for others."""

from __future__ import annotations

import argparse
import datetime
import os
import sys

from pagedbg import __version__
from pagedbg.errors import UsageError
from pagedbg.output.printable import printable
from pagedbg.output.redaction import redacted
from pagedbg.output.report import MemoryReport
from pagedbg.output.report_page import report_page
from pagedbg.output.whole_file import whole_file
from pagedbg.schema.sizes import size
from pagedbg.session import Session
from pagedbg.shell.command import argument, command
from pagedbg.shell.report_answers import Answers
from pagedbg.shell.report_recorded import events, leaks, trends
from pagedbg.shell.report_sections import (
    explanation,
    machine,
    map_of,
    memory,
    owners,
    suspect_of,
)
from pagedbg.sources.private_names import private_names


def _page(text: str) -> str:
    if not text.lower().endswith((".html", ".htm")):
        raise UsageError(f"{text!r} is no name of a page; write report memory.html")
    return text


@command(
    "report",
    long_description="""
Write a page for others to read: what was found, in plain words; the machine; where all
memory is; why the last allocation failed, or would succeed now; a map; who holds pages,
by call path, to zoom into and to search; of a capture, or of what was recorded in a
dump, what is still held and what happened last; what could not be read; and how each
figure was computed, with the command that gives it.

It is one file, which fetches nothing, and is there once it is whole. What cannot be
answered is said in its place, and on standard error.

With --redact names of processes, paths, hosts and addresses have stand-ins, the same
name the same one. Numbers of page frames and of processes, functions and modules stay.
""",
    arguments=(
        argument("file", metavar="FILE.html", type=_page, help="the page to write"),
        argument(
            "--redact",
            action="store_true",
            help="leave out names of processes, paths, hosts and addresses",
        ),
        argument(
            "--trend",
            metavar="DIR",
            help="say who grows, too, over the snapshots in a directory",
        ),
    ),
    examples=(
        ("report memory.html", "a page for a ticket"),
        ("report public.html --redact", "the same for strangers"),
    ),
    kernel=False,
)
def report(session: Session, args: argparse.Namespace) -> None:
    """Run the command."""
    answers = Answers(session)
    unread: list[str] = []
    failures = answers.ask(["explain"], unread)
    sections = [
        machine(answers),
        memory(answers),
        explanation(answers, failures, unread),
        map_of(answers, suspect_of(failures)),
        owners(answers),
        leaks(answers),
        events(answers, failures),
    ]
    if args.trend:
        sections.append(trends(answers, args.trend))
    now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    # Of what is open, whether a kernel or what was kept of one.
    name = dict(sections[0].facts).get("kernel", "a machine that was recorded")
    made = MemoryReport(
        f"Memory of {name}", f"Made by pagedbg {__version__}, {now}.", sections
    )
    if args.redact:
        made = redacted(made, private_names(session))
    page = report_page(made).encode(errors="backslashreplace")
    with whole_file(args.file) as file:
        file.write(page)
    for sentence in answers.failed:
        print(printable(sentence), file=sys.stderr)
    print(f"{os.path.basename(args.file)}: {size(len(page))}.")
