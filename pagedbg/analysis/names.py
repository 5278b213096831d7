# SPDX-License-Identifier: GPL-2.0-or-later
"""What turns the numbers of a record into words and stacks, whoever knows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray


class Names(Protocol):
    """
    What the numbers in the records of one boot of a kernel stand for, for one run of a
    command: that kernel knows it, and so does a capture of it.
    """

    @property
    def now(self) -> int | None:
        """
        The time of now in ns, in the clock of the records; None if it is not known.
        """

    @property
    def no_clock(self) -> str:
        """Why the time of now is not known, as a sentence."""

    @property
    def recorder(self) -> int | None:
        """The process that recorded the events; None where there is none to name."""

    @property
    def migratetypes(self) -> Sequence[str]:
        """The names of the migratetypes, by number."""

    @property
    def gfp_names(self) -> Sequence[tuple[int, str]]:
        """Masks of gfp flags and their names, in the kernel's order."""

    def gfp(self, mask: int) -> str:
        """Return a gfp mask as the kernel writes it."""

    def migratetype(self, mask: int) -> str:
        """Return the name of the migratetype that a gfp mask asks for."""

    def zones(self, pfns: NDArray[Any]) -> tuple[list[str], NDArray[Any]]:
        """
        Return the names of all zones, and the index of each page's, −1 if it is not
        known.
        """

    def nodes(self, pfns: NDArray[Any]) -> NDArray[Any]:
        """Return the NUMA node of each page, −1 if it is not known."""

    def of_page(self, column: str, number: int) -> str | None:
        """
        Return what a number in a column of pages stands for, one of
        :data:`pagedbg.analysis.keys.PAGE_COLUMNS`; None if it is not known.
        """

    def comm(self, words: NDArray[Any]) -> str:
        """Return the text of a ``char comm[TASK_COMM_LEN]``."""

    def stack(self, handle: int) -> list[str]:
        """
        Return the stack of a handle as the kernel prints it, innermost frame first; it
        is empty for none, and says so in words where it is lost.
        """

    def stacks(self, handles: Iterable[int]) -> dict[int, list[str]]:
        """Return the stacks of many handles, which are read together."""

    def stack_id(self, handle: int) -> str | None:
        """
        Return :func:`pagedbg.schema.stack_ids.stack_id` in hexadecimal, None for a
        stack that is not known.
        """

    def stack_shape(self, handle: int) -> str | None:
        """Return :func:`pagedbg.schema.stack_ids.stack_shape` in the same way."""

    def module(self, handle: int) -> str | None:
        """
        Return the module of the innermost frame that belongs to one, None for none.
        """

    def function(self, handle: int) -> str | None:
        """
        Return the innermost function that is not the allocator's own, None for no
        stack.
        """
