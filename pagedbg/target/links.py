# SPDX-License-Identifier: GPL-2.0-or-later
"""Walking the memory of a kernel that may be damaged: lists then have no end, and what is read makes no sense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from drgn import BadDataError, FaultError, Object

UNREADABLE = BadDataError, FaultError, LookupError, AttributeError, MemoryError, ValueError, OverflowError
"""What reading structures ends in that are damaged or not there."""

# No list of modules, probes or programs is as long.
_MOST = 1 << 16


def bounded(links: Iterable[Object]) -> Iterator[Object]:
    """
    Iterate over pointers.

    :raises ValueError: when one comes a second time, or there are more than can be
    """
    seen: set[int] = set()
    for link in links:
        address = link.value_()
        if address in seen or len(seen) == _MOST:
            raise ValueError("a list of the kernel's has no end")
        seen.add(address)
        yield link
