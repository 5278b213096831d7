# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the next piece while somebody works on this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Read = TypeVar("_Read")


def read_ahead(
    read: Callable[[_Item], _Read], items: Sequence[_Item]
) -> Iterator[_Read]:
    """Iterate over what is read of each item; one more is in memory than is used."""
    if len(items) < 2:
        yield from map(read, items)
        return
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        coming = reader.submit(read, items[0])
        for item in items[1:]:
            found = coming.result()
            coming = reader.submit(read, item)
            yield found
            del found
        yield coming.result()
