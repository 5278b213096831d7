# SPDX-License-Identifier: GPL-2.0-or-later
"""
Commands, one file for one command, and the list of them.

The list is plain data: ``pagedbg --help``, ``help`` and completion read it without importing any command, and
:data:`pagedbg.commands.base.NAMESPACE` imports a command's module only when that command is run.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """Where a command lives, the group that ``help`` lists it in, and its one-line description."""

    module: str
    group: str
    description: str


COMMANDS: dict[str, Entry] = {
    "status": Entry("pagedbg.commands.status", "The target", "say in five lines what is being looked at"),
    "doctor": Entry("pagedbg.commands.doctor", "The target", "list what works here, what does not, and how to get it"),
    "inspect": Entry("pagedbg.commands.inspect", "Pages", "show all that is known of a page and of who holds it"),
    "owners": Entry("pagedbg.commands.owners", "Pages", "list who holds pages, block by block or summed up"),
    "help": Entry("pagedbg.commands.help", "The prompt", "list the commands, or explain one with examples"),
    "exit": Entry("pagedbg.commands.help", "The prompt", "leave (also quit, Ctrl-D)"),
    "quit": Entry("pagedbg.commands.help", "The prompt", "leave"),
}
"""Every command by name, in the order in which ``help`` lists them."""
