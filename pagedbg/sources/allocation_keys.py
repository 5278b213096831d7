# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``correlate`` can sum up by, and how the values are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from pagedbg.schema import columns
from pagedbg.schema.allocation import STATES
from pagedbg.schema.columns import SchemaColumn
from pagedbg.sources.capture_names import CaptureNames


class AllocationKey(NamedTuple):
    """
    Something to sum up by: the members that tell one value from another, and what the
    value of a row of them is.
    """

    column: SchemaColumn
    members: Callable[[NDArray[Any]], list[NDArray[Any]]]
    value: Callable[[CaptureNames, NDArray[Any]], Any]


def _member(name: str) -> Callable[[NDArray[Any]], list[NDArray[Any]]]:
    return lambda rows: [rows[name]]


KEYS = {
    "stack": AllocationKey(
        columns.STACK,
        _member("handle"),
        lambda names, row: tuple(names.stack(int(row["handle"]))),
    ),
    "module": AllocationKey(
        columns.MODULE,
        _member("handle"),
        lambda names, row: names.module(int(row["handle"])),
    ),
    "function": AllocationKey(
        columns.FUNCTION,
        _member("handle"),
        lambda names, row: names.function(int(row["handle"])),
    ),
    "comm": AllocationKey(
        columns.COMM,
        lambda rows: list(rows["comm"].T),
        lambda names, row: names.comm(row["comm"]),
    ),
    "pid": AllocationKey(
        columns.PID, _member("pid"), lambda names, row: int(row["pid"])
    ),
    "order": AllocationKey(
        columns.ORDER, _member("order"), lambda names, row: int(row["order"])
    ),
    "gfp": AllocationKey(
        columns.GFP,
        _member("gfp_mask"),
        lambda names, row: names.gfp(int(row["gfp_mask"])),
    ),
    "migratetype": AllocationKey(
        columns.MIGRATETYPE,
        _member("gfp_mask"),
        lambda names, row: names.migratetype(int(row["gfp_mask"])),
    ),
    "state": AllocationKey(
        columns.STATE, _member("state"), lambda names, row: STATES[row["state"]]
    ),
}
