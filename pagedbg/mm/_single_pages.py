# SPDX-License-Identifier: GPL-2.0-or-later
"""
What single pages are that few words tell all of, as of most pages: the kernel's own,
anonymous ones, and those of files. Of them not all the questions of
:mod:`pagedbg.mm._page_use` are asked, and the answers are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.mm._later_columns import LaterColumns
from pagedbg.mm._page_layout import PageLayout
from pagedbg.mm._page_use import Detail, Uses
from pagedbg.mm._page_words import MAPPING_FLAGS, PP_MASK, PP_SIGNATURE, Words

if TYPE_CHECKING:
    from pagedbg.mm.page_array import Pages

__all__ = ("SinglePages",)

_ANON = 0x1

# The kinds of PageNames.file_kind() of which no more is asked.
_FILES = ("file", "block device", "secretmem")


class SinglePages:
    """
    Says what they are.

    :param uses: what all other questions are asked of
    :param code: returns the code of a kind
    :param counts: whether to say how often pages are mapped
    :param references: whether to say how many references nothing accounts for
    """

    def __init__(
        self,
        layout: PageLayout,
        uses: Uses,
        code: Callable[[str], int],
        counts: bool,
        references: bool,
    ) -> None:
        self._layout = layout
        self._uses = uses
        self._code = code
        self._counts, self._references = counts, references

    def tell(
        self, result: Pages, words: Words, pages: NDArray[Any], later: LaterColumns
    ) -> NDArray[np.bool_]:
        """
        Put what pages are into *result*, and into *later* what few ask for.

        :param pages: records of :attr:`PageLayout.page`, and their *words*
        :return: which of them are told of
        """
        told = words.singles(self._layout)
        told &= result.present
        for i in self._uses.not_single(result.first, words.flags):
            told[i] = False
        bare = words.mapping == 0
        kernel = told & bare
        np.putmask(result.kind, kernel, self._code("kernel"))
        pool = words.compound & np.uint64(PP_MASK) == PP_SIGNATURE
        if pool.any():
            np.putmask(result.kind, kernel & pool, self._code("page pool"))
        mapped = told & ~bare
        if mapped.any():
            mapped = self._mapped(result, words, mapped)
            told = kernel | mapped
        # Others are added to those that are told of.
        later.put_singles(words, pages, told.copy(), mapped, self._counts)
        return told

    def _mapped(
        self,
        result: Pages,
        words: Words,
        among: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """The same of pages that have a mapping."""
        low = words.mapping.astype(np.uint8) & np.uint8(MAPPING_FLAGS)
        anon = among & (low == _ANON)
        np.putmask(result.kind, anon, self._code("anon"))
        np.putmask(result.detail, anon, np.uint8(Detail.PART))
        at = np.flatnonzero(among & (low == 0))
        kind, which = self._uses.file_kinds(words.mapping[at])
        swapbacked = words.flags[at] & np.uint64(self._layout.pg["swapbacked"]) != 0
        files = np.zeros(len(result), np.bool_)
        for name in _FILES:
            of = np.array([each == name for each in kind], np.bool_)[which]
            result.kind[at[of]] = self._code(name)
            if name == "file":
                result.kind[at[of & swapbacked]] = self._code("shmem")
            files[at[of]] = True
        np.putmask(result.detail, files, np.uint8(Detail.FILE))
        np.copyto(result.key, words.mapping, where=files)
        told: NDArray[np.bool_] = anon | files
        if self._references:
            self._count_references(result, words, files, np.flatnonzero(told))
        return told

    def _count_references(
        self,
        result: Pages,
        words: Words,
        files: NDArray[np.bool_],
        at: NDArray[np.int64],
    ) -> None:
        """As :func:`pagedbg.mm._page_references.extra_references`."""
        flags, pg = words.flags[at], self._layout.pg
        expected = (words.type[at] + np.uint32(1)).astype(np.int64)
        expected += flags & np.uint64(pg["lru"]) == 0
        private = flags & np.uint64(pg["private"]) != 0
        expected += np.where(files[at], 1 + private, 0)
        extra = words.refcount[at].astype(np.int64) - expected
        result.extra[at] = np.clip(extra, 0, 0x7FFFFFFF)
