# SPDX-License-Identifier: GPL-2.0-or-later
"""
Who holds these pages, since when, from which call path: on the running kernel or in a
dump.

``pagedbg.open(core)`` is :func:`pagedbg.target.opening.open_program`. Nothing is
imported before it is asked for: as root the program starts again before it imports
anything that stands in the current directory.
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "open":
        from pagedbg.target.opening import open_program

        return open_program
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
