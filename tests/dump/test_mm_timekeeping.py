# SPDX-License-Identifier: GPL-2.0-or-later
"""When a kernel was booted, by its wall clock."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from known import ORDINARY, SAMPLE, Run

from pagedbg.mm.sched_clock import local_clock
from pagedbg.mm.timekeeping import _timekeeper, getboottime64
from pagedbg.target.links import Damaged
from pagedbg.target.opening import open_target


@pytest.mark.parametrize("core", [SAMPLE, ORDINARY])
def test_a_kernel_has_run_since_it_was_booted(core: Path) -> None:
    prog = open_target(str(core)).prog
    # The clock of the last tick, which has nothing to do with local_clock().
    now = _timekeeper(prog).xtime_sec.value_()
    assert abs(now - (getboottime64(prog) + local_clock(prog)) / 1e9) < 2


def test_a_clock_that_is_behind_the_boot_is_damaged() -> None:
    prog = open_target(str(SAMPLE)).prog
    offset = _timekeeper(prog).offs_real
    assert offset.address_ is not None
    for value in (-1, (1 << 63) - 1):
        data = value.to_bytes(8, "little", signed=True)
        prog.add_memory_segment(
            offset.address_, 8, lambda address, count, *_, d=data: d[:count]
        )
        with pytest.raises(Damaged, match="damaged"):
            getboottime64(prog)


def test_status_says_when_that_was(pagedbg: Run) -> None:
    (row,) = pagedbg.json("status", core=SAMPLE)
    date = datetime.datetime.fromtimestamp(row["booted_s"], datetime.UTC)
    said = pagedbg("-c", SAMPLE, "status").stdout
    assert f", booted {date:%Y-%m-%d %H:%M:%S} UTC, types from " in said
