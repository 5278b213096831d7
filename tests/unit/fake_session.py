# SPDX-License-Identifier: GPL-2.0-or-later
"""
A session on a target without memory, and commands that do what tests want to see; run
as a program it is pagedbg on that.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import drgn

import pagedbg.target.opening
from pagedbg import cli
from pagedbg.errors import PagedbgError, UsageError
from pagedbg.schema.table import Column, Row, Table
from pagedbg.session import Session
from pagedbg.shell.command import argument, argument_group, command
from pagedbg.shell.option_values import values
from pagedbg.shell.registry import COMMANDS, Entry
from pagedbg.sources.capabilities import KNOWN, Capability


class FakeTarget:
    """A program without memory."""

    live = changes = elsewhere = False
    guest = None
    name = "fake (6.12)"
    has_kernel = True

    def __init__(self) -> None:
        self.prog = drgn.Program(drgn.host_platform)
        self.notes: list[str] = []
        off = Capability(
            "page_owner",
            False,
            "page_owner is off.",
            "",
            lambda: "Boot with page_owner=on.",
        )
        KNOWN[self] = {  # type: ignore[index]
            "page_owner": off,
            "btf": Capability("btf", True, ""),
        }

    def close(self) -> None:
        """Nothing was opened."""


def fake_session(**more: object) -> Session:
    """Return a session, kept in its program."""
    session = Session(FakeTarget(), **more)  # type: ignore[arg-type]
    session.keep()
    return session


for _name in ("rows", "fails", "needs", "waits", "says"):
    COMMANDS[_name] = Entry(__name__, "Tests", f"the fake {_name}")


def _size(text: str) -> int:
    if not text.endswith("K"):
        raise UsageError(f"{text!r} is no size; write 4K")
    return int(text[:-1]) * 1024


@command(
    "rows",
    arguments=(
        argument("what", choices=("pfn", "phys"), help="100% of it"),
        argument("count", type=int, nargs="?", default=3),
        argument_group(
            argument("--size", type=_size),
            argument("--comm"),
            argument("--wide", action="store_true"),
            title="filters",
        ),
    ),
    examples=(("rows pfn 2", "two rows"),),
    table=True,
)
def rows(session: Session, args: argparse.Namespace) -> Table:
    """Rows that count."""
    columns = [Column("pfn", "hex"), Column("order", "int"), Column("comm", "str")]
    comm = "a-rather-long-name" * 3 if args.wide else "kworker/0:1"

    def batches() -> Iterator[list[Row]]:
        for start in range(0, args.count, 1000):
            yield [
                (0x1000 + i, i % 11, comm)
                for i in range(start, min(start + 1000, args.count))
            ]

    return Table(
        columns, batches(), notes=["One page could not be read."] if args.wide else []
    )


@command("fails", arguments=(argument("how"),))
def fails(session: Session, args: argparse.Namespace) -> None:
    """Fail in one of the ways there are."""
    if args.how == "fault":
        session.prog.read(0xDEAD000, 8)
    if args.how == "object":
        session.prog["no_such_object"]
    if args.how == "type":
        session.prog.type("struct no_such_type")
    if args.how == "bug":
        raise KeyError("forgotten")
    if args.how == "file":
        Path("/no/such/file").read_text()
    raise PagedbgError("gave up")


@command("needs", needs=("btf", "page_owner"))
def needs(session: Session, args: argparse.Namespace) -> None:
    """Never run: page_owner is off."""
    print("ran")


@command("waits", paged=False)
def waits(session: Session, args: argparse.Namespace) -> None:
    """Wait for Ctrl-C."""
    print("waiting", flush=True)
    while True:
        # A signal just before signal.pause() would be waited for.
        time.sleep(0.05)


@command(
    "says",
    arguments=(argument("words", nargs="*"), argument("--output", type=Path)),
)
def says(session: Session, args: argparse.Namespace) -> None:
    """Print the words, one a line, into a directory where one is given."""
    if args.output:
        args.output.mkdir()
        (args.output / "words").write_text("\n".join(args.words))
        return
    for word in args.words:
        print(word)


@values("--comm")
def comms(session: Session) -> list[str]:
    """Two tasks."""
    return ["bash", "swapper/0", "Web Content"]


@values("--size", read=True)
def sizes(session: Session) -> list[str]:
    """What somebody writes into the pipe ``SIZES``, when he does."""
    return Path(os.environ["SIZES"]).read_text().split()


class _SlowSession(Session):
    """A session with a recorder that takes its time to stop."""

    def close(self) -> None:
        print("closing", flush=True)
        end = time.monotonic() + float(os.environ["CLOSING"])
        while time.monotonic() < end:
            time.sleep(0.01)
        print("closed", flush=True)


def main() -> int:
    """
    Run pagedbg on the fake target; the environment's ``CLOSING`` says how many seconds
    the session takes to close.
    """
    if "CLOSING" in os.environ:
        cli.Session = _SlowSession  # type: ignore[misc]
    sys.modules["fake_session"] = sys.modules[__name__]
    pagedbg.target.opening.open_target = lambda *_, **__: FakeTarget()  # type: ignore[assignment,return-value]
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
