# SPDX-License-Identifier: GPL-2.0-or-later
"""
The list of commands.

The list is plain data: ``pagedbg --help``, ``help`` and completion read it without
importing any command, and
:data:`pagedbg.shell.command.NAMESPACE` imports a command's module only when that
command is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Entry(NamedTuple):
    """
    Where a command lives, the group that ``help`` lists it in, its one-line
    description, and whether a kernel is opened for it where it is all that is asked.
    """

    module: str
    group: str
    description: str
    kernel: bool = True


COMMANDS: dict[str, Entry] = {
    "status": Entry(
        "pagedbg.commands.status",
        "The target",
        "say in a few lines what is being looked at",
    ),
    "doctor": Entry(
        "pagedbg.commands.doctor",
        "The target",
        "list what works here, what does not, and how to get it",
    ),
    "log": Entry(
        "pagedbg.commands.log", "The target", "print what the kernel has logged"
    ),
    "zones": Entry(
        "pagedbg.commands.zones",
        "The target",
        "list the zones of memory, what is free, and the watermarks",
    ),
    "free": Entry(
        "pagedbg.commands.free",
        "The target",
        "list the free blocks by order, and by migratetype",
    ),
    "explain": Entry(
        "pagedbg.commands.explain",
        "The target",
        "say why allocations failed, or why one would fail now",
    ),
    "report": Entry(
        "pagedbg.commands.report",
        "The target",
        "write a page for others: what was found, pictures, and how it was computed",
    ),
    "mcp": Entry(
        "pagedbg.commands.mcp",
        "The target",
        "let an assistant look at it, over the Model Context Protocol",
    ),
    "memory": Entry(
        "pagedbg.commands.memory",
        "Pages",
        "say where all memory is, by kind, file, cache, owner",
    ),
    "inspect": Entry(
        "pagedbg.commands.inspect",
        "Pages",
        "show all that is known of a page and of who holds it",
    ),
    "owners": Entry(
        "pagedbg.commands.owners",
        "Pages",
        "list who holds pages, block by block or summed up",
    ),
    "blocks": Entry(
        "pagedbg.commands.blocks",
        "Pages",
        "list the pageblocks: what is in them, and who keeps them from being free",
    ),
    "pageblocks": Entry("pagedbg.commands.blocks", "Pages", "the same as blocks"),
    "map": Entry(
        "pagedbg.commands.map",
        "Pages",
        "draw memory: what lies where, by kind, owner, order, age",
    ),
    "stacks": Entry(
        "pagedbg.commands.stacks",
        "Pages",
        "print call paths by handle, with their ids in other boots",
    ),
    "trace set": Entry(
        "pagedbg.commands.trace.set",
        "Events",
        "say which events are recorded: orders, participation, programs",
    ),
    "trace start": Entry(
        "pagedbg.commands.trace.start",
        "Events",
        "record what happens to pages from now on",
    ),
    "trace attach": Entry(
        "pagedbg.commands.trace.attach",
        "Events",
        "take over what records with no pagedbg",
    ),
    "trace stop": Entry(
        "pagedbg.commands.trace.stop",
        "Events",
        "stop recording and keep what was recorded",
    ),
    "trace status": Entry(
        "pagedbg.commands.trace.status",
        "Events",
        "say what is recorded, how, and what was lost",
    ),
    "trace show": Entry(
        "pagedbg.commands.trace.show", "Events", "list recorded events"
    ),
    "trace follow": Entry(
        "pagedbg.commands.trace.show",
        "Events",
        "show events as they happen, until Ctrl-C",
    ),
    "trace clear": Entry(
        "pagedbg.commands.trace.stop", "Events", "forget the events recorded so far"
    ),
    "trace save": Entry(
        "pagedbg.commands.trace.save", "Events", "keep the capture in a directory"
    ),
    "trace load": Entry(
        "pagedbg.commands.trace.load", "Events", "open a capture that was saved"
    ),
    "trace recover": Entry(
        "pagedbg.commands.trace.recover", "Events", "list what was recording in a dump"
    ),
    "correlate": Entry(
        "pagedbg.commands.correlate",
        "Events",
        "say what became of the allocations that were recorded",
    ),
    "record": Entry(
        "pagedbg.commands.record",
        "Events",
        "record into a directory without a prompt, or while a command runs",
    ),
    "snapshot save": Entry(
        "pagedbg.commands.snapshot.save",
        "What changed",
        "keep who holds memory, and where it is, as Parquet files",
    ),
    "snapshot list": Entry(
        "pagedbg.commands.snapshot.list",
        "What changed",
        "list snapshots: of which host, kernel and time",
        kernel=False,
    ),
    "diff": Entry(
        "pagedbg.commands.diff",
        "What changed",
        "say who holds more than in a snapshot, dump or capture, and who less",
        kernel=False,
    ),
    "trend": Entry(
        "pagedbg.commands.trend",
        "What changed",
        "say who grows over many snapshots, how fast and how steadily",
        kernel=False,
    ),
    "watch": Entry(
        "pagedbg.commands.watch",
        "What changed",
        "run a command again and again, and draw its table in place",
    ),
    "top": Entry(
        "pagedbg.commands.top",
        "What changed",
        "who allocates and frees how fast, on a full screen while a trace runs",
        kernel=False,
    ),
    "fleet add": Entry(
        "pagedbg.commands.fleet.add",
        "Many hosts",
        "put snapshots of many hosts into a lake",
        kernel=False,
    ),
    "fleet status": Entry(
        "pagedbg.commands.fleet.status",
        "Many hosts",
        "say what a lake has, day by day, and what is wrong in it",
        kernel=False,
    ),
    "fleet compact": Entry(
        "pagedbg.commands.fleet.compact",
        "Many hosts",
        "put the snapshots of each day of a lake together",
        kernel=False,
    ),
    "fleet owners": Entry(
        "pagedbg.commands.fleet.owners",
        "Many hosts",
        "say who holds how much on all hosts of a lake",
        kernel=False,
    ),
    "fleet hosts": Entry(
        "pagedbg.commands.fleet.hosts",
        "Many hosts",
        "say on which hosts of a lake there is how much of something",
        kernel=False,
    ),
    "fleet diff": Entry(
        "pagedbg.commands.fleet.diff",
        "Many hosts",
        "say who holds more on a day than on another, on all hosts of a lake",
        kernel=False,
    ),
    "fleet since": Entry(
        "pagedbg.commands.fleet.since",
        "Many hosts",
        "say who holds more since a kernel, on the hosts of a lake",
        kernel=False,
    ),
    "fleet trend": Entry(
        "pagedbg.commands.fleet.trend",
        "Many hosts",
        "say who grows on all hosts of a lake, how fast and how steadily",
        kernel=False,
    ),
    "fleet sql": Entry(
        "pagedbg.commands.fleet.sql",
        "Many hosts",
        "ask a question in SQL of all snapshots of a lake",
        kernel=False,
    ),
    "sql": Entry(
        "pagedbg.commands.sql",
        "The prompt",
        "ask a question in SQL of all that there is to know",
        kernel=False,
    ),
    "help": Entry(
        "pagedbg.commands.help",
        "The prompt",
        "list the commands, or explain one with examples",
    ),
    "set": Entry(
        "pagedbg.commands.set",
        "The prompt",
        "list what can be chosen, or choose: a format, a pager, keys, timing",
        kernel=False,
    ),
    "unset": Entry(
        "pagedbg.commands.set",
        "The prompt",
        "have a setting be what it was, or forget an alias",
        kernel=False,
    ),
    "alias": Entry(
        "pagedbg.commands.alias",
        "The prompt",
        "list words of your own for commands, or make one",
        kernel=False,
    ),
    "source": Entry(
        "pagedbg.commands.source",
        "The prompt",
        "run the commands in a file",
    ),
    "history": Entry(
        "pagedbg.commands.history",
        "The prompt",
        "list what was typed",
        kernel=False,
    ),
    "clear": Entry(
        "pagedbg.commands.clear", "The prompt", "clear the screen", kernel=False
    ),
    "exit": Entry("pagedbg.commands.help", "The prompt", "leave (also quit, Ctrl-D)"),
    "quit": Entry("pagedbg.commands.help", "The prompt", "leave"),
}
"""Every command by name, in the order in which ``help`` lists them."""

GROUPS = frozenset(name.partition(" ")[0] for name in COMMANDS if " " in name)
"""The first words of commands that have two."""


def command_of(words: Sequence[str]) -> str:
    """Return the name of the command that words begin with: one of them, or two."""
    two = " ".join(words[:2])
    return two if two in COMMANDS else words[0]
