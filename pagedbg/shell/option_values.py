# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the values of options may be, for completion.

:data:`VALUES` maps an option (``--zone``) or the metavar of a positional (``COMMAND``)
or the words before it (``set format``) to a function that lists its values on a
session's target. It is called when Tab is pressed there, from the thread that owns the
target, and its answer is kept; if it fails, nothing is offered. An argument with
``choices`` needs no entry; a value may be a comma-separated list. A command file adds
what only it knows::

    from pagedbg.shell.option_values import values

    @values("--section")
    def sections(session: Session) -> Sequence[str]:
        return ("kinds", "pools")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pagedbg.session import Session
from pagedbg.shell.registry import COMMANDS

if TYPE_CHECKING:
    from drgn import Object

ValuesFunc = Callable[[Session], Sequence[str]]

VALUES: dict[str, ValuesFunc] = {}

PATTERNS: set[str] = set()
"""
Options whose values are patterns: there a name that nobody can type is offered with
``?`` for what is odd in it, elsewhere not at all.
"""


def values(*options: str, patterns: bool = False) -> Callable[[ValuesFunc], ValuesFunc]:
    """
    Declare a function that lists the values of options; :param patterns: whether they
    are matched as in a shell.
    """

    def decorator(func: ValuesFunc) -> ValuesFunc:
        for option in options:
            VALUES[option] = func
        if patterns:
            PATTERNS.update(options)
        return func

    return decorator


@values("COMMAND")
def commands(session: Session) -> Sequence[str]:
    """The words of the commands' names."""
    return list(dict.fromkeys(word for name in COMMANDS for word in name.split()))


@values("--comm", patterns=True)
def comms(session: Session) -> Sequence[str]:
    """The names of the target's tasks, as many as can be read."""
    from drgn.helpers.linux.pid import for_each_task

    return _read_names(for_each_task(session.prog), "comm")


@values("--module", patterns=True)
def modules(session: Session) -> Sequence[str]:
    """The names of modules that are loaded, as many as can be read."""
    from drgn.helpers.linux.module import for_each_module

    return _read_names(for_each_module(session.prog), "name")


@values("--node")
def nodes(session: Session) -> Sequence[str]:
    """The numbers of memory nodes."""
    from drgn.helpers.linux.nodemask import for_each_online_node

    return [str(node) for node in for_each_online_node(session.prog)]


@values("--memcg", patterns=True)
def memcgs(session: Session) -> Sequence[str]:
    """The paths of memory cgroups, as many as can be read."""
    from drgn import container_of
    from drgn.helpers.linux.cgroup import css_for_each_descendant_pre

    from pagedbg.mm.memcontrol import memcg_path

    root = session.prog["root_mem_cgroup"].css.address_of_()
    return _read(
        css_for_each_descendant_pre(root),
        lambda css: memcg_path(container_of(css, "struct mem_cgroup", "css")),
    )


def _read_names(objects: Iterable[Object], member: str) -> list[str]:
    """What a member says, an array of characters, of objects of a list."""
    return _read(
        objects,
        lambda each: each.member_(member).string_().decode(errors="backslashreplace"),
    )


def _read(objects: Iterable[Object], name: Callable[[Object], str]) -> list[str]:
    """The names of objects of a list."""
    import contextlib

    from pagedbg.target.links import UNREADABLE, bounded

    names = set()
    with contextlib.suppress(*UNREADABLE):
        for each in bounded(objects):
            with contextlib.suppress(*UNREADABLE):
                names.add(name(each))
    return sorted(names)
