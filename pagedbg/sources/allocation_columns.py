# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of ``correlate``, and what it can sum up by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from pagedbg.schema.allocation import STATES
from pagedbg.schema.table import Column
from pagedbg.sources.capture_dump_names import ChainedNames

COLUMNS = (
    Column("pfn", "hex"),
    Column("order", "int"),
    Column("pages", "int"),
    Column("gfp"),
    Column("migratetype"),
    Column("pid", "int"),
    Column("tgid", "int"),
    Column("comm"),
    Column("ts_ns", "ns"),
    Column("handle", "hex"),
    Column("stack", "stack"),
    Column("state"),
    Column("held", "int"),
    Column("freed_ns", "ns"),
    Column("lifetime_ns", "ns"),
    Column("free_pid", "int"),
    Column("free_comm"),
    Column("now_pfn", "hex"),
    Column("reused_pid", "int"),
    Column("reused_comm"),
    Column("contradiction"),
)

SUMS = (
    Column("blocks", "int"),
    Column("pages", "int"),
    Column("bytes", "bytes"),
    Column("share", "share"),
    Column("oldest", "ns"),
    Column("youngest", "ns"),
)

LIFETIMES = (
    Column("count", "int"),
    *(Column(name, "ns") for name in ("min", "median", "p90", "p99", "max")),
)


class AllocationKey(NamedTuple):
    """
    Something to sum up by: the members that tell one value from another, and what the
    value of a row of them is.
    """

    column: Column
    members: Callable[[NDArray[Any]], list[NDArray[Any]]]
    value: Callable[[ChainedNames, NDArray[Any]], Any]


def _member(name: str) -> Callable[[NDArray[Any]], list[NDArray[Any]]]:
    return lambda rows: [rows[name]]


KEYS = {
    "stack": AllocationKey(
        Column("stack", "stack"),
        _member("handle"),
        lambda names, row: tuple(names.stack(int(row["handle"]))),
    ),
    "module": AllocationKey(
        Column("module"),
        _member("handle"),
        lambda names, row: names.module(int(row["handle"])),
    ),
    "function": AllocationKey(
        Column("function"),
        _member("handle"),
        lambda names, row: names.function(int(row["handle"])),
    ),
    "comm": AllocationKey(
        Column("comm"),
        lambda rows: list(rows["comm"].T),
        lambda names, row: names.captured.comm(row["comm"]),
    ),
    "pid": AllocationKey(
        Column("pid", "int"), _member("pid"), lambda names, row: int(row["pid"])
    ),
    "order": AllocationKey(
        Column("order", "int"), _member("order"), lambda names, row: int(row["order"])
    ),
    "gfp": AllocationKey(
        Column("gfp"),
        _member("gfp_mask"),
        lambda names, row: names.captured.gfp(int(row["gfp_mask"])),
    ),
    "migratetype": AllocationKey(
        Column("migratetype"),
        _member("gfp_mask"),
        lambda names, row: names.captured.migratetype(int(row["gfp_mask"])),
    ),
    "state": AllocationKey(
        Column("state"), _member("state"), lambda names, row: STATES[row["state"]]
    ),
}
