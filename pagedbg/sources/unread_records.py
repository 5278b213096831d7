# SPDX-License-Identifier: GPL-2.0-or-later
"""What there is to say of records of page_owner that could not be read."""

from __future__ import annotations

from drgn import Program

from pagedbg.mm.page_owner import page_owner_compiled
from pagedbg.schema.sizes import several
from pagedbg.target.dump_header import DumpFile

BY_TAGS = (
    "page_owner is off: who holds pages is what allocation tags say, which know the"
    " line of the source and not the call path, the process or the time."
)
"""Where tags stand in for records."""


def untracked(prog: Program) -> str:
    """Say that a kernel does not track page owners, and why."""
    why = (
        "page_owner=on is not on its command line"
        if page_owner_compiled(prog)
        else "it was built without CONFIG_PAGE_OWNER"
    )
    return f"The kernel does not track page owners: {why} (doctor says more)."


def unread_records(dump: DumpFile | None, unread: int, damaged: int) -> list[str]:
    """
    Return sentences.

    :param dump: what is looked at, None for the running kernel
    :param unread: the pages whose record could not be read
    :param damaged: those whose record says what cannot be
    """
    notes = []
    if unread and dump and dump.left_out_zeroes:
        notes.append(
            f"The records of {unread} pages are not in the dump, which left out pages"
            " of zeroes: of pages that were never allocated, unless more is missing."
        )
    elif unread:
        notes.append(
            f"The records of {several(unread, 'page')} could not be read: they are not"
            " counted."
        )
    if damaged:
        notes.append(
            f"The records of {damaged} pages are damaged (or were being written): they"
            " are not counted."
        )
    return notes
