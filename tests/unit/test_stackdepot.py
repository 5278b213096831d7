# SPDX-License-Identifier: GPL-2.0-or-later
"""
Stacks by handle, in every layout that the depot has had; a bad handle says what is
wrong with it and takes no other stack along.
"""

from __future__ import annotations

import pytest
from drgn import Object
from drgn.helpers.linux.stackdepot import stack_depot_fetch as drgn_stack_depot_fetch
from fake_kernel import DepotKernel
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedbg.mm.stackdepot import StackDepot, stack_depot_fetch

FRAMES = (0xFFFF_FFFF_8123_4567, 0xFFFF_FFFF_8100_0010, 0xFFFF_FFFF_C022_8017)
# 6.8.3's handles could mean either of two pools: which reading's complaint is told says
# little.
AMBIGUOUS = "6.8.3"
LAYOUTS = pytest.mark.parametrize("layout", DepotKernel.LAYOUTS)


@LAYOUTS
@pytest.mark.parametrize("offset_bits", [10, 12])
def test_a_handle_leads_to_its_stack_wherever_it_lies(
    layout: str, offset_bits: int
) -> None:
    # 12 bits of offset: arm64 with pages of 16 KiB.
    fake = DepotKernel(layout, offset_bits)
    stacks = {}
    for pool in range(3):
        for n, offset in enumerate(
            (0, 16, 512, fake.pool_size // 2, fake.pool_size - 256)
        ):
            if offset % 512 == 0 or n == 4:
                frames = tuple(frame + 0x1000 * pool + n for frame in FRAMES)
                stacks[fake.store(pool, offset, frames)] = frames
    depot = StackDepot(fake.finish())
    # pool 0, offset 0 is handle 0 where pools count from zero and handles have no valid
    # bit.
    stacks.pop(0, None)
    assert depot.fetch_many(stacks) == stacks
    assert not depot.faults


@pytest.mark.parametrize("layout", ["6.1", "6.3", "6.12"])
def test_drgns_own_helper_reads_the_same(layout: str) -> None:
    fake = DepotKernel(layout)
    handle = fake.store(1, 64, FRAMES)
    prog = fake.finish()
    trace = drgn_stack_depot_fetch(Object(prog, "depot_stack_handle_t", handle))
    assert trace is not None
    assert tuple(frame.pc for frame in trace) == FRAMES
    assert stack_depot_fetch(prog, handle) == FRAMES


@LAYOUTS
def test_the_extra_bits_are_not_part_of_the_address(layout: str) -> None:
    fake = DepotKernel(layout)
    fake.store(1, 64, FRAMES)
    handles = [fake.handle(1, 64, extra) for extra in (0, 1, 31)]
    depot = StackDepot(fake.finish())
    assert depot.fetch_many(handles) == dict.fromkeys(handles, FRAMES)


@LAYOUTS
def test_handle_zero_is_no_stack_and_no_fault(layout: str) -> None:
    fake = DepotKernel(layout)
    fake.store(0, 0, FRAMES)
    depot = StackDepot(fake.finish())
    assert depot.fetch(0) == ()
    assert not depot.faults


@LAYOUTS
def test_a_stack_may_end_with_its_pool(layout: str) -> None:
    fake = DepotKernel(layout)
    entries = fake.record.member("entries").offset
    count = 7
    offset = fake.pool_size - entries - 8 * count
    offset -= offset % 16
    frames = tuple(range(1, count + 1))
    handle = fake.store(0, offset, frames)
    assert StackDepot(fake.finish()).fetch(handle) == frames


def faults(fake: DepotKernel, handle: int, missing: tuple[int, ...] = ()) -> str:
    """What is said of a bad handle; the good one beside it is still read."""
    good = fake.store(0, 512, FRAMES)
    depot = StackDepot(fake.finish(missing))
    assert depot.fetch_many([good, handle]) == {good: FRAMES, handle: ()}
    (sentence,) = depot.faults.values()
    # Asked again, it is not looked for again.
    assert depot.fetch(handle) == ()
    assert len(depot.faults) == 1
    return sentence


@LAYOUTS
def test_a_handle_beyond_the_last_pool_is_refused(layout: str) -> None:
    fake = DepotKernel(layout)
    assert "pool" in faults(fake, fake.handle(5, 64))
    fake = DepotKernel(layout)
    assert "pool" in faults(
        fake, fake.handle((1 << fake.index_bits) - 1 - fake.bias, 64)
    )


@LAYOUTS
def test_a_pool_that_was_never_allocated_is_refused(layout: str) -> None:
    fake = DepotKernel(layout)
    handle = fake.store(1, 64, FRAMES)
    assert "not there" in faults(fake, handle, missing=(1,)) or layout == AMBIGUOUS


@LAYOUTS
def test_a_record_at_the_very_end_of_a_pool_has_no_room(layout: str) -> None:
    fake = DepotKernel(layout)
    assert (
        "behind its pool" in faults(fake, fake.handle(0, fake.pool_size - 16))
        or layout == AMBIGUOUS
    )


@LAYOUTS
def test_a_stack_that_claims_more_frames_than_its_pool_holds_is_refused(
    layout: str,
) -> None:
    fake = DepotKernel(layout)
    handle = fake.store(0, 4096, FRAMES, size=0x7FFFFFFF)
    assert "claims 2147483647 frames" in faults(fake, handle) or layout == AMBIGUOUS


@LAYOUTS
def test_a_record_that_bears_another_handle_is_refused(layout: str) -> None:
    fake = DepotKernel(layout)
    handle = fake.handle(0, 4096)
    fake.store(0, 4096, FRAMES, handle=fake.handle(0, 8192))
    assert "not its own" in faults(fake, handle) or layout == AMBIGUOUS


@LAYOUTS
def test_a_pool_of_zeroes_gives_no_stacks(layout: str) -> None:
    fake = DepotKernel(layout)
    fake.store(1, 64, FRAMES)
    fake.pools[1][:] = bytes(fake.pool_size)
    assert "not its own" in faults(fake, fake.handle(1, 64)) or layout == AMBIGUOUS


@LAYOUTS
def test_only_the_stacks_in_the_missing_part_of_a_pool_are_lost(layout: str) -> None:
    fake = DepotKernel(layout)
    handles = [
        fake.store(0, offset, FRAMES)
        for offset in range(512, fake.pool_size - 512, 1024)
    ]
    prog = fake.finish()
    fake.forget(fake.addresses[0] + 8192, fake.addresses[0] + 8193)
    depot = StackDepot(prog)
    found = depot.fetch_many(handles)
    lost = [handle for handle in handles if not found[handle]]
    assert len(lost) == 4
    assert list(depot.faults) == [handle & ~(31 << fake.extra_shift) for handle in lost]
    assert (
        all("could not be read" in sentence for sentence in depot.faults.values())
        or layout == AMBIGUOUS
    )


@settings(deadline=None)
@given(
    st.sampled_from(DepotKernel.LAYOUTS),
    st.lists(st.integers(0, (1 << 32) - 1), max_size=30),
    st.integers(0, 255),
)
def test_any_number_is_taken_for_a_handle(
    layout: str, handles: list[int], filler: int
) -> None:
    fake = DepotKernel(layout)
    good = fake.store(1, 512, FRAMES)
    fake.pools[0][:] = bytes([filler]) * fake.pool_size
    depot = StackDepot(fake.finish())
    found = depot.fetch_many([good, *handles])
    assert found[good] == FRAMES
    assert set(found) == {good, *handles}


def test_a_pool_that_a_running_kernel_has_added_meanwhile_is_found() -> None:
    fake = DepotKernel("6.12")
    first, second = fake.store(0, 64, FRAMES), fake.store(1, 64, FRAMES[::-1])
    prog = fake.finish()
    fake.number("pools_num", "int", 1)
    depot = StackDepot(prog)
    assert depot.fetch(first) == FRAMES
    fake.number("pools_num", "int", 2)
    assert depot.fetch(second) == FRAMES[::-1]
