# SPDX-License-Identifier: GPL-2.0-or-later
"""
Walking the memory of a kernel that may be damaged: lists then have no end, and what is
read makes no sense.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from drgn import BadDataError, FaultError, Object, OutOfBoundsError

from pagedbg.errors import PagedbgError

UNREADABLE = (
    BadDataError,
    FaultError,
    OutOfBoundsError,
    LookupError,
    AttributeError,
    MemoryError,
    ValueError,
    OverflowError,
    RuntimeError,
    StopIteration,
)
"""
What reading structures ends in that are damaged or not there.

Among them drgn's NotImplementedError for a node of a kind that it does not know, its
StopIteration for a table that ends too early (which a generator makes a RuntimeError
of), and Python's RecursionError.
"""


class Damaged(PagedbgError, ValueError):
    """
    What is in the memory of a kernel cannot be what a kernel has there.

    A sentence for the user; and one of :data:`UNREADABLE`, for those who can do
    without.
    """


# No list of modules, probes or programs is as long.
_MOST = 1 << 16

# A path, a tree of memory areas or the way to the next of a list takes some hundred
# calls; so many take a second or two.
_MOST_CALLS = 1 << 17

_P = ParamSpec("_P")
_T = TypeVar("_T")


def bounded(links: Iterable[Object]) -> Iterator[Object]:
    """
    Iterate over pointers.

    :raises Damaged: when one comes a second time, there are more than can be, or the
        next one never comes
    """
    seen: set[int] = set()
    following = iter(links)
    while (link := limited(next, following, None)) is not None:
        address = link.value_()
        if address in seen or len(seen) == _MOST:
            raise Damaged(
                "the memory of this kernel is damaged: a list in it has no end"
            )
        seen.add(address)
        yield link


def limited(walk: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """
    Call one of drgn's helpers that follow pointers until they meet an end, which
    damaged memory need not have: parents of a directory, nodes of a tree, a list that
    it looks for something in.

    :raises Damaged: when it has called so many functions that it will never end, or
        meets types that no kernel has
    """
    before = sys.getprofile()
    if before is not None and not callable(before):
        # A profiler written in C, which cannot be given back what it had.
        return walk(*args, **kwargs)
    left = _MOST_CALLS

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Damaged(
                "the memory of this kernel is damaged: a structure in it has no end"
            )

    # Signals would do the same, but only in the main thread; and a limit of time is
    # another one on each machine.
    sys.setprofile(count)
    try:
        return walk(*args, **kwargs)
    except TypeError as error:
        # The helper is right: it compares a pointer, say, that a damaged BTF calls a
        # number.
        raise Damaged(f"the types of this kernel are damaged: {error}") from None
    finally:
        sys.setprofile(before)
