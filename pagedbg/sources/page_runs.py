# SPDX-License-Identifier: GPL-2.0-or-later
"""What all pages of a kernel are: a row for as many neighbours as are the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagedbg.analysis.undrawn import Undrawn, UndrawnRows, positive
from pagedbg.schema.page_columns import PAGE_RUNS
from pagedbg.schema.sizes import several
from pagedbg.schema.table import Table
from pagedbg.session import Session
from pagedbg.sources.kernel_names import KernelNames
from pagedbg.sources.page_batches import PageBatch, PageSource

__all__ = ("page_runs",)

# What tells pages apart, beside their zone and node.
_TOLD_BY = (
    *("kind", "use", "order", "recorded", "memcg", "cache", "file"),
    "pageblock_type",
)

# Of these numbers a word is looked up.
_WORDS = {
    "kind": "kind",
    "detail": "use",
    "memcg": "memcg",
    "cache": "cache",
    "file": "file",
    "pageblock_migratetype": "pageblock_type",
}


def page_runs(session: Session) -> Table:
    """The table of :data:`pagedbg.schema.page_columns.PAGE_RUNS`."""
    names = KernelNames(session)
    source = PageSource(session.prog, names.pages)
    table = Table(PAGE_RUNS, (), notes=list(session.target.notes))

    def batches() -> Iterator[UndrawnRows]:
        for batch in source.batches(0, session.prog["max_pfn"].value_()):
            yield _rows(names, batch)
        if source.unread:
            table.notes.append(
                f"page_owner's records of {several(source.unread, 'page')} could not be"
                " read."
            )
        table.notes.extend(names.faults())

    table.batches = batches()
    return table


def _rows(names: KernelNames, batch: PageBatch) -> UndrawnRows:
    pfns = batch.column("pfn")
    zone_names, zones = names.zones(pfns)
    told: dict[str, NDArray[Any]] = {name: batch.column(name) for name in _TOLD_BY}
    told["zone"], told["node"] = zones, names.nodes(pfns)
    begins = np.ones(len(pfns), np.bool_)
    begins[1:] = pfns[1:] != pfns[:-1] + np.uint64(1)
    for column in told.values():
        begins[1:] |= column[1:] != column[:-1]
    at = np.flatnonzero(begins)
    told = {name: column[at] for name, column in told.items()}
    values = {
        "pfn": Undrawn(pfns[at]),
        "pages": Undrawn(np.diff(np.append(at, len(pfns)))),
        "zone": Undrawn(told["zone"], told["zone"] >= 0, zone_names.__getitem__),
        "node": positive(told["node"]),
        "order": Undrawn(told["order"]),
        "state": Undrawn(told["recorded"], told["recorded"], {True: "allocated"}.get),
        **{
            name: Undrawn(told[number], word=_word(names, number))
            for name, number in _WORDS.items()
        },
    }
    return UndrawnRows([values[column.name] for column in PAGE_RUNS])


def _word(names: KernelNames, column: str) -> Any:
    return lambda number: names.of_page(column, number)
