# SPDX-License-Identifier: GPL-2.0-or-later
"""
Who holds these pages, since when, from which call path: on the running kernel or in a
dump.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drgn import Program

__version__ = "0.1.0"


def open(core: str | None = None, symbols: Sequence[str] = ()) -> Program:
    """
    Open a kernel for a script, with the types and symbols that it carries itself.

    >>> prog = pagedbg.open("vmcore")
    >>> prog["init_uts_ns"].name.release
    (char [65])"6.12.117-pagedbg-lab"

    :param core: path of a dump; None for the running kernel
    :param symbols: files with debug info, preferred over what the kernel carries
    :raises PagedbgError: with a sentence for the user
    """
    from pagedbg.target.opening import open_target

    return open_target(core, symbols).prog
