# SPDX-License-Identifier: GPL-2.0-or-later
"""From whatever went wrong to one sentence and an exit status."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import traceback

import drgn
from drgn.commands import CommandNotFoundError

from pagedbg.errors import PagedbgError, UsageError
from pagedbg.output.printable import printable
from pagedbg.schema.nearest import did_you_mean
from pagedbg.shell.registry import COMMANDS

__all__ = ("exit_status", "explain")


def _no_such_command(name: str) -> str:
    """What to type in place of a command that there is not."""
    behind = [each for each in COMMANDS if each.endswith(f" {name}")]
    near = (
        f"; did you mean {' or '.join(behind)}?"
        if behind
        else did_you_mean(name, COMMANDS)
    )
    return f"{name}: no such command{near or ' (help lists them)'}"


def explain(error: BaseException, name: str = "") -> PagedbgError:
    """
    Turn an exception into one sentence, which is printable, begun with the name of the
    command where one is given.
    """
    if isinstance(error, ExceptionGroup):
        return explain(error.exceptions[0], name)
    if isinstance(error, PagedbgError):
        kind, said = type(error), str(error)
    elif isinstance(error, CommandNotFoundError):
        return UsageError(printable(_no_such_command(error.name)))
    elif isinstance(error, SyntaxError):
        kind, said = UsageError, error.msg
    else:
        kind, said = PagedbgError, _sentence(error)
    prefix = f"{name}: " if name else ""
    return kind(
        printable(said if said.startswith(prefix) or not said else prefix + said)
    )


def _sentence(error: BaseException) -> str:
    if isinstance(error, drgn.FaultError):
        return f"the target's memory at {error.address:#x} cannot be read ({error})"
    if isinstance(error, drgn.ObjectNotFoundError):
        return f"this kernel has no {error.name!r}"
    if isinstance(error, drgn.MissingDebugInfoError):
        return f"debugging information is missing: {error}"
    if isinstance(error, AttributeError) and re.fullmatch(
        "'.+' has no member '.+'", str(error)
    ):
        # drgn's, of a kernel where it has another name; or of one whose types are
        # damaged.
        return f"this kernel's {error}"
    if type(error) is LookupError:
        # drgn's; a KeyError or an IndexError is a mistake of ours.
        return str(error)
    if (
        isinstance(error, ModuleNotFoundError)
        and error.name
        and not error.name.startswith("pagedbg")
    ):
        return f"the Python package {error.name} is not installed"
    if isinstance(error, OSError) and error.strerror:
        return (
            f"{error.filename}: {error.strerror}"
            if error.filename is not None
            else error.strerror
        )
    if isinstance(error, MemoryError):
        return "out of memory"
    if _found_no_room(error):
        return (
            "a table is too large for memory, and could not be put into"
            f" {tempfile.gettempdir()}: set TMPDIR to a directory with room"
        )
    if os.environ.get("PAGEDBG_DEBUG"):
        traceback.print_exception(error)
    return (
        f"this is a bug in pagedbg: {type(error).__name__}: {error} (PAGEDBG_DEBUG=1"
        " shows where)"
    )


def _found_no_room(error: BaseException) -> bool:
    """Whether it is that a database has found no room."""
    # Imported to ask, DuckDB would cost more than the commands that do without it.
    duckdb = sys.modules.get("duckdb")
    if duckdb is None:
        return False
    return isinstance(error, duckdb.OutOfMemoryException) or (
        # What is written is what did not fit into memory.
        isinstance(error, duckdb.IOException)
        and ("write" in str(error) or "No space" in str(error))
    )


def exit_status(error: PagedbgError) -> int:
    """Return the exit status for an error: 2 for what was mistyped, otherwise 1."""
    return 2 if isinstance(error, UsageError) else 1
