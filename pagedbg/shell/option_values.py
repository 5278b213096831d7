# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the values of options may be, for completion.

:data:`VALUES` maps an option (``--zone``) or the metavar of a positional (``COMMAND``)
or the words before it (``set format``) to a function that lists its values on a
session. It is called when Tab is pressed there; if it fails, nothing is offered. One
that reads the target says so: another process calls it then, so that nobody waits, and
its answer is kept. An argument with ``choices`` needs no entry: they may be a
dictionary that has a few words on each. A value may be a comma-separated list. A
command file adds what only it knows::

    from pagedbg.shell.option_values import values

    @values("--section")
    def sections(session: Session) -> Sequence[str]:
        return ("kinds", "pools")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pagedbg.schema.sizes import size
from pagedbg.session import Session
from pagedbg.shell.registry import COMMANDS

if TYPE_CHECKING:
    from drgn import Object

ValuesFunc = Callable[[Session], Sequence[str] | Mapping[str, str]]
"""Names, or names with a few words on each."""

VALUES: dict[str, ValuesFunc] = {}

# Nobody waits longer for Tab, in seconds.
_MOMENT = 0.3

READ: set[str] = set()
"""Options whose values are read from the target."""

PATTERNS: set[str] = set()
"""
Options whose values are patterns: there a name that nobody can type is offered with
``?`` for what is odd in it, elsewhere not at all.
"""


def values(
    *options: str, patterns: bool = False, read: bool = False
) -> Callable[[ValuesFunc], ValuesFunc]:
    """
    Declare a function that lists the values of options.

    :param patterns: whether they are matched as in a shell
    :param read: whether they are read from the target, which may take long
    """

    def decorator(func: ValuesFunc) -> ValuesFunc:
        for option in options:
            VALUES[option] = func
        if patterns:
            PATTERNS.update(options)
        if read:
            READ.update(options)
        return func

    return decorator


@values("COMMAND")
def commands(session: Session) -> Sequence[str]:
    """The words of the commands' names."""
    return list(dict.fromkeys(word for name in COMMANDS for word in name.split()))


@values("--comm", patterns=True, read=True)
def comms(session: Session) -> Mapping[str, str]:
    """
    The names of the target's tasks, as many as can be read, and of those that have
    ended and hold pages still, as many as are found at once.
    """
    from drgn.helpers.linux.pid import for_each_task

    tasks = _read(for_each_task(session.prog), _string("comm"), _pid)
    ended = sorted({*_holders(session)} - {*tasks})
    return {**tasks, **dict.fromkeys(ended, "has ended")}


def _pid(task: Object) -> str:
    return f"pid {task.pid.value_()}"


def _holders(session: Session) -> Iterator[str]:
    """The names that page_owner has of pages in use, read for a moment."""
    import numpy as np

    from pagedbg.mm.page_owner import page_owner_inited
    from pagedbg.mm.page_owner_bulk import in_state, read_page_owners
    from pagedbg.schema.owner_record import ALLOCATED, comm_bytes, decode_comm

    prog = session.prog
    if not page_owner_inited(prog):
        return
    deadline = time.monotonic() + _MOMENT
    for _, records, known in read_page_owners(prog, 0, prog["max_pfn"].value_()):
        held = records[in_state(prog, records, ALLOCATED) & known]
        if "comm" in (held.dtype.names or ()):
            for comm in np.unique(comm_bytes(held["comm"])).tolist():
                yield decode_comm(np.array(comm))
        if time.monotonic() > deadline:
            return


@values("--module", patterns=True, read=True)
def modules(session: Session) -> Mapping[str, str]:
    """The names of modules that are loaded, as many as can be read."""
    from drgn.helpers.linux.module import for_each_module, module_address_regions

    return _read(
        for_each_module(session.prog),
        _string("name"),
        lambda module: size(
            sum(length for _, length in module_address_regions(module))
        ),
    )


@values("--node", read=True)
def nodes(session: Session) -> Mapping[str, str]:
    """The numbers of memory nodes."""
    from drgn.helpers.linux.mmzone import for_each_online_pgdat

    return _read(
        for_each_online_pgdat(session.prog),
        lambda node: str(node.node_id.value_()),
        lambda node: _pages(session, node.node_present_pages),
    )


@values("--memcg", patterns=True, read=True)
def memcgs(session: Session) -> Mapping[str, str]:
    """The paths of memory cgroups, as many as can be read."""
    from drgn import container_of
    from drgn.helpers.linux.cgroup import css_for_each_descendant_pre

    from pagedbg.mm.memcontrol import memcg_path

    root = session.prog["root_mem_cgroup"].css.address_of_()
    every = css_for_each_descendant_pre(root)
    return _read(
        (container_of(css, "struct mem_cgroup", "css") for css in every),
        memcg_path,
        lambda memcg: _pages(session, memcg.memory.usage.counter),
    )


def _pages(session: Session, count: Object) -> str:
    """How large some pages are together."""
    return size(count.value_() * session.prog["PAGE_SIZE"].value_())


def _string(member: str) -> Callable[[Object], str]:
    """What a member says, an array of characters."""
    return lambda each: each.member_(member).string_().decode(errors="backslashreplace")


def _read(
    objects: Iterable[Object],
    name: Callable[[Object], str],
    word: Callable[[Object], str],
) -> dict[str, str]:
    """The names of objects of a list, sorted, each with a word on the first of it."""
    import contextlib

    from pagedbg.target.links import UNREADABLE, bounded

    names: dict[str, str] = {}
    with contextlib.suppress(*UNREADABLE):
        for each in bounded(objects):
            with contextlib.suppress(*UNREADABLE):
                found = name(each)
                if found not in names:
                    names[found] = ""
                    names[found] = word(each)
    return dict(sorted(names.items()))
