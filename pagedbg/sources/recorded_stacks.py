# SPDX-License-Identifier: GPL-2.0-or-later
"""Stacks as rows: those that page_owner's records have, or some by handle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from drgn import Program

from pagedbg.mm.page_owner_bulk import page_owner_states, read_page_owners
from pagedbg.schema.owner_record import NEVER
from pagedbg.schema.sizes import several
from pagedbg.schema.table import Row
from pagedbg.sources.stack_frames import StackNames

_STACKS_PER_BATCH = 1024


def recorded_handles(prog: Program, notes: list[str]) -> list[int]:
    """
    Return the handles of all stacks that allocated a page, or freed it, as far as
    page_owner's records say.

    :param notes: Where to add how many records could not be read.
    """
    handles: set[int] = set()
    unread = 0
    for _, records, known in read_page_owners(prog):
        unread += len(known) - int(np.count_nonzero(known))
        used = records[known & (page_owner_states(prog, records) != NEVER)]
        for member in {"handle", "free_handle"} & set(records.dtype.names or ()):
            handles.update(np.unique(used[member]).tolist())
    if unread:
        notes.append(f"The records of {several(unread, 'page')} could not be read.")
    return sorted(handles - {0})


def stack_rows(
    names: StackNames, handles: Sequence[int], notes: list[str]
) -> Iterator[list[Row]]:
    """
    Iterate over the rows of :data:`pagedbg.schema.block_columns.STACKS`, some at a
    time.

    :param notes: Where to add how many stacks could not be read.
    """
    for at in range(0, len(handles), _STACKS_PER_BATCH):
        stacks = names.stacks(handles[at : at + _STACKS_PER_BATCH])
        yield [
            (
                handle,
                names.stack_id(handle),
                names.stack_shape(handle),
                names.module(handle),
                names.function(handle),
                stack,
            )
            for handle, stack in sorted(stacks.items())
        ]
    notes += names.faults()
