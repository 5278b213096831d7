# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of ``owners``, and what it can sum up by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.schema.blocks import Blocks
from pagedbg.schema.table import Column
from pagedbg.sources.kernel_names import Lookup

COLUMNS = (
    Column("pfn", "hex"),
    Column("order", "int"),
    Column("pages", "int"),
    Column("gfp_mask", "hex"),
    Column("gfp"),
    Column("migratetype"),
    Column("zone"),
    Column("node", "int"),
    Column("pid", "int"),
    Column("tgid", "int"),
    Column("comm"),
    Column("ts_ns", "ns"),
    Column("handle", "hex"),
    Column("stack", "stack"),
    Column("state"),
)

SUMS = (
    Column("blocks", "int"),
    Column("pages", "int"),
    Column("bytes", "bytes"),
    Column("share", "share"),
)

_AGES = (
    ("<1s", 1),
    ("1s-10s", 10),
    ("10s-1m", 60),
    ("1m-10m", 600),
    ("10m-1h", 3600),
    ("1h-1d", 86400),
    (">=1d", None),
)

_AGE_LIMITS = np.array([limit * 10**9 for _, limit in _AGES if limit], np.int64)


class BlockKey(NamedTuple):
    """
    Something to sum up by: which integer columns tell one value from another, and what
    the value of a row of them is.

    ``columns`` is given a batch of blocks; ``value`` the distinct rows of those
    columns.
    """

    column: Column
    columns: Callable[[Lookup, Blocks], list[NDArray[Any]]]
    value: Callable[[Lookup, Sequence[NDArray[Any]]], list[Any]]


def _record(name: str) -> Callable[[Lookup, Blocks], list[NDArray[Any]]]:
    return lambda lookup, blocks: [blocks.column(name)]


def _plain(lookup: Lookup, keys: Sequence[NDArray[Any]]) -> list[Any]:
    return [int(value) for value in keys[0]]


def _through(
    look_up: Callable[[Lookup, int], Any],
) -> Callable[[Lookup, Sequence[NDArray[Any]]], list[Any]]:
    return lambda lookup, keys: [look_up(lookup, int(value)) for value in keys[0]]


def _stacks(lookup: Lookup, keys: Sequence[NDArray[Any]]) -> list[Any]:
    stacks = lookup.stacks(keys[0].tolist())
    return ["\n".join(stacks[int(handle)]) for handle in keys[0]]


def _comms(lookup: Lookup, keys: Sequence[NDArray[Any]]) -> list[Any]:
    return [lookup.comm(words) for words in np.stack(keys, axis=1)]


def _ages(lookup: Lookup, blocks: Blocks) -> list[NDArray[Any]]:
    if lookup.now is None:
        return [np.full(len(blocks), -1)]
    return [
        np.searchsorted(
            _AGE_LIMITS, lookup.now - blocks.column("ts_nsec").astype(np.int64), "right"
        )
    ]


KEYS = {
    "order": BlockKey(
        Column("order", "int"), lambda lookup, blocks: [blocks.order], _plain
    ),
    "comm": BlockKey(
        Column("comm"), lambda lookup, blocks: list(blocks.column("comm").T), _comms
    ),
    "pid": BlockKey(Column("pid", "int"), _record("pid"), _plain),
    "stack": BlockKey(Column("stack", "stack"), _record("handle"), _stacks),
    "module": BlockKey(Column("module"), _record("handle"), _through(Lookup.module)),
    "function": BlockKey(
        Column("function"), _record("handle"), _through(Lookup.function)
    ),
    "gfp": BlockKey(Column("gfp"), _record("gfp_mask"), _through(Lookup.gfp)),
    "migratetype": BlockKey(
        Column("migratetype"), _record("gfp_mask"), _through(Lookup.migratetype)
    ),
    "zone": BlockKey(
        Column("zone"),
        lambda lookup, blocks: [lookup.zones(blocks.pfn)[1]],
        _through(
            lambda lookup, index: (
                None if index < 0 else lookup.zones(np.zeros(0, np.uint64))[0][index]
            )
        ),
    ),
    "node": BlockKey(
        Column("node", "int"), lambda lookup, blocks: [lookup.nodes(blocks.pfn)], _plain
    ),
    "age": BlockKey(
        Column("age"),
        _ages,
        _through(lambda lookup, index: None if index < 0 else _AGES[index][0]),
    ),
}
