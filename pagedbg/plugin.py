# SPDX-License-Identifier: GPL-2.0-or-later
"""
drgn's entry points: ``%pagedbg`` in drgn's own prompt, and symbols and types for a
kernel that nobody has debug info for.

Every user of drgn on this machine imports this, so it imports nothing but what drgn has
imported already, and reads nothing before drgn has looked for a name in vain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from drgn import (
    FindObjectFlags,
    Object,
    Program,
    ProgramFlags,
    Symbol,
    Type,
    TypeKindSet,
)
from drgn.commands import raw_command

from pagedbg.target import FINDER

if TYPE_CHECKING:
    from pagedbg.target.description import Description


def _is_linux_kernel(prog: Program) -> bool:
    return bool(prog.flags & ProgramFlags.IS_LINUX_KERNEL)


class _Missed:
    """
    Finders that have the kernel describe itself once drgn has looked for a type or a
    symbol in vain, and that find nothing where there is debug info.
    """

    def __init__(self) -> None:
        self._description: Description | None = None
        # While we look for something ourselves, and once there is debug info.
        self._silent = False

    def find_symbol(
        self, prog: Program, name: str | None, address: int | None, one: bool
    ) -> Sequence[Symbol]:
        """A drgn symbol finder."""
        found = self._describe(prog)
        return found.find_symbol(prog, name, address, one) if found else ()

    def find_type(
        self, prog: Program, kinds: TypeKindSet, name: str, filename: str | None
    ) -> Type | None:
        """A drgn type finder."""
        found = self._describe(prog)
        if found is None:
            return None
        return found.find_type(
            prog, kinds, name, filename
        ) or found.module_types.find_type(prog, kinds, name, filename)

    def find_object(
        self, prog: Program, name: str, flags: FindObjectFlags, filename: str | None
    ) -> Object | None:
        """A drgn object finder."""
        found = self._describe(prog)
        # It refuses a variable that it does not know; debug info that came later may
        # lack one for a good reason.
        if found is None or self._has_debug_info(prog):
            return None
        return found.find_object(prog, name, flags, filename)

    def _describe(self, prog: Program) -> Description | None:
        if self._silent:
            return None
        if self._description is None and not self._has_debug_info(prog):
            from pagedbg.target.description import Description, NoDescription

            self._silent = True
            description = Description.of(prog)
            try:
                description.complete()
            except NoDescription:
                return None
            self._silent = False
            self._description = description
        return self._description

    def _has_debug_info(self, prog: Program) -> bool:
        self._silent = True
        try:
            prog.type("struct page")
        except LookupError:
            self._silent = False
        return self._silent


def drgn_prog_set(prog: Program) -> None:
    """Called by drgn when a program has its memory, and no debug info yet."""
    if not _is_linux_kernel(prog):
        return
    missed = _Missed()
    prog.register_symbol_finder(FINDER, missed.find_symbol, enable_index=-1)
    prog.register_type_finder(FINDER, missed.find_type, enable_index=-1)
    prog.register_object_finder(FINDER, missed.find_object, enable_index=-1)


@raw_command(
    name="pagedbg",
    enabled=_is_linux_kernel,
    description="say who holds which pages",
    usage="**pagedbg** [*command*]",
    long_description="""
    If *command* is given, run that command of pagedbg (which may include arguments,
    redirections, pipes, etc.). Otherwise, open pagedbg's prompt on this program.

    Run ``%pagedbg help`` for the list of commands.
    """,
)
def _cmd_pagedbg(prog: Program, name: str, args: str, **kwargs: Any) -> None:
    from pagedbg.trust import NoCurrentDirectory

    with NoCurrentDirectory():
        import contextlib

        from pagedbg.session import Session
        from pagedbg.shell.command import NAMESPACE
        from pagedbg.shell.execute import Leave

        with contextlib.suppress(Leave):
            if args:
                NAMESPACE.run(prog, args)
            else:
                from pagedbg.shell.configuration import configure
                from pagedbg.shell.prompt import run_prompt

                session = Session.of(prog)
                run_prompt(session, configure(session))
