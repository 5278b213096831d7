# SPDX-License-Identifier: GPL-2.0-or-later
"""
drgn's entry point: ``%pagedbg`` in drgn's own prompt.

Every user of drgn on this machine imports this, so it imports nothing but what drgn has
imported already.
"""

from __future__ import annotations

from typing import Any

from drgn import Program, ProgramFlags
from drgn.commands import raw_command


def _is_linux_kernel(prog: Program) -> bool:
    return bool(prog.flags & ProgramFlags.IS_LINUX_KERNEL)


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
                from pagedbg.shell.prompt import run_prompt

                run_prompt(Session.of(prog))
