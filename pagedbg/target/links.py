# SPDX-License-Identifier: GPL-2.0-or-later
"""Walking lists of the kernel that may be damaged, and then have no end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from drgn import Object

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
