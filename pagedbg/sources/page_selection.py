# SPDX-License-Identifier: GPL-2.0-or-later
"""What the filters of a command line choose among pages."""

from __future__ import annotations

import argparse

from pagedbg.analysis.selection import Selection
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.page_batches import PageBatch

__all__ = ("PageSelection",)

# Filters that only the record of an allocation can answer; those of stacks its tag can,
# too.
_OF_STACKS = ("stack", "module")
_OF_RECORDS = ("gfp", "pid", "comm", "migratetype", "age", *_OF_STACKS)


class PageSelection:
    """
    The filters of one command line, for batches of pages.

    :param args: what :data:`pagedbg.shell.filter_options.FILTERS` have parsed
    :raises UsageError: if a word is not one of the kernel's
    """

    of_records: bool
    """Whether any asks for the record of an allocation."""

    def __init__(self, args: argparse.Namespace, names: KernelNames) -> None:
        asked = {name for name in _OF_RECORDS if getattr(args, name)}
        self.of_records = bool(asked)
        self._tags_do = names.tagged and asked <= set(_OF_STACKS)
        self._selection = Selection(args, names)

    def __call__(self, batch: PageBatch) -> PageBatch:
        """The pages that pass."""
        if self.of_records:
            known = batch.column("handle") != 0 if self._tags_do else None
            batch = batch.take(batch.column("recorded") if known is None else known)
        return batch.take(self._selection(batch))
