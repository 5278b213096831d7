# SPDX-License-Identifier: GPL-2.0-or-later
"""
Columns of neighbouring pages that few ask for: they are made of the words of the pages
when somebody does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.mm._page_words import Words

__all__ = ("LaterColumns",)

_DTYPES = {
    "refcount": np.int32,
    "mapcount": np.int64,
    "head": np.int64,
    "mapping": np.uint64,
    "pgoff": np.uint64,
    "memcg_data": np.uint64,
}


class LaterColumns:
    """
    They are 0 where nothing is put. What is put later of a page counts.

    :param first: the first page frame number
    :param count: how many pages there are
    """

    def __init__(self, first: int, count: int) -> None:
        self._first, self._count = first, count
        self._words: Words | None = None
        self._parts: list[tuple[NDArray[np.int64], Mapping[str, NDArray[Any]]]] = []

    def put_singles(
        self,
        words: Words,
        pages: NDArray[Any],
        told: NDArray[np.bool_],
        mapped: NDArray[np.bool_],
        counts: bool,
    ) -> None:
        """
        Put what the words of single pages say.

        :param pages: records of :attr:`PageLayout.page`
        :param told: of which pages
        :param mapped: which of these have a mapping
        :param counts: whether to say how often they are mapped
        """
        self._words, self._pages = words, pages
        self._told, self._mapped, self._counts = told, mapped, counts

    def put(self, at: NDArray[np.int64], columns: Mapping[str, NDArray[Any]]) -> None:
        """Put columns of some pages."""
        self._parts.append((at, columns))

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of all the pages."""
        found = np.zeros(self._count, _DTYPES[name])
        if self._words is not None:
            self._put_singles_into(found, name, self._words)
        for at, columns in self._parts:
            if name in columns:
                found[at] = columns[name]
        return found

    def _put_singles_into(self, found: NDArray[Any], name: str, words: Words) -> None:
        told, mapped = self._told, self._mapped
        match name:
            case "refcount":
                np.copyto(found, words.refcount, where=told)
            case "mapcount" if self._counts:
                np.copyto(found, words.type + np.uint32(1), where=told)
            case "head":
                end = self._first + self._count
                np.copyto(found, np.arange(self._first, end), where=told)
            case "mapping":
                np.copyto(found, words.mapping, where=mapped)
            case "pgoff":
                np.copyto(found, self._pages["pgoff"], where=mapped)
            case "memcg_data" if "memcg_data" in (self._pages.dtype.names or ()):
                np.copyto(found, self._pages["memcg_data"], where=told)
