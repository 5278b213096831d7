# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``owners`` can sum up by, and how the values are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagedbg.schema import columns
from pagedbg.schema.blocks import Blocks
from pagedbg.schema.columns import SchemaColumn
from pagedbg.schema.stack_ids import stack_id, stack_shape
from pagedbg.sources.kernel_names import KernelNames

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

    column: SchemaColumn
    columns: Callable[[KernelNames, Blocks], list[NDArray[Any]]]
    value: Callable[[KernelNames, Sequence[NDArray[Any]]], list[Any]]


def _record(name: str) -> Callable[[KernelNames, Blocks], list[NDArray[Any]]]:
    return lambda lookup, blocks: [blocks.column(name)]


def _plain(lookup: KernelNames, keys: Sequence[NDArray[Any]]) -> list[Any]:
    return [int(value) for value in keys[0]]


def _through(
    look_up: Callable[[KernelNames, int], Any],
) -> Callable[[KernelNames, Sequence[NDArray[Any]]], list[Any]]:
    return lambda lookup, keys: [look_up(lookup, int(value)) for value in keys[0]]


def _stacks(lookup: KernelNames, keys: Sequence[NDArray[Any]]) -> list[Any]:
    stacks = lookup.stacks(keys[0].tolist())
    return ["\n".join(stacks[int(handle)]) for handle in keys[0]]


def _hashes(
    hash_: Callable[[Sequence[str]], int],
) -> Callable[[KernelNames, Sequence[NDArray[Any]]], list[Any]]:
    def values(lookup: KernelNames, keys: Sequence[NDArray[Any]]) -> list[Any]:
        stacks = lookup.stacks(keys[0].tolist())
        found = [stacks[int(handle)] for handle in keys[0]]
        return [f"{hash_(stack):#018x}" if stack else None for stack in found]

    return values


def _comms(lookup: KernelNames, keys: Sequence[NDArray[Any]]) -> list[Any]:
    return [lookup.comm(words) for words in np.stack(keys, axis=1)]


def _ages(lookup: KernelNames, blocks: Blocks) -> list[NDArray[Any]]:
    if lookup.now is None:
        return [np.full(len(blocks), -1)]
    return [
        np.searchsorted(
            _AGE_LIMITS, lookup.now - blocks.column("ts_nsec").astype(np.int64), "right"
        )
    ]


KEYS = {
    "order": BlockKey(columns.ORDER, lambda lookup, blocks: [blocks.order], _plain),
    "comm": BlockKey(
        columns.COMM, lambda lookup, blocks: list(blocks.column("comm").T), _comms
    ),
    "pid": BlockKey(columns.PID, _record("pid"), _plain),
    "stack": BlockKey(columns.STACK, _record("handle"), _stacks),
    "stack_id": BlockKey(columns.STACK_ID, _record("handle"), _hashes(stack_id)),
    "stack_shape": BlockKey(
        columns.STACK_SHAPE, _record("handle"), _hashes(stack_shape)
    ),
    "module": BlockKey(columns.MODULE, _record("handle"), _through(KernelNames.module)),
    "function": BlockKey(
        columns.FUNCTION, _record("handle"), _through(KernelNames.function)
    ),
    "gfp": BlockKey(columns.GFP, _record("gfp_mask"), _through(KernelNames.gfp)),
    "migratetype": BlockKey(
        columns.MIGRATETYPE, _record("gfp_mask"), _through(KernelNames.migratetype)
    ),
    "zone": BlockKey(
        columns.ZONE,
        lambda lookup, blocks: [lookup.zones(blocks.pfn)[1]],
        _through(
            lambda lookup, index: (
                None if index < 0 else lookup.zones(np.zeros(0, np.uint64))[0][index]
            )
        ),
    ),
    "node": BlockKey(
        columns.NODE, lambda lookup, blocks: [lookup.nodes(blocks.pfn)], _plain
    ),
    "age": BlockKey(
        columns.AGE,
        _ages,
        _through(lambda lookup, index: None if index < 0 else _AGES[index][0]),
    ),
}
