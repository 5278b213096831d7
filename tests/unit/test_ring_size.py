# SPDX-License-Identifier: GPL-2.0-or-later
"""The rings of all CPUs together take a bounded part of the machine's memory."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedbg.capture.recording.recording import _slots
from pagedbg.errors import UsageError
from pagedbg.schema.event_record import RECORD, is_ring_size, most_slots

MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@given(st.integers(1, 8192), st.integers(64 << 20, 1 << 44))
def test_the_most_slots_are_the_last_power_of_two_that_fits_a_sixteenth(
    cpus: int, memory: int
) -> None:
    most = most_slots(cpus, memory)
    assert most & (most - 1) == 0
    assert (
        most * cpus * RECORD.itemsize
        <= memory // 16
        < 2 * most * cpus * RECORD.itemsize
        or most == 1
    )


def test_rings_that_are_too_large_for_the_machine_are_refused_with_the_largest() -> (
    None
):
    cpus = 4096
    with pytest.raises(
        UsageError,
        match=(
            r"would take 524,288 MiB, .* sixteenth of this machine's memory: \d+ at"
            r" most"
        ),
    ) as raised:
        _slots(1 << 20, cpus)
    most = int(str(raised.value).split()[-3])
    assert _slots(most, cpus) == most
    assert most * cpus * RECORD.itemsize <= MEMORY / 16


@pytest.mark.parametrize("cpus", [1, 2, 64, 256])
def test_a_ring_has_a_reasonable_size_where_none_is_asked_for(cpus: int) -> None:
    slots = _slots(0, cpus)
    assert is_ring_size(slots)
    # Many CPUs do not make it small, short memory does.
    assert slots >= 4096 or 2 * slots * cpus * RECORD.itemsize > MEMORY / 64
    assert slots * cpus * RECORD.itemsize <= MEMORY / 16
