# SPDX-License-Identifier: GPL-2.0-or-later
"""The names that say whose machine it is: processes, the host, and where files are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from drgn import Program
from drgn.helpers.linux.pid import for_each_task

from pagedbg.session import Session
from pagedbg.target.links import UNREADABLE, bounded

__all__ = ("private_names",)


def private_names(session: Session) -> Mapping[str, set[str]]:
    """
    Return the names by what they are: ``process``, ``host`` or ``path``. Those that
    cannot be read are not among them.
    """
    target, capture = session.target, session.capture
    names: dict[str, set[str]] = {"process": set(), "host": set(), "path": set()}
    if target.dump is not None:
        # Sentences on a dump have the name of its file.
        path = str(target.dump.path)
        names["path"] |= {path, os.path.basename(path)}
    if target.guest is not None:
        path = target.guest.path
        names["path"] |= {path, os.path.basename(path)}
    if capture is not None:
        names["path"].add(str(capture.path))
    if target.has_kernel:
        try:
            for kind, name in _of_kernel(target.prog):
                names[kind].add(name.decode("utf-8", "backslashreplace"))
        except UNREADABLE:
            # The tables of the report have names, too.
            pass
    return {kind: each - {"", "(none)"} for kind, each in names.items()}


def _of_kernel(prog: Program) -> Iterator[tuple[str, bytes]]:
    # include/uapi/linux/utsname.h, struct new_utsname
    uts = prog["init_uts_ns"].name
    yield "host", uts.nodename.string_()
    yield "host", uts.domainname.string_()
    for task in bounded(for_each_task(prog)):
        yield "process", task.comm.string_()
